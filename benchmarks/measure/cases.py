"""The shapes that are timed, and the inputs that have them: real rows in files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from edgepress.benchmarks.desk import Desk, Options
from edgepress.benchmarks.measure.jobs import Case
from edgepress.benchmarks.records.scenarios import Shape
from edgepress.targets.records import Signature


def shapes_of(options: Options, sequences: bool, bounds: Mapping[str, tuple[int, int]]) -> tuple[Shape, ...]:
    """Every shape that is asked for and that a signature's bounds admit; the sequence is None for models without one.

    Args:
        options: batches, sequences and threads to combine; sequences beyond the bounds are cut to the longest.
        sequences: whether the model takes sequences.
        bounds: of the signature, name -> (lowest, highest).
    """
    lengths: list[int | None] = [None]
    if sequences:
        highest = bounds["sequence"][1]
        lengths = list(dict.fromkeys(min(length, highest) for length in options.sequences))
    return tuple(
        Shape(batch=batch, sequence=length, threads=threads)
        for threads in options.threads
        for batch in options.batches
        for length in lengths
    )


def write_cases(desk: Desk, signature: Signature, folder: Path) -> list[Case]:
    """Each shape that is timed, its inputs made once for the run.

    Args:
        desk: says which shapes, and gives the rows.
        signature: of the model that is timed, whose bounds shapes keep to.
        folder: where the inputs are written; made where it is missing.
    """
    varies = any("sequence" in spec.shape for spec in signature.inputs)
    return [write_case(desk, shape, folder) for shape in shapes_of(desk.options, varies, signature.bounds)]


def write_case(desk: Desk, shape: Shape, folder: Path) -> Case:
    """Real calibration rows in one shape, in a safetensors file of `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"batch{shape.batch}{f'-sequence{shape.sequence}' if shape.sequence else ''}.safetensors"
    if not path.is_file():
        feeds = desk.sample(shape.batch, shape.sequence)
        save_file({name: np.ascontiguousarray(value) for name, value in feeds.items()}, path)
    return Case(shape=shape, feeds=str(path))
