"""Rows of CSV and TSV: where a cell begins and ends, and what a quotation mark is.

In CSV a cell that begins with a quotation mark is quoted (RFC 4180). TSV has no such rule: most tools write the mark as
a character like any other, some quote as CSV does. The file itself tells which one it is, see `is_quoted`.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Literal

from edgepress.targets.errors import DataError, told

# The module's own limit is 131,072 characters a cell, less than a contract or a log has. This one fits a C long.
LONGEST_CELL = 2**31 - 1
Check = Callable[[Sequence[str]], None]
QUOTED = re.compile(r'"(?:[^"]|"")*"')


def read_csv(path: Path, file: IO[str], check: Check) -> Iterator[dict[str, Any]]:
    """Rows as column -> cell; a cell that a row is too short for is left out.

    Args:
        check: is given the names of the columns before any row, and raises where they won't do.

    Raises:
        DataError: a row has more cells than the header, or a quoted cell has no end.
    """
    return _named(path, _cells(path, file, ",", quoted=True), check, "Quote the text")


def read_tsv(path: Path, file: IO[str], check: Check) -> Iterator[dict[str, Any]]:
    """As `read_csv`. `file` is read twice, or three times where its lines have various numbers of cells."""
    quoted = is_quoted(path, file)
    return _named(path, _cells(path, file, "\t", quoted), check, "Replace tabs inside of the text")


def is_quoted(path: Path, file: IO[str]) -> bool:
    """Whether quotation marks in a TSV file enclose cells, or are characters of the text.

    They are characters where that gives every line the header's number of cells, unless a writer that quotes shows
    itself by a quoted header or by doubled marks inside of a quoted cell. Otherwise they enclose cells, which may hold
    tabs and line breaks, where that gives every row the header's number.
    """
    even, shown = True, False
    header: list[str] = []
    for _, cells in _cells(path, file, "\t", quoted=False):
        even = even and len(cells) == len(header or cells)
        whole = [cell for cell in cells if QUOTED.fullmatch(cell)]
        shown = shown or any('""' in cell[1:-1] for cell in whole) or (not header and bool(whole))
        header = header or cells
    file.seek(0)
    if even and not shown:
        return False
    try:
        return all(len(cells) == len(header) for _, cells in _cells(path, file, "\t", quoted=True))
    except DataError:
        return False
    finally:
        file.seek(0)


def _cells(path: Path, file: IO[str], delimiter: str, quoted: bool) -> Iterator[tuple[int, list[str]]]:
    """(number of the line in which a row begins, its cells), blank lines left out."""
    csv.field_size_limit(LONGEST_CELL)
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    reader = csv.reader(file, delimiter=delimiter, quoting=quoting, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as fault:
            what = "CSV" if delimiter == "," else "TSV"
            reason = "a quoted cell begins here and has no end" if "unexpected end" in told(fault) else told(fault)
            raise DataError(f"{path}, line {line}: not {what} ({reason}). Mend it.") from None
        if cells:
            yield line, cells


def _named(path: Path, rows: Iterator[tuple[int, list[str]]], check: Check, remedy: str) -> Iterator[dict[str, Any]]:
    _, header = next(rows, (0, []))
    for number, (line, cells) in enumerate(rows):
        if number == 0:
            check(header)
        if len(cells) > len(header):
            raise DataError(f"{path}, line {line}: {len(cells)} cells for {len(header)} columns. {remedy}.")
        yield dict(zip(header, cells, strict=False))
