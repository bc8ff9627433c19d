"""What a metric said of one artifact: its value, how sure it is, and how far it is from the teacher."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from edgepress.benchmarks.metrics.base import Against, Unit
from edgepress.benchmarks.statistics import Interval
from edgepress.targets.errors import BenchmarkError
from edgepress.targets.records import Record


class Figure(Record):
    """One metric of one artifact, on all rows of a split. What was not taken is null."""

    key: str = Field(description="the metric, as recipes name it, e.g. macro-f1")
    name: str = Field(description="the metric, as people read it, e.g. macro F1")
    unit: Unit = Field(description="unit of value, ends and difference; share: 0..1; 1: a plain number")
    value: float = Field(description="the metric on all rows")
    higher_is_better: bool = Field(description="whether a larger value is a better one")
    against: Against = Field(default="labels", description="what the answers were compared with")
    primary: bool = Field(default=False, description="whether choices and verdicts rest on it; one of a row does")
    low: float | None = Field(default=None, description="lower end of the value's 95 % interval")
    high: float | None = Field(default=None, description="upper end of the value's 95 % interval")
    difference: float | None = Field(
        default=None, description="value - the teacher's on the same rows; null for the teacher and what is against it"
    )
    difference_low: float | None = Field(default=None, description="lower end of its paired 95 % interval")
    difference_high: float | None = Field(default=None, description="upper end of its paired 95 % interval")
    p: float | None = Field(
        default=None,
        description="two-sided p-value of the difference: McNemar's exact one where rows are right or wrong, else of "
        "the paired bootstrap",
    )
    flips_lost: int | None = Field(default=None, description="rows where the teacher is right and this one wrong")
    flips_won: int | None = Field(default=None, description="rows where the teacher is wrong and this one right")

    @property
    def interval(self) -> Interval | None:
        return interval_of(self.low, self.high)

    @property
    def difference_interval(self) -> Interval | None:
        return interval_of(self.difference_low, self.difference_high)

    def loss_to(self, other: float) -> float:
        """By how much `other` is the worse value of this metric; negative where it is the better one.

        >>> Figure(key="wer", name="WER", unit="share", value=0.25, higher_is_better=False).loss_to(0.5)
        0.25
        """
        return self.value - other if self.higher_is_better else other - self.value


def interval_of(low: float | None, high: float | None) -> Interval | None:
    """Both ends, or None where one is not known."""
    return None if low is None or high is None else (low, high)


def figure_of(figures: Sequence[Figure], key: str) -> Figure | None:
    """The figure of one metric; None where it was not taken."""
    return next((figure for figure in figures if figure.key == key), None)


def primary_of(figures: Sequence[Figure]) -> Figure | None:
    """The figure that choices rest on; None where nothing was taken."""
    return next((figure for figure in figures if figure.primary), None)


def one_primary(figures: tuple[Figure, ...]) -> tuple[Figure, ...]:
    """Refuse figures with no primary one, with several, or with one metric twice.

    Raises:
        ValueError: says which; a record turns it into its own error.
    """
    keys = [figure.key for figure in figures]
    if len(set(keys)) < len(keys):
        raise ValueError(f"a metric is there twice: {', '.join(keys)}")
    if figures and (count := sum(figure.primary for figure in figures)) != 1:
        raise ValueError(f"exactly one metric is the primary one, got {count} of {', '.join(keys)}")
    return figures


def known_primary(figures: Sequence[Figure], whose: str) -> Figure:
    """The figure that choices rest on, where there must be one.

    Raises:
        BenchmarkError: `whose` has none.
    """
    if (found := primary_of(figures)) is None:
        raise BenchmarkError(f"{whose} has no figure of its primary metric")
    return found
