"""Columns of a table file: JSON lines, JSON, CSV and TSV (each also .gz) and Parquet.

Only the wanted columns are kept, and a fault is named by its row, so that it can be found and mended.
"""

from __future__ import annotations

import csv
import difflib
import gzip
import itertools
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, cast

from edgepress.targets.errors import DataError, told

SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
Columns = dict[str, list[Any]]


def suffix_of(path: Path) -> str:
    """The format's suffix, `.gz` left aside.

    >>> suffix_of(Path("dev.jsonl.gz"))
    '.jsonl'
    """
    return Path(path.name.lower().removesuffix(".gz")).suffix


def read_table(path: Path, wanted: Sequence[str]) -> Columns:
    """The wanted columns, all of the same length, at least one row.

    Raises:
        DataError: the file is empty, damaged, of an unknown format, or lacks a column or a cell.
    """
    if suffix_of(path) == ".parquet":
        return _read_parquet(path, wanted)
    columns: Columns = {name: [] for name in wanted}
    number = 0
    for number, row in enumerate(_rows(path), start=1):
        if number == 1:
            check_columns(path, wanted, list(row))
        for name, values in columns.items():
            if name not in row:
                raise DataError(f"{path}, row {number}: no {name!r}. Every row needs it; mend or remove this one.")
            values.append(row[name])
    if number == 0:
        raise _empty(path)
    return columns


def columns_of(path: Path) -> dict[str, Any]:
    """The first row: its column names and values."""
    if suffix_of(path) == ".parquet":
        file = _open_parquet(path)
        batch = next(file.iter_batches(batch_size=1), None)
        rows = batch.to_pylist() if batch is not None else []
    else:
        rows = list(itertools.islice(_rows(path), 1))
    if not rows:
        raise _empty(path)
    return dict(rows[0])


def check_columns(origin: Path | str, wanted: Iterable[str], there: Sequence[str]) -> None:
    """Raises DataError for a wanted column that is not there, with those that are."""
    for name in wanted:
        if name not in there:
            close = difflib.get_close_matches(name, there, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            listed = ", ".join(there) or "none"
            raise DataError(f"{origin} has no column {name!r}; it has {listed}. Set data.columns in the recipe.{hint}")


def _empty(path: Path) -> DataError:
    return DataError(f"{path} is empty: it needs at least one row. Was its download or export cut off?")


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    readers = {".jsonl": _json_lines, ".json": _json, ".csv": _csv, ".tsv": _tsv}
    reader = readers.get(suffix_of(path))
    if reader is None:
        raise DataError(f"{path}: unknown format. Known are {', '.join(SUFFIXES)} (also .gz), .npz and image folders.")
    try:
        with _open_text(path) as file:
            yield from reader(path, file)
    except (gzip.BadGzipFile, EOFError, zlib.error) as fault:
        raise DataError(f"{path} is a damaged gzip file ({told(fault)}). Fetch or compress it again.") from None
    except UnicodeDecodeError as fault:
        raise DataError(f"{path} is not UTF-8 text ({fault.reason} at byte {fault.start}). Convert it.") from None


def _open_text(path: Path) -> IO[str]:
    if path.name.lower().endswith(".gz"):
        return cast(IO[str], gzip.open(path, "rt", encoding="utf-8-sig", newline=""))
    return path.open(encoding="utf-8-sig", newline="")


def _json_lines(path: Path, file: Iterable[str]) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line.rstrip())
        except json.JSONDecodeError as fault:
            raise DataError(f"{path}, line {number}: not JSON ({fault.msg}, column {fault.colno}). Mend it.") from None
        yield _object(path, row, f"line {number}")


def _json(path: Path, file: IO[str]) -> Iterator[dict[str, Any]]:
    """A list of objects, or JSON lines under another suffix."""
    text = file.read()
    if not text.lstrip().startswith("["):
        yield from _json_lines(path, text.splitlines())
        return
    try:
        rows = json.loads(text)
    except json.JSONDecodeError as fault:
        raise DataError(
            f"{path}, line {fault.lineno}: not JSON ({fault.msg}, column {fault.colno}). Mend it."
        ) from None
    for number, row in enumerate(rows, start=1):
        yield _object(path, row, f"row {number}")


def _object(path: Path, row: Any, where: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise DataError(f'{path}, {where}: must be an object such as {{"text": ..., "label": ...}}, got {row!r:.60}.')
    return row


def _csv(path: Path, file: Iterable[str], delimiter: str = ",") -> Iterator[dict[str, Any]]:
    reader = csv.DictReader(file, delimiter=delimiter, strict=delimiter == ",")
    try:
        for row in reader:
            if None in row:
                cells = len(reader.fieldnames or ()) + len(cast(Any, row)[None])
                names = len(reader.fieldnames or ())
                raise DataError(f"{path}, line {reader.line_num}: {cells} cells for {names} columns. Quote the text.")
            yield {name: value for name, value in row.items() if value is not None}
    except csv.Error as fault:
        raise DataError(f"{path}, line {reader.line_num + 1}: not CSV ({told(fault)}). Mend it.") from None


def _tsv(path: Path, file: Iterable[str]) -> Iterator[dict[str, Any]]:
    return _csv(path, file, delimiter="\t")


def _open_parquet(path: Path) -> Any:
    import pyarrow
    import pyarrow.parquet

    try:
        return pyarrow.parquet.ParquetFile(path)
    except (pyarrow.ArrowException, OSError) as fault:
        raise DataError(f"{path} is empty or no Parquet file ({told(fault)}). Fetch or write it again.") from None


def _read_parquet(path: Path, wanted: Sequence[str]) -> Columns:
    file = _open_parquet(path)
    check_columns(path, wanted, file.schema_arrow.names)
    if file.metadata.num_rows == 0:
        raise _empty(path)
    return cast(Columns, file.read(columns=list(wanted)).to_pydict())
