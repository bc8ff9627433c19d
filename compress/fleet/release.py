"""The release that a fleet measures: verified here before any of it leaves, and packed for the way."""

from __future__ import annotations

import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from edgepress.benchmarks.devices.merge import Place, check_run
from edgepress.compress.bundle.contents import read_folder
from edgepress.compress.bundle.verify import told_faults, verify
from edgepress.compress.fleet.command import Feed
from edgepress.targets.bundle.sums import SUMS
from edgepress.targets.device import LAUNCHER
from edgepress.targets.errors import BundleError, EdgepressError
from edgepress.targets.files import within
from edgepress.targets.runtime import SESSIONS


@dataclass(frozen=True)
class Sent:
    """A release as devices get it: `digest` is the sha256 of its SHA256SUMS, `bytes` of all its files."""

    folder: Path
    digest: str
    files: tuple[str, ...]
    bytes: int
    targets: tuple[str, ...]

    def feed(self) -> Feed:
        """Writes its files as a tar: names and contents alone, no owner, no time."""

        def write(stream: IO[bytes]) -> None:
            with tarfile.open(fileobj=stream, mode="w|") as archive:
                for path in self.files:
                    place = within(self.folder, path)
                    about = tarfile.TarInfo(path)
                    about.size = place.stat().st_size
                    with place.open("rb") as file:
                        archive.addfile(about, file)

        return write


def read_sent(folder: Path) -> Sent:
    """The release in a folder, every file of it compared with its manifest.

    Raises:
        BundleError: it is not as it was released.
        EdgepressError: it has no runner, or no artifact that the runner opens.
    """
    contents = read_folder(folder)
    found = verify(contents)
    if found.faults or found.manifest is None:
        raise BundleError(f"{folder} is not as it was released: {told_faults(found.faults)}. Get it again")
    if LAUNCHER not in contents.files:
        raise EdgepressError(f"{folder} has no {LAUNCHER}. Run `edgepress package` on its run first")
    targets = tuple(target for target in SESSIONS if target in found.manifest.artifacts)
    if not targets:
        raise EdgepressError(f"{folder} has no artifact for devices; those are of {', '.join(SESSIONS)}")
    size = sum(one.bytes for one in contents.files.values())
    return Sent(folder, contents.files[SUMS].sha256, tuple(sorted(contents.files)), size, targets)


def place_of(path: Path, output: Path | None) -> Place:
    """Where the hardware report of a run, or of a release by itself, lies.

    Args:
        path: a run folder or a release folder.
        output: the report's folder; None: `devices` in the run.

    Raises:
        StoreError: there is no release.
        EdgepressError: the release is of no run here, and no folder was named.
    """
    if (path / SUMS).is_file():
        if output is None:
            raise EdgepressError(f"{path} is a release, to which nothing is added. Name the report's folder: --output")
        return Place(path, output, path.resolve().name)
    check_run(path)
    own = Place.of_run(path)
    return own if output is None else Place(own.release, output, own.title)


def installable(targets: Sequence[str]) -> tuple[str, ...]:
    """What pip installs for these targets; those of TensorRT come with the GPU's own libraries, and are not."""
    packages = {
        "onnxruntime-cpu": ("onnxruntime",),
        "openvino": ("openvino",),
        "tflite-mobile": ("ai-edge-litert",),
        "xla-tpu": ("jax", "safetensors"),
    }
    found = [package for target in targets for package in packages.get(target, ())]
    return ("numpy", *found) if found else ()
