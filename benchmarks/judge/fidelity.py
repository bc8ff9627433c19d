"""How good an artifact's answers are: the task's metrics against labels and teacher, each with how sure it is."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from edgepress.benchmarks.metrics import metric
from edgepress.benchmarks.metrics.base import Metric, value_of
from edgepress.benchmarks.records.figures import Figure
from edgepress.benchmarks.records.report import ClassAccuracy
from edgepress.benchmarks.statistics import Bootstrap, bootstrap, difference_interval, wilson_interval
from edgepress.targets.errors import BenchmarkError
from edgepress.targets.protocols import Session
from edgepress.targets.records import Feeds


def predict(session: Session, batches: Iterable[Feeds]) -> np.ndarray:
    """The session's first output for all batches: logits fp32 `[rows, ..., classes]`.

    Raises:
        BenchmarkError: no batches, an output that is not `[batch, ..., classes]`, or one that holds NaN or infinity.
    """
    parts: list[np.ndarray] = []
    for index, feeds in enumerate(batches):
        logits = next(iter(session.infer(feeds).values()))
        rows = len(next(iter(feeds.values())))
        if logits.ndim < 2 or len(logits) != rows:
            raise BenchmarkError(f"batch {index}: output must be [{rows}, ..., classes], got {list(logits.shape)}")
        if bad := int((~np.isfinite(logits)).any(axis=tuple(range(1, logits.ndim))).sum()):
            raise BenchmarkError(
                f"batch {index}: {bad} of {rows} rows hold NaN or infinity. "
                f"Try another precision or look for NaN in the weights."
            )
        parts.append(logits.astype(np.float32))
    if not parts:
        raise BenchmarkError("nothing to predict: the data gave no batches")
    return np.concatenate(parts)


def judge(
    metrics: Sequence[str],
    labels: np.ndarray,
    teacher: np.ndarray,
    answers: np.ndarray,
    *,
    primary: str | None = None,
    is_teacher: bool = False,
    intervals: bool = True,
    seed: int = 0,
) -> tuple[Figure, ...]:
    """The metrics of one artifact on the rows of a split.

    Args:
        metrics: keys of `METRICS`, in the order of the figures.
        labels: the truth, one entry a row: class numbers `[rows]`.
        teacher: the teacher's answers to the same rows: logits `[rows, classes]`.
        answers: the artifact's answers, of the same shape.
        primary: the metric that choices rest on; None: the first one.
        is_teacher: whether the artifact is the teacher itself, which has no difference to itself.
        intervals: whether to resample for intervals and p-values, which takes a moment for each metric.
        seed: of the resamples.

    Returns:
        One figure a metric; one whose value does not exist, as the SQNR of equal answers, is left out.

    >>> teacher = np.array([[2.0, 0.0], [0.0, 2.0]])
    >>> judge(["accuracy"], np.array([0, 1]), teacher, teacher[::-1])[0].flips_lost
    2

    Raises:
        BenchmarkError: the shapes don't fit each other, or a metric is not known.
    """
    maps = teacher.ndim == answers.ndim == 4  # of any height and width: metrics bring them to one size
    same = teacher.shape[:2] == answers.shape[:2] if maps else teacher.shape == answers.shape
    if not same or len(labels) != len(answers):
        raise BenchmarkError(
            f"labels {list(labels.shape)}, teacher {list(teacher.shape)} and candidate {list(answers.shape)} "
            f"don't fit: give logits [rows, classes] of the same rows and classes"
        )
    found = []
    for key in metrics:
        kind = metric(key)
        counts = kind.counts(labels if kind.against == "labels" else teacher, answers)
        # Nobody but a candidate that is judged by labels has a difference to the teacher.
        paired = not is_teacher and kind.against == "labels"
        other = kind.counts(labels, teacher) if paired else None
        value = value_of(kind, counts)
        if math.isfinite(value):
            figure = _figure(kind, value, counts, other, seed if intervals else None)
            found.append(figure.model_copy(update={"primary": key == (primary or metrics[0])}))
    return tuple(found)


def _figure(kind: Metric, value: float, counts: np.ndarray, teacher: np.ndarray | None, seed: int | None) -> Figure:
    """One figure; `seed` is None where no intervals are asked for."""
    plain = Figure(
        key=kind.key,
        name=kind.name,
        unit=kind.unit,
        value=value,
        higher_is_better=kind.higher_is_better,
        against=kind.against,
    )
    difference = None if teacher is None else value - value_of(kind, teacher)
    plain = plain.model_copy(update={"difference": difference})
    if _right_or_wrong(counts):
        return plain.model_copy(update=_of_rights(counts, teacher))
    if seed is None:
        return plain
    found = bootstrap(counts, kind.value, teacher, seed=seed)
    return plain.model_copy(update=_of_resamples(found))


def _right_or_wrong(counts: np.ndarray) -> bool:
    """Whether each row is one 0 or 1: the exact intervals and McNemar's test then apply."""
    return counts.shape[1] == 1 and bool(np.isin(counts, (0, 1)).all())


