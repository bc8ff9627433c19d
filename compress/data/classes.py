"""Which classes a run tells apart: the teacher's own, or the data's where the teacher is fine-tuned on them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import Any

from edgepress.compress.data.labels import LabelMap, few, label_map, label_text
from edgepress.targets.errors import DataError

# What transformers calls the classes of a model that was never told their names.
GENERIC = re.compile(r"LABEL_\d+")


def classes_of(
    values: Sequence[Any],
    origin: str,
    file_names: Sequence[str] | None,
    model_names: Sequence[str] | None,
    fine_tuned: bool = False,
) -> LabelMap:
    """How the training labels name the classes of this run.

    Args:
        values: the labels as they are in the file `origin`, one a row.
        file_names: the names that the file's numbers count (data.labels, or the data set's own).
        model_names: the teacher's classes in its order; None for one that starts at random.
        fine_tuned: the teacher is going to be trained on these rows. The data then say which classes there are; the
            teacher's order is kept where they are its own, so that its head still fits.

    Raises:
        DataError: the labels are not the teacher's, or contradict `file_names`.
    """
    if fine_tuned and model_names is not None and not same_classes(values, file_names, model_names):
        model_names = None
    labels = label_map(values, origin, file_names, model_names)
    if model_names is not None:
        _check_known(values, origin, labels)
    return labels


def same_classes(values: Sequence[Any], file_names: Sequence[str] | None, model_names: Sequence[str]) -> bool:
    """Whether the data's classes are the model's: the same names, or numbers that count the names of the model."""
    named = set(file_names) if file_names is not None else _seen(values)
    if named == set(model_names):
        return True
    counted = file_names is None and named == {str(number) for number in range(len(model_names))}
    return counted and not any(GENERIC.fullmatch(name) for name in model_names)


def _seen(values: Sequence[Any]) -> set[str]:
    return {key for value in values if (key := label_text(value)) is not None}


def _check_known(values: Sequence[Any], origin: str, labels: LabelMap) -> None:
    """Raises DataError where the data has other classes than the model: no row alone is to blame for that."""
    seen, known = _seen(values), len(labels.names)
    strange = seen - set(labels.classes)
    if not strange or (len(seen) <= known and strange != seen):
        return  # one label that is misspelt, or none: rows are told apart when they are read
    row, key = next((row, key) for row, value in enumerate(values, 1) if (key := label_text(value)) in strange)
    close = difflib.get_close_matches(str(key), list(labels.classes), n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise DataError(
        f"{origin}: the model knows {known} classes ({few(labels.names, 10)}), the data has {len(seen)} "
        f"({few(sorted(seen), 10)}); row {row}: label {key!r} does not fit the {known} classes of the model; allowed: "
        f"{few(list(labels.classes), 10)}. Mend the rows, name the classes in the model's order in data.labels, or "
        f"have the model fine-tuned on these classes: teacher.training.{hint}"
    )
