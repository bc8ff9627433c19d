"""Zeros of sparse models in what was exported of them: what they are worth, and whether all are there."""

from __future__ import annotations

from pathlib import Path

from edgepress import targets
from edgepress.benchmarks.measure.footprint import compressed_bytes
from edgepress.benchmarks.records.report import Figures
from edgepress.compress.model.model import Model
from edgepress.compress.model.sparsity import count_zeros, sparse_weights
from edgepress.targets.records import Artifact


def with_zeros(figures: Figures, model: Model, folder: Path) -> Figures:
    """The figures of a model with its zeros, those of its export, and the export's bytes after zstd.

    Args:
        figures: without them.
        model: whose zeros are counted.
        folder: of its exported artifact.
    """
    artifact = Artifact.read(folder / Artifact.FILE_NAME)
    found = {
        "zstd_bytes": compressed_bytes(artifact, folder),
        "zeros": count_zeros(model.network).zeros,
        "exported_zeros": targets.of(artifact).zeros(artifact, folder),
    }
    return figures.model_copy(update=found)


def lost_zeros(model: Model, artifact: Artifact, folder: Path) -> str:
    """What is wrong with the zeros of an artifact, whatever its precision; empty where each zero of the model's sparse
    layers is in its files, and for a model that is not sparse.

    Args:
        model: that was exported.
        artifact: what was made of it.
        folder: of the artifact.
    """
    weights = sparse_weights(model.network, model.sparse_modules).values()
    if not (made := sum(int((weight == 0).sum()) for weight in weights)):
        return ""
    found = targets.of(artifact).zeros(artifact, folder)
    where = f"{artifact.target} {artifact.name}"
    if found is None:
        return f"{where}: its zeros could not be counted, this target's files tell no weights"
    return f"{where} holds {found.zeros:,} zeros, the model's sparse layers {made:,}" if found.zeros < made else ""
