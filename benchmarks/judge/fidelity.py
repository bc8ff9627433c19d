"""How much of the teacher is left: the task's metric, agreement, flips and whether they could be chance."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from edgepress.benchmarks.records.report import ClassAccuracy
from edgepress.targets.acceptance.comparison import compare
from edgepress.targets.errors import BenchmarkError
from edgepress.targets.protocols import Session
from edgepress.targets.records import Feeds, Record


class Fidelity(Record):
    """A candidate against the labels and against the teacher, on the same rows.

    `agreement`: share of rows with the teacher's top class. `flips_lost`: teacher right, candidate wrong; `flips_won`
    the other way. `mcnemar_p`: two-sided exact probability of flips at least as uneven, were both equally good.
    `kl`: mean KL(teacher || candidate) of the class probabilities, in nats. `sqnr_db`: of the logits; None if equal.
    """

    samples: int
    accuracy: float
    agreement: float
    flips_lost: int
    flips_won: int
    mcnemar_p: float
    kl: float
    sqnr_db: float | None


def predict(session: Session, batches: Iterable[Feeds]) -> np.ndarray:
    """The session's first output for all batches: logits fp32 `[rows, classes]`.

    Raises:
        BenchmarkError: no batches, an output that is not `[batch, classes]`, or one that holds NaN or infinity.
    """
    parts: list[np.ndarray] = []
    for index, feeds in enumerate(batches):
        logits = next(iter(session.infer(feeds).values()))
        rows = len(next(iter(feeds.values())))
        if logits.ndim != 2 or len(logits) != rows:
            raise BenchmarkError(f"batch {index}: output must be [{rows}, classes], got {list(logits.shape)}")
        if bad := int((~np.isfinite(logits)).any(axis=1).sum()):
            raise BenchmarkError(
                f"batch {index}: {bad} of {rows} rows hold NaN or infinity. "
                f"Try another precision or look for NaN in the weights."
            )
        parts.append(logits.astype(np.float32))
    if not parts:
        raise BenchmarkError("nothing to predict: the data gave no batches")
    return np.concatenate(parts)


def judge(labels: np.ndarray, teacher_logits: np.ndarray, logits: np.ndarray) -> Fidelity:
    """Labels `[rows]`, both logits `[rows, classes]`.

    >>> teacher = np.array([[2.0, 0.0], [0.0, 2.0]])
    >>> judge(np.array([0, 1]), teacher, teacher[::-1]).flips_lost
    2

    Raises:
        BenchmarkError: the shapes don't fit each other.
    """
    if teacher_logits.shape != logits.shape or labels.shape != logits.shape[:1]:
        raise BenchmarkError(
            f"labels {list(labels.shape)}, teacher {list(teacher_logits.shape)} and candidate {list(logits.shape)} "
            f"don't fit: give logits [rows, classes] of the same rows and classes"
        )
    comparison = compare([teacher_logits], [logits])
    teacher_right = teacher_logits.argmax(-1) == labels
    right = logits.argmax(-1) == labels
    lost, won = int((teacher_right & ~right).sum()), int((~teacher_right & right).sum())
    return Fidelity(
        samples=len(labels),
        accuracy=float(right.mean()),
        agreement=comparison.agreement,
        flips_lost=lost,
        flips_won=won,
        mcnemar_p=mcnemar(lost, won),
        kl=_mean_kl(teacher_logits, logits),
        sqnr_db=comparison.sqnr_db,
    )


def class_accuracies(
    labels: np.ndarray, teacher_logits: np.ndarray | None, logits: np.ndarray, names: Sequence[str]
) -> tuple[ClassAccuracy, ...]:
    """Accuracy on the rows of each class that has any, in the order of `names`.

    `labels` `[rows]` are indices into `names`; both logits `[rows, classes]`. Without `teacher_logits` no difference.

    >>> logits = np.array([[2.0, 0.0], [0.0, 2.0], [2.0, 0.0]])
    >>> [(one.samples, one.accuracy) for one in class_accuracies(np.array([0, 1, 1]), None, logits, ["no", "yes"])]
    [(1, 1.0), (2, 0.5)]
    """
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

    >>> mcnemar(5, 0), mcnemar(0, 0)
    (0.0625, 1.0)
    """
    flips = lost + won
    if lost == won:
        return 1.0
    log_total = math.lgamma(flips + 1) - flips * math.log(2)
    terms = (math.exp(log_total - math.lgamma(k + 1) - math.lgamma(flips - k + 1)) for k in range(min(lost, won) + 1))
    return min(1.0, round(2 * math.fsum(terms), 12))


def _mean_kl(teacher_logits: np.ndarray, logits: np.ndarray) -> float:
    teacher, candidate = _log_softmax(teacher_logits), _log_softmax(logits)
    return max(0.0, float((np.exp(teacher) * (teacher - candidate)).sum(-1).mean()))


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    result: np.ndarray = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return result
