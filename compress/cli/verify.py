"""`edgepress verify`: whether a bundle is what was released, for those who get it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgepress.compress.cli.common import JsonOption, errors_told, missed_gates
from edgepress.targets.errors import BundleError, EdgepressError, UngatedError

if TYPE_CHECKING:
    from edgepress.compress.bundle.contents import Contents
    from edgepress.compress.bundle.manifest import Manifest


def verify(
    bundle: Annotated[Path, typer.Argument(help="A release: its folder.")],
    allow_failed_gates: Annotated[
        bool, typer.Option("--allow-failed-gates", help="Take a release of a run that missed a gate, too.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Check that a release is what was released: every file, no file more, its report, its gates.

    Exit codes: 0 it is; 1 its content differs; 2 wrong usage; 4 as released, but a gate of its recipe was missed.

    Nothing of the release is run or opened, and neither torch nor a runtime is needed.
    """
    with errors_told(json) as console:
        from edgepress.compress.bundle.verify import told_faults
        from edgepress.compress.bundle.verify import verify as compare

        contents = _read(bundle)
        found = compare(contents)
        if found.faults or found.manifest is None:
            raise BundleError(f"{bundle} is not as it was released: {told_faults(found.faults)}. Get it again.")
        if found.manifest.missed_gates and not allow_failed_gates:
            raise UngatedError(
                f"{bundle} is as it was released, but {missed_gates(found.manifest.gates)}. Take it all the same with "
                f"--allow-failed-gates"
            )
        console.line(_summary(bundle, contents, found.manifest))


def _read(bundle: Path) -> Contents:
    from edgepress.compress.bundle.contents import read_folder

    if bundle.is_dir():
        try:
            return read_folder(bundle)
        except OSError as fault:
            raise EdgepressError(
                f"{bundle} cannot be read ({fault.strerror}). Give a folder that you may read"
            ) from None
    raise EdgepressError(f"{bundle} does not exist. Give the folder of a release: runs/<name>/release")


def _summary(bundle: Path, contents: Contents, manifest: Manifest) -> str:
    size = sum(found.bytes for found in contents.files.values())
    held = ", ".join(f"{target} {name}" for target, name in manifest.artifacts.items()) or "no artifact"
    gates = f"{len(manifest.gates) - len(manifest.missed_gates)} of {len(manifest.gates)} gates held"
    told = gates if manifest.gates else "no gates were set"
    return (
        f"Verified: {bundle} is {manifest.name} as released: {len(contents.files)} files, {size} bytes, {held}; {told}"
    )
