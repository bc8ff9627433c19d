"""Rows of a recipe's data, split by the seed; the test split is handed out by `Splits.test()` alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from edgepress.compress.data.contents import check_pictures, split_content
from edgepress.compress.data.labels import folder_names
from edgepress.compress.data.numbers import check_judged
from edgepress.compress.data.rows import Raw, ReadingTask, Rows, Truth
from edgepress.compress.data.sources import Source, check_task, find_source, local_split, own_split, read_raw
from edgepress.compress.recipe.data import Data
from edgepress.targets.errors import DataError

ENOUGH_ROWS = 100
"""Rows of validation below which one row is more than 0.01 of accuracy, the default `max_drop` of quantize."""


class Splits:
    """Train, validation and calibration rows; `calibration` are rows of train. `test()` reads its rows when called.

    `notes` are what a user should know of the rows before anything is made from them.
    """

    def __init__(
        self,
        train: Rows,
        validation: Rows,
        calibration: Rows,
        truth: Truth,
        read: Callable[[], Rows],
        notes: tuple[str, ...] = (),
    ) -> None:
        self.train = train
        self.validation = validation
        self.calibration = calibration
        self.truth = truth
        self.notes = notes
        self.test_reads = 0
        self._read_test = read

    @property
    def label_names(self) -> tuple[str, ...]:
        """What the outputs are called, in the model's order."""
        return self.truth.names

    def test(self) -> Rows:
        """The test rows. Choices are made on validation; whoever counts `test_reads` can prove it."""
        self.test_reads += 1
        return self._read_test()


def load_splits(
    data: Data, task: ReadingTask, seed: int, names: tuple[str, ...] | None = None, fine_tuned: bool = False
) -> Splits:
    """Read and split the data; the same seed gives the same rows.

    Splits that have no source of their own are cut from train, class by class: test first, then validation.

    Args:
        data: the recipe's section.
        task: says which columns and kinds of files hold its inputs.
        seed: of the cuts.
        names: the teacher's class names in its order; None where the teacher starts at random.
        fine_tuned: the teacher is trained on these rows, so that they say which classes there are.

    Raises:
        DataError: a source is missing, empty or damaged, or its labels or its number of rows don't fit.
    """
    source = find_source(data.train)
    check_task(source, task)
    references = {split: _reference(source, split, data) for split in ("validation", "test")}
    raw = read_raw(data.train, "train", data, task)
    # A folder's name is a name, even where it is a number; a teacher's classes are counted by it.
    counts = source.kind != "folder" or (names is not None and not fine_tuned)
    folders = raw.label_names if counts else folder_names(map(str, raw.labels))
    labels = task.outputs.truth_of(raw, data, data.labels or folders, names, fine_tuned)
    train = _rows(raw, labels)
    generator = np.random.default_rng(seed)
    if data.limit is not None and data.limit < len(train):
        train = train.take(np.sort(stratified(labels.strata(train.labels), data.limit, generator)))
    if (test := references["test"]) is not None:
        read_test = partial(_read_rows, test, "test", data, task, labels)
        _check_test(read_test, task)
    else:
        train, cut = _cut(train, data.test_fraction, "test", generator, labels)
        _check_judged(cut, task)
        read_test = partial(_same, cut)
    if (own := references["validation"]) is not None:
        validation = _read_rows(own, "validation", data, task, labels)
    else:
        train, validation = _cut(train, data.validation_fraction, "validation", generator, labels)
    _check_judged(validation, task)
    labels.check(train.labels, train.origin)
    calibration = train.take(stratified(labels.strata(train.labels), min(data.calibration, len(train)), generator))
    notes = (raw.note, labels.note, _few_rows(len(train), len(validation)))
    return Splits(train, validation, calibration, labels, read_test, tuple(filter(None, notes)))


def _check_test(read: Callable[[], Rows], task: ReadingTask) -> None:
    """A fault of the test rows is told before hours of training, not after them. They are dropped here: no choice may
    rest on them.

    Raises:
        DataError: a label is missing or unknown, a text is none, or a picture is not there.
    """
    rows = read()
    _check_judged(rows, task)
    if (files := rows.files) is not None:
        check_pictures(files)


def _check_judged(rows: Rows, task: ReadingTask) -> None:
    """Raises DataError where rows may lack labels, and those that figures are taken on have none."""
    if task.unlabelled:
        check_judged(rows)


