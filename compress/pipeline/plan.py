"""Which stages a recipe has, under which digest each one is stored, and which of them are done. Knows no torch."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgepress.compress.data.bounds import check_bounds
from edgepress.compress.data.splits import data_digest
from edgepress.compress.pipeline.store import stage_digest
from edgepress.compress.recipe.paths import kind_of
from edgepress.compress.recipe.recipe import Quantize, Recipe, StageOptions, Teacher
from edgepress.compress.tasks import load_task
from edgepress.targets.errors import ModelError, RecipeError
from edgepress.targets.files import sha256_of

# Raised when a change of the code makes what older runs stored wrong.
FORMAT = 1
# Weights, configurations, vocabularies (SentencePiece's are *.model) and a trusted model's own code.
SOURCE_FILES = ("*.safetensors", "*.json", "*.txt", "*.model", "*.py")


@dataclass(frozen=True)
class Planned:
    """One stage of a run: `digest` covers everything that its result depends on."""

    index: int
    name: str
    options: StageOptions | None
    digest: str

    @property
    def folder(self) -> str:
        return f"{self.index:02d}-{self.name}"


def plan(recipe: Recipe) -> tuple[Planned, ...]:
    """The stages in order: teacher, student, those of the recipe, the export (called quantize where it makes int8) and
    the benchmark.

    Raises:
        DataError, ModelError: a file of the data or of the teacher is missing.
        RecipeError: `quantize` is not the last stage.
    """
    check_bounds(recipe.data, load_task(recipe.task))
    passes, quantize = split_stages(recipe)
    steps: list[tuple[str, StageOptions | None, Mapping[str, Any]]] = [
        ("teacher", None, _teacher(recipe.teacher)),
        ("student", None, {"student": _dump(recipe.student), "source": source_digest(recipe.student.model)}),
        *((options.kind, options, _dump(options)) for options in passes),
        ("quantize" if quantize else "export", quantize, _dump(quantize) | _targets(recipe)),
        ("benchmark", None, {"benchmark": _dump(recipe.benchmark), "gates": _dump(recipe.gates), "name": recipe.name}),
    ]
    origin = {"format": FORMAT, "task": recipe.task, "seed": recipe.seed, "data": data_digest(recipe.data)}
    digest = stage_digest("", "recipe", origin)
    planned = []
    for index, (name, options, content) in enumerate(steps, 1):
        digest = stage_digest(digest, name, content)
        planned.append(Planned(index, name, options, digest))
    return tuple(planned)


def _targets(recipe: Recipe) -> dict[str, Any]:
    return {"targets": recipe.targets, "target_options": recipe.target_options}


def split_stages(recipe: Recipe) -> tuple[tuple[StageOptions, ...], Quantize | None]:
    """The passes over the model, and the quantization that ends the recipe, if any."""
    *passes, last = recipe.stages or (None,)
    if any(isinstance(options, Quantize) for options in passes):
        raise RecipeError("stages: quantize makes the artifacts and must be the last stage")
    if isinstance(last, Quantize):
        return tuple(options for options in passes if options), last
    return tuple(options for options in (*passes, last) if options), None


def _teacher(teacher: Teacher) -> dict[str, Any]:
    found = {"teacher": _dump(teacher), "source": source_digest(teacher.model)}
    return found | ({"tokenizer": source_digest(teacher.tokenizer)} if teacher.tokenizer is not None else {})


def source_digest(source: str | None) -> str:
    """Digest of a local model folder's files; a hub id stands for itself."""
    if source is None:
        return ""
    folder = Path(source)
    kind = kind_of(folder)
    if kind != "folder":
        if kind is not None or source.startswith((".", "/", "~")) or source.count("/") > 1:
            raise ModelError(f"the model folder {source} does not exist. Give a transformers folder or a hub id.")
        return source
    digest = hashlib.sha256()
    try:
        for path in sorted({path for pattern in SOURCE_FILES for path in folder.glob(pattern) if path.is_file()}):
            digest.update(os.fsencode(path.name) + f" {sha256_of(path)}\n".encode())
    except OSError as fault:
        raise ModelError(f"{fault.filename} of the model cannot be read: {fault.strerror}. Mend its rights.") from None
    return digest.hexdigest()


def _dump(section: Any) -> dict[str, Any]:
    return section.model_dump(mode="json") if section is not None else {}
