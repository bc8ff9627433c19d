"""Text files as people have them: quotation marks, long cells, half characters, marks of other systems."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from edgepress.compress.data.tables import read_table
from edgepress.targets.errors import DataError
from tests.compress.rows import lines, load

WANTED = ("text", "label")


def table(path: Path, content: str | bytes) -> dict[str, list[Any]]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_table(path, WANTED)


def test_a_quotation_mark_in_tsv_is_a_character(tmp_path: Path) -> None:
    content = 'text\tlabel\n"good film\t1\nbad" film\t0\n"fine"\t1\n" \t0\n'
    read = table(tmp_path / "a.tsv", content)
    assert read == {"text": ['"good film', 'bad" film', '"fine"', '" '], "label": ["1", "0", "1", "0"]}
    (tmp_path / "a.tsv.gz").write_bytes(gzip.compress(content.encode()))
    assert read_table(tmp_path / "a.tsv.gz", WANTED) == read


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_tsv_of_a_writer_that_quotes_is_read_as_it_was_written(tmp_path: Path, quoting: Any) -> None:
    texts = ['he said "good"', '"bad"', "fine", "one\ttab\nand line", ""]
    for count in (len(texts), 3):  # with cells that need quotes, and without
        with (tmp_path / "a.tsv").open("w", newline="") as file:
            writer = csv.writer(file, delimiter="\t", quoting=quoting)
            writer.writerows([WANTED, *((text, 1) for text in texts[:count])])
        assert read_table(tmp_path / "a.tsv", WANTED)["text"] == texts[:count]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_cells_may_be_longer_than_a_page(tmp_path: Path, name: str) -> None:
    long = "word " * 60_000
    separator = "," if name == "a.csv" else "\t"
    assert table(tmp_path / name, f"text{separator}label\n{long}{separator}1\n")["text"] == [long]


def test_half_characters_become_replacement_characters(tmp_path: Path) -> None:
    rows = [{"text": f"cut \ud83d {number}", "label": "a\udc00" if number % 2 else "b"} for number in range(20)]
    splits = load(lines(tmp_path / "a.jsonl", rows))
    assert splits.train.texts is not None and splits.train.texts[0][0].startswith("cut � ")
    assert splits.label_names == ("a�", "b")
    "".join(splits.train.texts[0]).encode()


def test_a_whole_pair_of_surrogates_is_one_character(tmp_path: Path) -> None:
    assert table(tmp_path / "a.jsonl", '{"text": "\\ud83d\\ude00", "label": 1}\n')["text"] == ["😀"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_marks_and_line_ends_of_other_systems_change_nothing(tmp_path: Path, end: str, mark: str) -> None:
    for name, rows in (
        ("a.csv", ["text,label", "good,1", "", "bad,0"]),
        ("a.tsv", ["text\tlabel", "good\t1", "bad\t0", ""]),
        ("a.jsonl", ['{"text": "good", "label": "1"}', "", '{"text": "bad", "label": "0"}']),
        ("a.json", ['[{"text": "good", "label": "1"},', '{"text": "bad", "label": "0"}]']),
    ):
        assert table(tmp_path / name, mark + end.join(rows)) == {"text": ["good", "bad"], "label": ["1", "0"]}


def test_separators_of_unicode_end_no_json_line(tmp_path: Path) -> None:
    content = json.dumps({"text": "one\u2028two\x85three", "label": 1}, ensure_ascii=False) + "\n"
    for name in ("a.jsonl", "a.json"):
        assert table(tmp_path / name, content * 2)["text"] == ["one\u2028two\x85three"] * 2


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", 'text,label\nfine,1\n"good,1\nbad,0\n', "line 3: not CSV (a quoted cell begins here and has no end)"),
        ("a.csv", "text,label,text\na,1,b\n", "a.csv has 2 columns 'text'. Give each its own name."),
        ("a.tsv", "text\tlabel\na\tb\t1\n", "line 2: 3 cells for 2 columns. Replace tabs inside of the text."),
        ("a.tsv", 'text\tlabel\n"a\t1\nb\n', "row 2: no 'label'. Every row needs it"),
        ("a.csv", "text,label\na\n", "row 1: no 'label'. Every row needs it"),
        ("a.csv", "text,label\n", "a.csv is empty: it needs at least one row"),
        ("a.csv", "text,label\ngood,1\n".encode("utf-16"), "line 1: not UTF-8 text (invalid start byte)"),
        ("a.csv", "text,label\ngood,1\n".encode("utf-16-le"), "NUL characters in its first line: it is UTF-16"),
        ("a.csv", b"text,label\n" + b"good,1\n" * 9000 + b"caf\xe9,0\n", "line 9002: not UTF-8 text"),
        ("a.jsonl", b'{"text": "a", "label": 1}\n{"text": "caf\xe9"}\n', "line 2: not UTF-8 text"),
        ("a.jsonl", '{"text": ' + "[" * 100_000, "line 1: JSON too deeply nested. Give one flat object a row"),
        ("a.jsonl", '{"text": "a", "label": ' + "1" * 5000 + "}", "line 1: a number of thousands of digits. Mend it"),
        ("a.json", '[{"text": "a"},\n{"text": }]', "line 2: not JSON (Expecting value, column 10)"),
    ],
)  # fmt: skip
def test_faults_of_text_files_are_told_with_their_line(
    tmp_path: Path, name: str, content: str | bytes, words: str
) -> None:
    with pytest.raises(DataError) as told:
        table(tmp_path / name, content)
    assert words in str(told.value) and "\n" not in str(told.value)


def parquet(path: Path, **columns: Any) -> dict[str, list[Any]]:
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return read_table(path, WANTED)


def test_parquet_columns_of_other_types_are_read(tmp_path: Path) -> None:
    texts = pyarrow.array(["good", "bad"], pyarrow.large_string())
    labels = pyarrow.array(["b", "a"]).dictionary_encode()
    assert parquet(tmp_path / "a.parquet", text=texts, label=labels) == {"text": ["good", "bad"], "label": ["b", "a"]}
    halves = pyarrow.array([1.0, 0.0], pyarrow.float64())
    rows = pyarrow.table({"text": texts.take([0, 1] * 20), "label": halves.take([0, 1] * 20)})
    pyarrow.parquet.write_table(rows, tmp_path / "b.parquet")
    assert load(tmp_path / "b.parquet").label_names == ("0", "1")


def test_parquet_columns_that_are_no_texts_or_there_twice_are_refused(tmp_path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.table({"text": [b"a"] * 9, "label": [1] * 9}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"row 1: 'text' must be text, got b'a'"):
        load(tmp_path / "a.parquet")
    twice = pyarrow.Table.from_arrays([pyarrow.array(["a"])] * 3, names=["text", "label", "text"])
    pyarrow.parquet.write_table(twice, tmp_path / "b.parquet")
    with pytest.raises(DataError, match=r"b.parquet has 2 columns 'text'. Give each its own name"):
        load(tmp_path / "b.parquet")