def _of_rights(counts: np.ndarray, teacher: np.ndarray | None) -> dict[str, float | int | None]:
    """Wilson's and Bonett and Price's intervals and McNemar's p.

    They agree with the bootstrap within a fifth of a point, and are preferred to it because they are not empty where
    every row is right, or where no row differs: a resample of equal rows is those rows again.
    """
    right = counts[:, 0] == 1
    low, high = wilson_interval(int(right.sum()), len(right))
    if teacher is None:
        return {"low": low, "high": high}
    before = teacher[:, 0] == 1
    lost, won = int((before & ~right).sum()), int((~before & right).sum())
    ends = difference_interval(lost, won, len(right))
    return {
        "low": low, "high": high, "difference_low": ends[0], "difference_high": ends[1],
        "difference": (won - lost) / len(right), "flips_lost": lost, "flips_won": won, "p": mcnemar(lost, won),
    }  # fmt: skip


def _of_resamples(found: Bootstrap) -> dict[str, float | None]:
    low, high = found.interval or (None, None)
    difference_low, difference_high = found.difference or (None, None)
    return {
        "low": low, "high": high, "difference_low": difference_low, "difference_high": difference_high, "p": found.p
    }  # fmt: skip


def class_accuracies(
    labels: np.ndarray, teacher_logits: np.ndarray | None, logits: np.ndarray, names: Sequence[str]
) -> tuple[ClassAccuracy, ...]:
    """Accuracy on the rows of each class that has any (its recall), in the order of `names`.

    Args:
        labels: `[rows]`, indices into `names`.
        teacher_logits: `[rows, classes]` of the same rows; None: no difference.
        logits: `[rows, classes]`.
        names: of the classes; empty for a task that has none.

    >>> logits = np.array([[2.0, 0.0], [0.0, 2.0], [2.0, 0.0]])
    >>> [(one.samples, one.accuracy) for one in class_accuracies(np.array([0, 1, 1]), None, logits, ["no", "yes"])]
    [(1, 1.0), (2, 0.5)]
    """
    if not names:
        return ()
    right = logits.argmax(-1) == labels
    teacher_right = right if teacher_logits is None else teacher_logits.argmax(-1) == labels
    found = []
    for index, name in enumerate(names):
        rows = labels == index
        if not rows.any():
            continue
        accuracy = float(right[rows].mean())
        difference = None if teacher_logits is None else accuracy - float(teacher_right[rows].mean())
        found.append(ClassAccuracy(name=name, samples=int(rows.sum()), accuracy=accuracy, difference=difference))
    return tuple(found)


def mcnemar(lost: int, won: int) -> float:
    """McNemar's exact test: twice the tail of Binomial(lost + won, 1/2), at most 1.

    Args:
        lost: rows where the teacher is right and the candidate wrong.
        won: rows where it is the other way round.

    References: McNemar, Psychometrika 12(2), 1947.

    >>> mcnemar(5, 0), mcnemar(0, 0)
    (0.0625, 1.0)
    """
    flips = lost + won
    if lost == won:
        return 1.0
    log_total = math.lgamma(flips + 1) - flips * math.log(2)
    terms = (math.exp(log_total - math.lgamma(k + 1) - math.lgamma(flips - k + 1)) for k in range(min(lost, won) + 1))
    return min(1.0, round(2 * math.fsum(terms), 12))
