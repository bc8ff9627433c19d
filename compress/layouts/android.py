"""Assets of an Android app, and a Kotlin class that runs the model by its named inputs and outputs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from edgepress.targets.records import Artifact, Signature, TensorSpec
from edgepress.targets.text import visible

MODEL, LABELS, TEMPLATE = "model.tflite", "labels.txt", "EdgepressModel.kt.txt"
ASSETS, SOURCES = Path("app/src/main/assets"), Path("app/src/main/java/edgepress")
BESIDE = ("tokenizer.json", "preprocessor_config.json")


def lay(artifact: Artifact, source: Path, place: Path, name: str) -> None:
    """Write the layout of a .tflite.

    Args:
        artifact: its record.
        source: its folder.
        place: where the layout goes, an empty folder.
        name: of the release.
    """
    assets, sources = place / ASSETS, place / SOURCES
    assets.mkdir(parents=True)
    sources.mkdir(parents=True)
    there = {entry.path for entry in artifact.files}
    for path in (MODEL, *(path for path in BESIDE if path in there)):
        shutil.copyfile(source / path, assets / path)
    labels = labels_of(source / "config.json") if "config.json" in there else ()
    (assets / LABELS).write_bytes("".join(f"{label}\n" for label in labels).encode())
    programs = programs_of(artifact)
    text = Path(__file__).with_name(TEMPLATE).read_text(encoding="utf-8")
    lines = [f"     * `{key}`: {_words(signature)}" for key, signature in programs.items()]
    text = (
        text.replace("@NAME@", name).replace("@SIGNATURES@", "\n".join(lines)).replace("@FIRST@", next(iter(programs)))
    )
    (sources / "EdgepressModel.kt").write_bytes(text.encode())


def programs_of(artifact: Artifact) -> dict[str, Signature]:
    """The signatures that the file has; "main" is what callers of Python see, where there are others."""
    return {key: one for key, one in artifact.programs.items() if key != "main"} or artifact.programs


def labels_of(config: Path) -> tuple[str, ...]:
    """Names of the classes in their order, each on one line; none where the configuration has none."""
    named = json.loads(config.read_text(encoding="utf-8")).get("id2label")
    if not isinstance(named, dict):
        return ()
    return tuple(" ".join(visible(str(named[key])).split()) for key in sorted(named, key=int))


def _words(signature: Signature) -> str:
    return f"{', '.join(map(_spec, signature.inputs))} to {', '.join(map(_spec, signature.outputs))}"


def _spec(spec: TensorSpec) -> str:
    return f"{spec.name} {spec.dtype}[{', '.join(map(str, spec.shape))}]"
