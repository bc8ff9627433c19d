"""NOTICE and `licences/` of a release: whose parts travel in it, and the texts that ask to travel along."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from edgepress.benchmarks.records.files import HTML_NAME
from edgepress.compress.bundle.manifest import Manifest
from edgepress.compress.licences.records import Text
from edgepress.compress.licences.table import ADVICE
from edgepress.targets import device
from edgepress.targets.errors import EdgepressError
from edgepress.targets.text import visible

NOTICE, FOLDER = "NOTICE", "licences"


class Part(NamedTuple):
    """A package of the toolchain, of which something travels in releases: what, and under which licence."""

    package: str
    what: str
    licence: str


PARTS = (
    Part("edgepress", f"{device.LAUNCHER} and {device.PACKAGE}", "Apache-2.0"),
    Part("plotly", f"plotly.js, in {HTML_NAME}", "MIT"),
)


def write_notices(folder: Path, manifest: Manifest, texts: Sequence[Text]) -> None:
    """Write NOTICE and the licence texts into the release in `folder`, which is not sealed yet.

    Raises:
        EdgepressError: an installed package lacks its licence text.
    """
    place = folder / FOLDER
    place.mkdir(exist_ok=True)
    own = (Text(name=f"{part.package}-LICENSE", text=licence_text(part.package)) for part in PARTS)
    for text in (*texts, *own):
        (place / text.name).write_bytes(text.text.encode())
    lines = [manifest.name, "", "Parts of these travel in this release:", *_parts(), *_inputs(manifest), "", ADVICE]
    (folder / NOTICE).write_bytes((visible("\n".join(lines)) + "\n").encode())


def _parts() -> Iterator[str]:
    for part in PARTS:
        version = metadata.version(part.package)
        yield f"- {part.package} {version} ({part.licence}): {part.what}. {FOLDER}/{part.package}-LICENSE"


def _inputs(manifest: Manifest) -> Iterator[str]:
    if manifest.inputs:
        yield from ("", "It was made of these, whose texts, where they lay beside them, are in licences:")
    for one in manifest.inputs:
        yield f"- {one.part} {' '.join(one.source.split())} ({one.licence or 'no licence stated'})"


def licence_text(package: str) -> str:
    """The licence text that an installed package brings.

    Raises:
        EdgepressError: it brings none.
    """
    names = ("licenses/LICENSE", "licenses/LICENSE.txt", "LICENSE", "LICENSE.txt")
    # Every one of that name: in the source tree its egg-info, which has no texts, is found before what is installed.
    for one in metadata.distributions(name=package):
        for name in names:
            if text := one.read_text(name):
                return text
    raise EdgepressError(
        f"{package} is installed without its licence text, which travels in releases. Install it again: pip install "
        f"--force-reinstall --no-deps {package}"
    )
