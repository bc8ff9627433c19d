"""Artifacts that may be anybody's, read and checked before they are timed: each fault is one line."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from edgepress import targets
from edgepress.targets.errors import ArtifactError, BenchmarkError
from edgepress.targets.records import Artifact, Signature, TensorSpec

DTYPES = ("float32", "float16", "float64", "int64", "int32", "int16", "int8", "uint8", "bool")
# The dimensions that a caller can choose; the others of an input are numbers.
VARYING = ("batch", "sequence")
MOST_DIMENSIONS, MOST_NUMBERS, LONGEST_LIST = 8, 1 << 28, 3

# A run marks the exports in its cache whose settings were chosen.
MARK = "settled"


def read_artifact(folder: Path) -> Artifact:
    """The record of an artifact that can be timed.

    Raises:
        ArtifactError: it is missing or damaged, its target is not known, or inputs cannot be made by its signature.
    """
    path = folder / Artifact.FILE_NAME
    artifact = Artifact.read(path)
    if artifact.target not in targets.TARGETS:
        known = ", ".join(targets.TARGETS)
        raise ArtifactError(f"{path} is of the target {artifact.target[:60]!r}; there are {known}. Export it again.")
    if fault := signature_fault(artifact.signature):
        raise ArtifactError(f"{path}: {fault}. Export it again.")
    return artifact


def signature_fault(signature: Signature) -> str | None:
    """Why no inputs can be made for a signature, or no output be read; None where they can."""
    if not signature.inputs or not signature.outputs:
        return f"its signature has no {'output' if signature.inputs else 'input'}"
    names = [spec.name for spec in signature.inputs]
    if len(set(names)) < len(names):
        return "two inputs have the same name"
    found = (_input_fault(spec, signature.bounds) for spec in signature.inputs)
    return next((fault for fault in found if fault), None)


def _input_fault(spec: TensorSpec, bounds: Mapping[str, tuple[int, int]]) -> str | None:
    subject = f"input {spec.name[:60]!r}"
    if spec.dtype not in DTYPES:
        return f"{subject} is of the type {spec.dtype[:40]!r}; {', '.join(DTYPES)} are known"
    if not 1 <= len(spec.shape) <= MOST_DIMENSIONS:
        return f"{subject} has {len(spec.shape)} dimensions, 1 to {MOST_DIMENSIONS} are known"
    for size in spec.shape:
        if isinstance(size, int):
            if not 1 <= size <= MOST_NUMBERS:
                return f"{subject} has a dimension of {size if abs(size) < 1 << 63 else 'more than 2^63'}"
        elif size not in VARYING:
            return f"{subject} varies in {size[:40]!r}, {' and '.join(VARYING)} are known"
        elif size not in bounds:
            return f"{subject} varies in {size!r}, for which there are no bounds"
    return None


def check_size(signature: Signature, sizes: Mapping[str, int]) -> None:
    """Raises BenchmarkError for an input that would not fit into the memory of a device."""
    for spec in signature.inputs:
        count = math.prod(size if isinstance(size, int) else sizes[size] for size in spec.shape)
        if count > MOST_NUMBERS:
            sizes_given = ", ".join(f"{name} {size}" for name, size in sizes.items())
            raise BenchmarkError(
                f"input {spec.name[:60]!r} would hold {count} numbers at {sizes_given}, at most {MOST_NUMBERS} are "
                f"timed. Choose smaller ones with --batch and --sequence."
            )


def unknown_files(artifact: Artifact, folder: Path) -> str | None:
    """What the user is told about files that lie in an artifact's folder and are not of it; None where there are none.

    They are not compared with anything, and runtimes may read them all the same.
    """
    found = [path for path in artifact.unknown_files(folder) if path != MARK]
    if not found:
        return None
    more = f" and {len(found) - LONGEST_LIST} more" if len(found) > LONGEST_LIST else ""
    return f"{folder} holds {', '.join(found[:LONGEST_LIST])}{more}, not named in {Artifact.FILE_NAME} and not checked"
