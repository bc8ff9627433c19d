"""A bundle read and verified for a command: what it holds, and its manifest, or one line that says what is wrong."""

from __future__ import annotations

from pathlib import Path

from edgepress.benchmarks.report.wording import missed_gates
from edgepress.compress.bundle.archive import read_archive
from edgepress.compress.bundle.contents import Contents, read_folder
from edgepress.compress.bundle.manifest import Manifest
from edgepress.compress.bundle.verify import told_faults, verify
from edgepress.targets.errors import BundleError, EdgepressError, UngatedError


def read_bundle(bundle: Path, into: Path | None = None) -> Contents:
    """What a release holds, in its folder or archive, not verified yet; `into` gets the files of an archive.

    Raises:
        EdgepressError: it is not there, or cannot be read or unpacked.
    """
    if not bundle.is_dir() and not bundle.is_file():
        raise EdgepressError(f"{bundle} does not exist. Give a release: its folder, or the archive NAME.tar.zst")
    try:
        return read_folder(bundle) if bundle.is_dir() else read_archive(bundle, into)
    except OSError as fault:
        what = "read" if into is None else "read or unpacked"
        raise EdgepressError(f"{bundle} cannot be {what} ({fault.strerror}). Give one that you may read") from None


def compared(bundle: Path, contents: Contents) -> Manifest:
    """The manifest of a bundle that is as it was released. Raises BundleError for one that is not."""
    found = verify(contents)
    if found.faults or found.manifest is None:
        raise BundleError(f"{bundle} is not as it was released: {told_faults(found.faults)}. Get it again")
    return found.manifest


def check_gates(bundle: Path, manifest: Manifest, allow_failed_gates: bool) -> None:
    """Raises UngatedError for a release of a run that missed a gate, where that is not allowed."""
    if manifest.missed_gates and not allow_failed_gates:
        raise UngatedError(
            f"{bundle} is as it was released, but {missed_gates(manifest.gates)}. Take it all the same with "
            f"--allow-failed-gates"
        )


def verified_folder(release: Path, allow_failed_gates: bool) -> tuple[Contents, Manifest]:
    """What a release in a folder holds, and its manifest, as they were verified.

    Raises:
        EdgepressError: it is no folder.
        BundleError: it is not as it was released.
        UngatedError: a gate was missed, and that is not allowed.
    """
    if not release.is_dir():
        raise EdgepressError(f"{release} is no folder. Give that of a release: runs/<name>/release")
    contents = read_bundle(release)
    manifest = compared(release, contents)
    check_gates(release, manifest, allow_failed_gates)
    return contents, manifest
