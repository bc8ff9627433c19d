"""README.md of a packaged release: model card, what it is, how to check it, and ten lines that run each artifact."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from edgepress.benchmarks.records.files import JSON_NAME
from edgepress.benchmarks.records.report import Report, Row
from edgepress.benchmarks.report.wording import missed_gates
from edgepress.compress.bundle.card import front
from edgepress.compress.bundle.manifest import Manifest
from edgepress.compress.layouts import FOLDER as LAYOUTS_FOLDER
from edgepress.compress.licences.gate import unstated
from edgepress.compress.licences.table import ADVICE
from edgepress.targets.records import Artifact, Signature, TensorSpec
from edgepress.targets.text import visible

README = "README.md"
SHORT = 8  # tokens of the example's row, where the artifact's bounds allow it


def write_readme(folder: Path, manifest: Manifest) -> None:
    """Write the page into the release in `folder`, which is not sealed yet; without a report there are no figures."""
    report = Report.read(folder / JSON_NAME) if (folder / JSON_NAME).is_file() else None
    artifacts = {name: Artifact.read(folder / name / Artifact.FILE_NAME) for name in manifest.artifacts}
    parts = [
        f"{front(manifest, report)}\n\n# {manifest.name}",
        f"A release of edgepress: {', '.join(f'`{target}`' for target in artifacts)}. How it was made and measured: "
        "`report.html`.",
        *_figures(report, artifacts),
        *_checks(manifest),
        *_inputs(manifest),
        *[part for target, artifact in artifacts.items() for part in (f"## Use {target}", _example(target, artifact))],
        *_layouts(folder),
        "## Measure it here",
        "`python run_benchmark.py --help`. It needs Python 3.9 or newer, NumPy and the runtime.",
    ]
    (folder / README).write_bytes((visible("\n\n".join(parts)) + "\n").encode())


def _figures(report: Report | None, artifacts: Mapping[str, Artifact]) -> list[str]:
    if report is None:
        return []
    rows = [row for row in report.candidates if row.chosen and row.target in artifacts]
    lines = ["| target | precision | bytes | metric | teacher's |", "|---|---|---|---|---|"]
    return ["\n".join([*lines, *(_figure(row, report.teacher) for row in rows)])]


def _figure(row: Row, teacher: Row) -> str:
    figure = row.primary
    value, reference = "–", "–"
    if figure is not None:
        value = f"{figure.name} {figure.value:.4g}"
        of_teacher = teacher.figure(figure.key)
        reference = "–" if of_teacher is None else f"{of_teacher.value:.4g}"
    return f"| {row.target} | {row.precision} | {row.bytes} | {value} | {reference} |"


def _checks(manifest: Manifest) -> list[str]:
    missed = missed_gates(manifest.gates) if manifest.missed_gates else ""
    warning = [f"**It was packaged although {missed}.**"] if missed else []
    return [
        *warning,
        "## Check it",
        "`edgepress verify .` in this folder compares every file, the report and the gates; with `--key PUBLIC.pem`\n"
        "the signature `model.sig` too. Without edgepress, `sha256sum -c SHA256SUMS` finds files that were changed.",
    ]


def _inputs(manifest: Manifest) -> list[str]:
    """What the run was made of, under which licences, and what those ask for."""
    title = "## What it is made of"
    if not manifest.inputs:
        return [title, "The run that made it did not record its inputs."]
    lines = ["| input | source | licence | stated by |", "|---|---|---|---|"]
    for one in manifest.inputs:
        at = f" at {one.revision[:12]}" if one.revision else ""
        by = ", ".join(one.stated_by) or "–"
        lines.append(f"| {one.part} | {_cell(one.source)}{at} | {_cell(one.licence) or 'none stated'} | {_cell(by)} |")
    asked = [f"- {one.part} ({one.licence}): {' '.join(one.says)}" for one in manifest.inputs if one.says]
    accepted = [
        f"- {one.part} ({one.licence}) is released all the same: {_cell(one.accepted)}"
        for one in manifest.inputs
        if one.accepted
    ]
    missing = unstated(manifest.inputs)
    warning = [f"**No licence is stated for {', '.join(map(_cell, missing))}.**"] if missing else []
    listed = ["\n".join([*dict.fromkeys(asked), *accepted])] if asked or accepted else []
    return [title, "\n".join(lines), *warning, *listed, f"Sources and dates are in `manifest.json`. {ADVICE}"]


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").replace("`", "'").split())


def _example(target: str, artifact: Artifact) -> str:
    """Python that runs one row, in the folder of the release, by the very session that was measured."""
    feeds = ", ".join(
        f"{json.dumps(spec.name)}: {_ones(spec, artifact.signature)}" for spec in artifact.signature.inputs
    )
    lines = [
        "```python",
        "import json, sys",
        "from pathlib import Path",
        "import numpy as np",
        'sys.path.append(".")  # this folder, last: nothing in it poses as a library',
        "sys.dont_write_bytecode = True  # the release stays as it is",
        "from edgepress_device.runtime import opened",
        f'facts = json.loads(Path("{target}/artifact.json").read_text())',
        f"feeds = {{{feeds}}}",
        f'with opened("{target}", Path("{target}"), facts, threads=1) as session:',
        "    print(session.run(feeds))",
        "```",
    ]
    return "\n".join(lines)


LAYOUT_WORDS = {
    "transformers-js": "for transformers.js, `pipeline(task, folder)`, and optimum, whose model is in `onnx/`",
    "android": "assets of an app, and `EdgepressModel.kt`, which runs them",
    "tflite-micro": "a C array for TensorFlow Lite for Microcontrollers",
}


def _layouts(folder: Path) -> list[str]:
    """The folders that hold artifacts as other tools expect them."""
    there = [name for name in LAYOUT_WORDS if (folder / LAYOUTS_FOLDER / name).is_dir()]
    lines = [f"- `{LAYOUTS_FOLDER}/{name}`: {LAYOUT_WORDS[name]}" for name in there]
    return ["## The same in other folders", "\n".join(lines)] if lines else []


def _ones(spec: TensorSpec, signature: Signature) -> str:
    """NumPy code for an input: one row of ones, within the artifact's bounds."""
    wanted = {"batch": 1, "sequence": SHORT}
    sizes = []
    for size in spec.shape:
        if isinstance(size, str):
            low, high = signature.bounds[size]
            size = min(max(wanted.get(size, low), low), high)
        sizes.append(size)
    return f'np.ones(({", ".join(map(str, sizes))},), "{spec.dtype}")'
