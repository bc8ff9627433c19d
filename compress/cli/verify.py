"""`edgepress verify`, `diff` and `keygen`: whether a bundle is what was released, how it differs from another, keys."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgepress.compress.cli.common import JsonOption, errors_told
from edgepress.targets.errors import EdgepressError, UnsignedError

if TYPE_CHECKING:
    from edgepress.compress.bundle.contents import Contents
    from edgepress.compress.bundle.manifest import Manifest


def verify(
    bundle: Annotated[Path, typer.Argument(help="A release: its folder, or the archive NAME.tar.zst.")],
    key: Annotated[
        Path | None, typer.Option(metavar="PUBLIC.pem", help="The public key of who released it: it must be signed.")
    ] = None,
    allow_failed_gates: Annotated[
        bool, typer.Option("--allow-failed-gates", help="Take a release of a run that missed a gate, too.")
    ] = False,
    extract: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Unpack an archive that verified into this new folder.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Check that a release is what was released: every file, no file more, its report, its gates, its signature.

    Exit codes: 0 it is; 1 its content differs; 2 wrong usage; 3 with --key: the signature is missing, bad, of another
    key or of other files; 4 as released, but a gate of its recipe was missed.

    Nothing of the release is run or opened, and neither torch nor a runtime is needed. With --extract an archive is
    unpacked where all of that holds; else nothing is left.
    """
    with errors_told(json) as console, unpacking(bundle, extract) as into:
        from edgepress.compress.bundle.checked import check_gates, compared, read_bundle

        public = None
        if key is not None:
            from edgepress.compress.bundle.keys import read_public

            public = read_public(key)  # a wrong key is told before anything is read
        contents = read_bundle(bundle, into)
        manifest = compared(bundle, contents)
        if public is not None:
            from edgepress.compress.bundle.signature import check_contents

            try:
                check_contents(contents, public)
            except UnsignedError as fault:
                raise UnsignedError(f"{bundle}: {fault}. Ask who released it for another copy, or their key") from None
        check_gates(bundle, manifest, allow_failed_gates)
        console.line(_summary(bundle, contents, manifest))
        console.line(_signature(contents, key))
        if manifest.inputs:
            console.line(_licences(manifest))


def diff(
    before: Annotated[Path, typer.Argument(metavar="A", help="A release: its folder or archive.")],
    after: Annotated[Path, typer.Argument(metavar="B", help="Another one.")],
    json: JsonOption = False,
) -> None:
    """Show in what two releases differ: what they were made of, their artifacts' inputs, bytes, figures, their files.

    Both are verified first, as by `edgepress verify` without a key. Exit code 0, whether they differ or not.
    `edgepress report compare` tells whether figures got worse beyond what is allowed.
    """
    with errors_told(json) as console:
        from rich.table import Table
        from rich.text import Text

        from edgepress.compress.bundle.checked import compared, read_bundle
        from edgepress.compress.bundle.difference import changes, read_side

        sides = []
        for place in (before, after):
            contents = read_bundle(place)
            sides.append(read_side(contents, compared(place, contents)))
        found = changes(*sides)
        if not found:
            console.line(f"{before} and {after} are the same release: {len(sides[0].contents.files)} files")
            return
        table = Table(title=f"{len(found)} differences")
        for column in ("where", "what", str(before), str(after)):
            table.add_column(Text(column))
        for change in found:
            table.add_row(*map(Text, change))
        console.table(table)


def keygen(
    name: Annotated[Path, typer.Argument(help="The files are NAME.pem and NAME.pub.pem.")] = Path("edgepress-key"),
    json: JsonOption = False,
) -> None:
    """Make a key pair that signs releases: `edgepress package --sign NAME.pem`, `edgepress verify --key NAME.pub.pem`.

    Keep NAME.pem to yourself, and give NAME.pub.pem to those who verify, on another way than the releases. A passphrase
    in the variable EDGEPRESS_KEY_PASSPHRASE encrypts NAME.pem, and is needed to sign.
    """
    with errors_told(json) as console:
        from edgepress.compress.bundle.keys import make_keys

        private, public = make_keys(name)
        console.line(f"Private key: {private} (keep it to yourself)")
        console.line(f"Public key:  {public} (for those who verify)")


@contextmanager
def unpacking(bundle: Path, place: Path | None) -> Iterator[Path | None]:
    """A folder beside `place` that becomes it where all goes well, and is gone otherwise; None where there is no place.

    Raises:
        EdgepressError: the place is there already or cannot be written, or the bundle is no archive.
    """
    if place is None:
        yield None
        return
    if os.path.lexists(place) or not bundle.is_file():
        wrong = f"{bundle} is no archive" if not bundle.is_file() else f"{place} exists already"
        raise EdgepressError(f"{wrong}. --extract unpacks an archive into a new folder")
    try:
        temporary = Path(tempfile.mkdtemp(dir=place.parent, prefix=".edgepress-extract-"))
    except OSError as fault:
        raise EdgepressError(f"{place} cannot be written ({fault.strerror}). Name another one with --extract") from None
    try:
        (temporary / "release").mkdir()
        yield temporary / "release"
        (temporary / "release").rename(place)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _summary(bundle: Path, contents: Contents, manifest: Manifest) -> str:
    size = sum(found.bytes for found in contents.files.values())
    held = ", ".join(f"{target} {name}" for target, name in manifest.artifacts.items()) or "no artifact"
    kept = f"{len(manifest.gates) - len(manifest.missed_gates)} of {len(manifest.gates)} gates held"
    gates = kept if manifest.gates else "no gates were set"
    files = f"{len(contents.files)} files, {size} bytes"
    return f"Verified: {bundle} is {manifest.name} as released: {files}, {held}; {gates}"


def _licences(manifest: Manifest) -> str:
    """The licences of what it was made of, one line."""
    inputs = manifest.inputs
    licences = [f"{one.part} {one.licence or 'none stated'}{' (accepted)' * bool(one.accepted)}" for one in inputs]
    return f"Licences: {', '.join(licences)[:1000]}. As it says itself; information, not legal advice"


def _signature(contents: Contents, key: Path | None) -> str:
    from edgepress.targets.bundle.sums import SIGNATURE

    if key is not None:
        return f"Signature: of these very files, by the key of {key}"
    if SIGNATURE in contents.files:
        return "Signature: there is one, and it was not looked at. Give the public key with --key"
    return "Signature: none; that these files come from anybody in particular was not checked"
