"""How a release is used, as the end of a run tells it: lines that can be copied and run as they stand."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgepress.benchmarks.records.report import Report
    from edgepress.targets.records import Artifact

ONNX = "onnxruntime-cpu"


def usage(run: Path, report: Report) -> list[str]:
    """Lines on how to use the release of a run; none where nothing was released.

    An artifact for ONNX Runtime is opened with onnxruntime alone, as it would be where edgepress is not installed.
    The artifacts of other targets are files for one kind of machine: there the commands that check, time and carry them
    are given.
    """
    from edgepress.benchmarks.records.report import WITH_ARTIFACT
    from edgepress.targets.records import STEP, Artifact

    release = run / "release"
    names = [row.target for row in report.candidates if row.chosen and row.status in WITH_ARTIFACT]
    if not any((release / name / Artifact.FILE_NAME).is_file() for name in names):
        return []
    if ONNX in names:
        artifact = Artifact.read(release / ONNX / Artifact.FILE_NAME)
        if STEP in artifact.programs:
            return ["To use it:", *(f"  {line}" for line in decoder_lines(run))]
        lines = python_lines(artifact, report.task)
        return [f"To use it, in {release / ONNX}, with Python:", *(f"  {line}" for line in lines)]
    return ["To use it:", *(f"  {line}" for line in command_lines(run))]


def decoder_lines(run: Path) -> list[str]:
    """Commands that go on with a text, and that check a release of a decoder."""
    release = shlex.quote(str(run / "release"))
    return [
        f'edgepress generate {release} "Once upon a time"  # or open_bundle(...).generate(...) in Python',
        f"edgepress verify {release}  # every file as it was released, none too many",
        f"edgepress package {shlex.quote(str(run))}  # adds run_benchmark.py for the device",
    ]


def python_lines(artifact: Artifact, task: str) -> list[str]:
    """Python that answers one row with an ONNX artifact in the current folder."""
    from edgepress.compress.tasks import load_task

    module, feeds = load_task(task).inputs.python_feeds(artifact.signature.inputs)
    imports = f"import onnxruntime as ort, {module}"
    options = []
    if artifact.precision == "int8" and not artifact.settings.get("saturate", False):
        # Without VNNI x86 adds int8 products in 16 bits; where there is VNNI the option makes the call slower only.
        imports += "; options = ort.SessionOptions()"
        options = ['options.add_session_config_entry("session.x64quantprecision", "1")  # x86 without VNNI']
    session = f'ort.InferenceSession("model.onnx"{", options" if options else ""})'
    return [imports, *options, f"feeds = {feeds}", f"print({session}.run(None, dict(feeds)))"]


def command_lines(run: Path) -> list[str]:
    """Commands that check a release, time it on this machine, and make it ready for a device."""
    release = shlex.quote(str(run / "release"))
    return [
        f"edgepress verify {release}  # every file as it was released, none too many",
        f"edgepress bench {release}  # times what runs on this machine",
        f"edgepress package {shlex.quote(str(run))}  # adds run_benchmark.py for the device",
    ]