def _few_rows(train: int, validation: int) -> str:
    """A warning where one row of validation is more than a point, the most that int8 may cost by default."""
    if validation >= ENOUGH_ROWS:
        return ""
    fraction = ENOUGH_ROWS / (train + validation)
    more = f"data.validation_fraction: {fraction:.2g} or more, or data.validation" if fraction <= 0.5 else "more rows"
    rows, share = f"{validation} row{'s' * (validation > 1)}", 100 / validation
    return (
        f"validation has {rows}: one row is {share:.1f} % of what checkpoints, ranks and int8 candidates are chosen "
        f"by. Give {ENOUGH_ROWS} or more ({more})"
    )


def _reference(source: Source, split: str, data: Data) -> str | None:
    """Where a split comes from; None where it is to be cut from train.

    Raises:
        DataError: the same rows would be in two splits, or a named file is not there (before any work is done).
    """
    given = {"validation": data.validation, "test": data.test}
    if (reference := given[split]) is None:
        own = own_split(source, split, data)
        return None if own in given.values() else own
    found = find_source(reference)
    others = [data.train, *(other for name, other in given.items() if name != split and other is not None)]
    for other in map(find_source, others):
        same_path = found.path is not None and other.path is not None and found.path.samefile(other.path)
        if same_path or found.reference == other.reference:
            raise DataError(
                f"data.{split} is {reference}, which is used as another split too: figures taken on rows that were "
                f"trained on are worth nothing. Leave {split} out to have it cut from train."
            )
    return reference


def _same(rows: Rows) -> Rows:
    return rows


def _read_rows(reference: str, split: str, data: Data, task: ReadingTask, labels: Truth) -> Rows:
    return _rows(read_raw(reference, split, data, task), labels)


def _rows(raw: Raw, labels: Truth) -> Rows:
    numbers = labels.encode(raw.labels, raw.origin)
    return Rows(numbers, raw.origin, raw.texts, raw.images, raw.clips, raw.vectors, raw.arrays, raw.words)


def stratified(labels: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """`count` indices in random order, each class with its share (to within one row).

    >>> labels = np.array([0] * 6 + [1] * 3)
    >>> np.bincount(labels[stratified(labels, 3, np.random.default_rng(0))]).tolist()
    [2, 1]
    """
    by_class = np.lexsort((generator.random(len(labels)), labels))
    evenly = ((np.arange(count) + 0.5) * len(labels) / count).astype(np.int64)
    return generator.permutation(by_class[evenly])


def _cut(train: Rows, fraction: float, split: str, generator: np.random.Generator, labels: Truth) -> tuple[Rows, Rows]:
    """The rows that stay, and a stratified `fraction` of them. One row of each stratum (class) always stays."""
    strata = labels.strata(train.labels)
    shuffled = generator.permutation(len(train))
    _, first = np.unique(strata[shuffled], return_index=True)
    spare = np.sort(np.delete(shuffled, first))
    count = max(1, round(len(train) * fraction))
    if count > len(spare):
        raise DataError(
            f"{train.origin}: {len(train)} rows of {len(first)} classes are too few to cut {count} off for {split}. "
            f"Give more rows, or name data.{split}."
        )
    picked = spare[stratified(strata[spare], count, generator)]
    return train.take(np.setdiff1d(np.arange(len(train)), picked)), train.take(np.sort(picked))


def data_digest(data: Data, task: ReadingTask | None = None) -> str:
    """Hex sha256 of the content and options of train and validation: whether a stage's rows are still the same.

    Of the test split it has only whether there is one; see `digest_of_test`, and `contents` for what
    counts.

    Raises:
        DataError: a file is missing.
    """
    digest = hashlib.sha256(data.model_dump_json(exclude={"train", "validation", "test"}).encode())
    for split in ("train", "validation"):
        digest.update(json.dumps([split, split_content(data, split, task)]).encode())
    has_test = data.test is not None or local_split(find_source(data.train), "test") is not None
    digest.update(json.dumps(["test is cut from train", not has_test]).encode())
    return digest.hexdigest()


def digest_of_test(data: Data, task: ReadingTask | None = None) -> str:
    """Digest of the test rows alone, which concern the benchmark and nothing before it.

    Raises:
        DataError: a file is missing.
    """
    return hashlib.sha256(split_content(data, "test", task).encode()).hexdigest()


def local_files(data: Data) -> tuple[Path, ...]:
    """The local files and folders that the data is read from."""
    references = (data.train, data.validation, data.test)
    return tuple(path for ref in references if ref is not None and (path := find_source(ref).path) is not None)
