"""Figures of a classifier, for reports that tests make up."""

from __future__ import annotations

from edgepress.benchmarks.records.figures import Figure


def quality(accuracy: float, agreement: float | None = None, **accuracys: float) -> tuple[Figure, ...]:
    """Accuracy, the primary metric, with any of its fields, and agreement with the teacher."""
    primary = Figure(
        key="accuracy", name="accuracy", unit="share", value=accuracy, higher_is_better=True, primary=True, **accuracys
    )
    if agreement is None:
        return (primary,)
    beside = Figure(
        key="agreement", name="agreement", unit="share", value=agreement, higher_is_better=True, against="teacher"
    )
    return (primary, beside)


def beside(key: str, name: str, unit: str, value: float, better: bool) -> Figure:
    """A figure that compares with the teacher."""
    return Figure.model_validate(
        {"key": key, "name": name, "unit": unit, "value": value, "higher_is_better": better, "against": "teacher"}
    )
