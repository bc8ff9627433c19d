"""Some of a release: its files copied to another place, all of them or those of one target, and sealed anew."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from edgepress.compress.bundle.archive import SUFFIX, write_archive
from edgepress.compress.bundle.bom import BOM, write_bom
from edgepress.compress.bundle.manifest import Manifest, seal_release
from edgepress.compress.bundle.readme import README, write_readme
from edgepress.compress.bundle.signature import Signer
from edgepress.compress.layouts import is_of_others
from edgepress.targets.errors import BundleError, EdgepressError
from edgepress.targets.files import within


def copy_files(release: Path, paths: Sequence[str], place: Path) -> None:
    """Copy those files of a release, and no others that may lie beside them, to the folder `place`."""
    for path in paths:
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(within(release, path), place / path)


def part_of(release: Path, manifest: Manifest, target: str, place: Path) -> None:
    """Write the release of one target to `place`: its artifact, and all that belongs to no target.

    Raises:
        BundleError: the release has no such target.
    """
    if target not in manifest.artifacts:
        raise BundleError(f"unknown target {target!r}; {release} has {', '.join(manifest.artifacts) or 'none'}")
    others = tuple(name for name in manifest.artifacts if name != target)
    paths = [entry.path for entry in manifest.files if not is_of_others(entry.path, others)]
    copy_files(release, paths, place)
    kept = {
        "artifacts": {target: manifest.artifacts[target]},
        "left_out": (*manifest.left_out, *others),
        "gates": tuple(gate for gate in manifest.gates if gate.target not in others),
    }
    part = manifest.model_copy(update=kept)
    if README in paths:
        write_readme(place, part)
    if BOM in paths:
        write_bom(place, part)
    seal_release(place, part)


def archive_release(release: Path, manifest: Manifest, place: Path, target: str | None, key: Signer | None) -> None:
    """Write a sealed release, or one target of it, as one file.

    Args:
        release: its folder, signed already where `key` is given and the whole of it is written.
        manifest: that of the folder.
        place: the file, `….tar.zst`.
        target: the only one that goes into it; None: all.
        key: signs the release of one target, which is another one than the whole.

    Raises:
        BundleError: there is no such target, or a name that fits into no archive.
        EdgepressError: the place cannot be written, or is called otherwise.
    """
    try:
        with tempfile.TemporaryDirectory() as temporary:
            if target is not None:
                release, whole = Path(temporary) / "release", release
                part_of(whole, manifest, target, release)
                if key is not None:
                    key.sign(release, manifest.name)
            write_archive(release, place)
    except OSError as fault:
        raise EdgepressError(
            f"{place} cannot be written ({fault.strerror}). Name another place with --archive"
        ) from None


def check_archive_name(place: Path, release: Path) -> None:
    """Raises EdgepressError for a name that does not say what the file is, or a place that is written anew."""
    if not place.name.endswith(SUFFIX) or place.name == SUFFIX:
        raise EdgepressError(f"an archive is called NAME{SUFFIX}, got {place}. Give another name with --archive")
    if place.resolve().is_relative_to(release.resolve()):
        raise EdgepressError(f"{place} lies in the release itself. Name a place outside of it with --archive")
