"""What measuring needs of a run: what to time, real rows in a shape, a seed, and who hears of progress."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from edgepress.benchmarks.records.scenarios import ScenarioName
from edgepress.targets.progress import Advance
from edgepress.targets.records import Feeds


class Options(Protocol):
    """What is timed: the recipe's section `benchmark`, or anything that has its fields."""

    @property
    def batches(self) -> tuple[int, ...]: ...
    @property
    def sequences(self) -> tuple[int, ...]: ...
    @property
    def threads(self) -> tuple[int, ...]: ...
    @property
    def samples(self) -> int: ...
    @property
    def warmup(self) -> int: ...
    @property
    def scenarios(self) -> tuple[ScenarioName, ...]: ...
    @property
    def seconds(self) -> float: ...
    @property
    def latency_bound_ms(self) -> float | None: ...
    @property
    def offline_batch(self) -> int: ...
    @property
    def time_limit_s(self) -> float: ...
    @property
    def generated(self) -> int:
        """Of how many test rows texts are made; 0: of none."""
        ...


class Rows(Protocol):
    """Rows of a split as model inputs, and their labels."""

    labels: np.ndarray
    """The truth, one entry a row: class numbers, int64 `[rows]`."""
    lengths: np.ndarray | None
    """Tokens of each row, int64 `[rows]`; None where rows have no length."""

    def __len__(self) -> int: ...

    def batch(self, indices: Sequence[int] | np.ndarray, length: int | None = None) -> dict[str, np.ndarray]:
        """Model inputs of some rows, padded to the longest of them, or padded or cut to `length`."""
        ...


@runtime_checkable
class Judging(Protocol):
    """Rows of whose outputs not every value is judged, such as padding."""

    def judged(self, indices: np.ndarray, outputs: np.ndarray) -> np.ndarray:
        """The outputs `[batch, ...]` of these rows in one shape for all batches, NaN where nothing is judged."""
        ...


@runtime_checkable
class Generating(Protocol):
    """Rows of sources, of which a model makes texts by itself.

    `references`: the true targets. `begin`, `end` and `padding`: the tokens that targets begin and end with, and that
    pads.
    """

    references: Sequence[str]
    begin: int
    end: int
    padding: int

    def source(self, row: int) -> np.ndarray:
        """The tokens of a source, int64 `[sequence]`."""
        ...

    def text(self, tokens: Sequence[int]) -> str:
        """What tokens of a target say."""
        ...


class Task(Protocol):
    """Begins a task that a user sees; what it yields is told of progress."""

    def __call__(self, title: str, total: float | None = None) -> AbstractContextManager[Advance]: ...


@dataclass(frozen=True)
class Desk:
    """What measuring needs of a run.

    Attributes:
        options: shapes, sample counts, loads and limits.
        sample: real rows in exactly one shape, (batch, sequence or None) -> feeds; the same ones at every call.
        task: begins a task that the user sees.
        stage: what titles of tasks begin with.
        seed: of orders and resamples.
        cases: folder for inputs that are timed, made once for the run.
        metrics: keys of the metrics that rows hold, the primary one first.
        class_names: names of the classes, in the order of their numbers; empty where there are none.
    """

    options: Options
    sample: Callable[[int, int | None], Feeds]
    task: Task
    stage: str
    seed: int
    cases: Path
    metrics: tuple[str, ...]
    class_names: tuple[str, ...] = ()


def batches(
    rows: Rows, size: int, order: np.ndarray | None = None
) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """All rows once, as (row numbers, inputs); the row numbers tell where outputs belong.

    Args:
        rows: what is batched.
        size: rows in a batch; the last one may be smaller.
        order: row numbers, int `[rows]`. None: rows of like length together, shortest first, which pads least.
    """
    if order is None:
        numbers = np.arange(len(rows))
        order = numbers if rows.lengths is None else np.argsort(rows.lengths, kind="stable")
    for start in range(0, len(order), size):
        indices = np.asarray(order[start : start + size])
        yield indices, rows.batch(indices)


def judged(rows: Rows, indices: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """What is judged of the outputs of some rows: all of them, unless the rows say otherwise.

    Args:
        rows: of a split.
        indices: which of them, int `[batch]`.
        outputs: `[batch, ...]`, as a network gave them.
    """
    return rows.judged(indices, outputs) if isinstance(rows, Judging) else outputs
