"""Columns of a table file: JSON lines, JSON, CSV and TSV (each also .gz) and Parquet.

Only the wanted columns are kept, and a fault is named by its row, so that it can be found and mended.
"""

from __future__ import annotations

import difflib
import gzip
import io
import itertools
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from edgepress.compress.data.delimited import Check, read_csv, read_tsv
from edgepress.compress.data.labels import shown
from edgepress.targets.errors import DataError, told

SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
FIRST_LINE = 65_536
"""Characters of the first line that are looked at, at most."""
Columns = dict[str, list[Any]]


def suffix_of(path: Path) -> str:
    """The format's suffix, `.gz` left aside.

    >>> suffix_of(Path("dev.jsonl.gz"))
    '.jsonl'
    """
    return Path(path.name.lower().removesuffix(".gz")).suffix


Wanted = Sequence[str] | Callable[[Sequence[str]], Sequence[str]]


def read_table(path: Path, wanted: Wanted) -> Columns:
    """The wanted columns, all of the same length, at least one row.

    Args:
        path: of the file.
        wanted: names of columns, or what chooses among the names of those that are there.

    Raises:
        DataError: the file is empty, damaged, of an unknown format, or lacks a column or a cell.
    """
    if suffix_of(path) == ".parquet":
        return _read_parquet(path, wanted)
    columns: Columns = {}
    number = 0

    def begin(there: Sequence[str]) -> None:
        columns.update((name, []) for name in _names(path, wanted, there))

    for number, row in enumerate(_rows(path, begin), start=1):
        for name, values in columns.items():
            if name not in row:
                raise DataError(f"{path}, row {number}: no {name!r}. Every row needs it; mend or remove this one.")
            values.append(row[name])
    if number == 0:
        raise _empty(path)
    return columns


def _names(path: Path, wanted: Wanted, there: Sequence[str]) -> Sequence[str]:
    """The names of the wanted columns. Raises DataError where one is not there."""
    names = wanted(there) if callable(wanted) else wanted
    check_columns(path, names, there)
    return names


def first_rows(path: Path, count: int) -> list[dict[str, Any]]:
    """The first `count` rows as column -> value, at least one.

    Raises:
        DataError: the file is empty or damaged.
    """
    if suffix_of(path) == ".parquet":
        file = _open_parquet(path)
        with _parquet_faults(path):
            batch = next(file.iter_batches(batch_size=count), None)
            rows = batch.to_pylist() if batch is not None else []
    else:
        rows = list(itertools.islice(_rows(path), count))
    if not rows:
        raise _empty(path)
    return [dict(row) for row in rows]


def check_columns(origin: Path | str, wanted: Iterable[str], there: Sequence[str]) -> None:
    """Raises DataError for a wanted column that is not there, with those that are, or is there twice."""
    for name in wanted:
        if name not in there:
            close = difflib.get_close_matches(name, there, n=1)
            hint = f" Did you mean {shown(close[0])!r}?" if close else ""
            listed = ", ".join(map(shown, there[:20])) + (" ..." if len(there) > 20 else "") or "none"
            raise DataError(f"{origin} has no column {name!r}; it has {listed}. Set data.columns in the recipe.{hint}")
        if there.count(name) > 1:
            raise DataError(f"{origin} has {there.count(name)} columns {name!r}. Give each its own name.")


def _any_columns(there: Sequence[str]) -> None:
    """Raises nothing: whatever columns there are will do."""


def _empty(path: Path) -> DataError:
    return DataError(f"{path} is empty: it needs at least one row. Was its download or export cut off?")


def _rows(path: Path, check: Check = _any_columns) -> Iterator[dict[str, Any]]:
    readers = {".jsonl": _json_lines, ".json": _json, ".csv": read_csv, ".tsv": read_tsv}
    reader = readers.get(suffix_of(path))
    if reader is None:
        raise DataError(f"{path}: unknown format. Known are {', '.join(SUFFIXES)} (also .gz), .npz and image folders.")
    try:
        with _open_text(path) as file:
            _check_text(path, file)
            yield from reader(path, file, check)
    except (gzip.BadGzipFile, EOFError, zlib.error) as fault:
        raise DataError(f"{path} is a damaged gzip file ({told(fault)}). Fetch or compress it again.") from None
    except UnicodeDecodeError as fault:
        raise DataError(f"{path}, line {_bad_line(path)}: not UTF-8 text ({fault.reason}). Convert it.") from None


