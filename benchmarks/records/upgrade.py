"""Reports of schema 1.0, whose rows held the flat fields of a classifier, as reports of schema 2.0.

No figure is taken anew: every one of the old layout stands in the new one, and what was null is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

OLD = "1.0"
# Fields of a 1.0 row that are figures now, or have another name.
FLAT = (
    *("accuracy", "accuracy_low", "accuracy_high", "accuracy_difference", "accuracy_difference_low"),
    *("accuracy_difference_high", "agreement", "flips_lost", "flips_won", "mcnemar_p", "kl", "sqnr_db"),
    "validation_accuracy",
)
ACCURACY = {"key": "accuracy", "name": "accuracy", "unit": "share", "higher_is_better": True, "primary": True}
AGAINST_THE_TEACHER: dict[str, dict[str, Any]] = {
    "agreement": {"name": "agreement", "unit": "share", "higher_is_better": True},
    "kl": {"name": "KL", "unit": "nats", "higher_is_better": False},
    "sqnr": {"name": "SQNR", "unit": "dB", "higher_is_better": True},
}


def upgraded(content: Any) -> Any:
    """The 2.0 layout of a whole report.

    Args:
        content: parsed JSON; anything but a report of schema 1.0 is given back as it is.
    """
    if not isinstance(content, Mapping) or content.get("schema_version") != OLD:
        return content
    found = dict(content) | {"schema_version": "2.0"}
    if isinstance(content.get("teacher"), Mapping):
        found["teacher"] = upgraded_row(content["teacher"])
    if isinstance(content.get("candidates"), list | tuple):
        found["candidates"] = [upgraded_row(row) for row in content["candidates"]]
    if isinstance(content.get("stages"), list | tuple):
        found["stages"] = [_stage(stage) for stage in content["stages"]]
    return found


def upgraded_row(row: Any) -> Any:
    """The 2.0 layout of one row, as reports and kept results hold them.

    Args:
        row: parsed JSON; a row that has `metrics` already is given back as it is.
    """
    if not isinstance(row, Mapping) or "metrics" in row:
        return row
    found = {name: value for name, value in row.items() if name not in FLAT}
    found |= {"metrics": _figures(row), "validation": row.get("validation_accuracy")}
    if isinstance(row.get("batch_check"), Mapping):
        found["batch_check"] = _renamed(row["batch_check"])
    if isinstance(row.get("isa_checks"), list | tuple):
        found["isa_checks"] = [_renamed(check) for check in row["isa_checks"]]
    return found


def _stage(stage: Any) -> Any:
    if not isinstance(stage, Mapping):
        return stage
    sides = {side: _side(stage[side]) for side in ("before", "after") if isinstance(stage.get(side), Mapping)}
    return dict(stage) | sides


def _side(figures: Mapping[str, Any]) -> dict[str, Any]:
    rest = {name: value for name, value in figures.items() if name not in ("accuracy", "agreement")}
    return rest if "metrics" in rest else rest | {"metrics": _figures(figures)}


def _figures(flat: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The figures that flat fields told, accuracy first."""
    found = []
    if flat.get("accuracy") is not None:
        figure = {
            "value": flat["accuracy"],
            "low": flat.get("accuracy_low"),
            "high": flat.get("accuracy_high"),
            "difference": flat.get("accuracy_difference"),
            "difference_low": flat.get("accuracy_difference_low"),
            "difference_high": flat.get("accuracy_difference_high"),
            "p": flat.get("mcnemar_p"),
            "flips_lost": flat.get("flips_lost"),
            "flips_won": flat.get("flips_won"),
        }
        found.append(ACCURACY | {name: value for name, value in figure.items() if value is not None})
    for key, kind in AGAINST_THE_TEACHER.items():
        value = flat.get("sqnr_db" if key == "sqnr" else key)
        # Without an accuracy there is no primary figure, and then there are none at all.
        if value is not None and found:
            found.append({"key": key, **kind, "value": value, "against": "teacher"})
    return found


def _renamed(check: Any) -> Any:
    """A check in larger batches or on another instruction set: its figure is of the primary metric now."""
    if not isinstance(check, Mapping) or "accuracy" not in check:
        return check
    return {"value" if name == "accuracy" else name: value for name, value in check.items()}