def _open_text(path: Path) -> IO[str]:
    if _is_gzip(path):
        return cast(IO[str], gzip.open(path, "rt", encoding="utf-8-sig", newline=""))
    return path.open(encoding="utf-8-sig", newline="")


def _is_gzip(path: Path) -> bool:
    return path.name.lower().endswith(".gz")


def _check_text(path: Path, file: IO[str]) -> None:
    """UTF-16 without its mark reads as UTF-8 with a NUL in every other place."""
    if "\0" in file.readline(FIRST_LINE):
        raise DataError(f"{path} has NUL characters in its first line: it is UTF-16 or no text. Convert it to UTF-8.")
    file.seek(0)


def _bad_line(path: Path) -> int:
    """The first line that is not UTF-8; no character goes over the end of a line."""
    with cast(IO[bytes], gzip.open(path) if _is_gzip(path) else path.open("rb")) as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    raise AssertionError(f"all of {path} is UTF-8")


def _json_lines(path: Path, file: Iterable[str], check: Check) -> Iterator[dict[str, Any]]:
    numbered = ((number, line.rstrip()) for number, line in enumerate(file, start=1) if line.strip())
    yield from _objects(path, ((f"line {number}", _parsed(path, line, number)) for number, line in numbered), check)


def _json(path: Path, file: IO[str], check: Check) -> Iterator[dict[str, Any]]:
    """A list of objects, or JSON lines under another suffix."""
    text = file.read()
    if not text.lstrip().startswith("["):
        # Not `splitlines`: that also breaks at characters which JSON has inside of texts, such as U+2028.
        yield from _json_lines(path, io.StringIO(text, newline=""), check)
        return
    rows = enumerate(_parsed(path, text, 1), start=1)
    yield from _objects(path, ((f"row {number}", row) for number, row in rows), check)


def _parsed(path: Path, text: str, line: int) -> Any:
    """The value of a JSON text that begins in `line`."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as fault:
        place = f"{path}, line {line - 1 + fault.lineno}"
        raise DataError(f"{place}: not JSON ({fault.msg}, column {fault.colno}). Mend it.") from None
    except RecursionError:
        raise DataError(f"{path}, line {line}: JSON too deeply nested. Give one flat object a row.") from None
    except ValueError:
        raise DataError(f"{path}, line {line}: a number of thousands of digits. Mend it.") from None


def _objects(path: Path, rows: Iterable[tuple[str, Any]], check: Check) -> Iterator[dict[str, Any]]:
    """Rows behind their places; the first one tells the columns."""
    for number, (where, row) in enumerate(rows):
        if not isinstance(row, dict):
            example = '{"text": ..., "label": ...}'
            raise DataError(f"{path}, {where}: must be an object such as {example}, got {row!r:.60}.")
        if number == 0:
            check(list(row))
        yield row


@contextmanager
def _parquet_faults(path: Path) -> Iterator[None]:
    """What pyarrow raises for a damaged file or a value that Python has no type for, as one line."""
    import pyarrow

    try:
        yield
    except (pyarrow.ArrowException, OSError, ValueError, TypeError, OverflowError, MemoryError) as fault:
        raise DataError(f"{path} is empty or no Parquet file ({told(fault)}). Fetch or write it again.") from None


def _open_parquet(path: Path) -> Any:
    import pyarrow.parquet

    with _parquet_faults(path):
        return pyarrow.parquet.ParquetFile(path)


def _read_parquet(path: Path, wanted: Wanted) -> Columns:
    file = _open_parquet(path)
    with _parquet_faults(path):
        there = list(file.schema_arrow.names)
    names = _names(path, wanted, there)
    if file.metadata.num_rows == 0:
        raise _empty(path)
    with _parquet_faults(path):
        return cast(Columns, file.read(columns=list(names)).to_pydict())
