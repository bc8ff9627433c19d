"""What others wrote into records and reports: it steers no terminal, page, table or spreadsheet, and costs no hours."""

from __future__ import annotations

import csv
import io
import json
import time
from pathlib import Path
from typing import Any

import pytest
from rich.table import Table
from rich.text import Text

from edgepress.benchmarks.devices.merge import add_records
from edgepress.benchmarks.devices.record import read_record
from edgepress.benchmarks.records.files import summary_table
from edgepress.benchmarks.records.report import Report
from edgepress.benchmarks.report.markdown import escape, markdown
from edgepress.benchmarks.report.page import page
from edgepress.benchmarks.report.sheet import sheet
from edgepress.compress.cli.console import Console
from edgepress.targets.errors import ArtifactError
from edgepress.targets.text import UNSEEN, sane_numbers
from tests.benchmarks.tiny_release import run_bare, seal, tiny_record, tiny_release, write_sealed
from tests.benchmarks.whole_report import whole_report

HOSTILE = "a\x1b]0;owned\x07\x1b[2J\u202egnp\u2066\x9b31m\rb"
SEEN = "\\x1b]0;owned\\x07\\x1b[2J\\u202egnp\\u2066\\x9b31m"


@pytest.fixture
def sound(tmp_path: Path) -> dict[str, Any]:
    return tiny_record(tiny_release(tmp_path / "run/release"))


def test_a_device_whose_name_steers_a_terminal_is_shown_with_its_escapes(tmp_path: Path, sound: dict[str, Any]) -> None:
    told = add_records(tmp_path / "run", [write_sealed(tmp_path / "one.json", sound | {"device": HOSTILE})])
    text = told.read_text()
    assert not UNSEEN.search(text)
    assert escape(SEEN) in text


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"peak_memory_bytes": 10**400}, "peak_memory_bytes: Input should be less than"),
        ({"device": "x" * 1001}, "device: String should have at most 1000 characters"),
        ({"environment": {"cpu": 10**400}}, "environment: Value error, a number beyond 2\\^63"),
        ({"environment": {"cpu": "x" * 1001}}, "environment: Value error, a text of 1001 characters"),
        ({"environment": {"cpu": [[[[[]]]]]}}, "environment: Value error, nested more than 4 deep"),
        ({"environment": {str(n): n for n in range(1001)}}, "environment: Value error, 1001 entries"),
        ({"open_ms": 1e300}, "open_ms: Input should be less than"),
        ({"remarks": ["x"] * 101}, "remarks: Tuple should have at most 100 items"),
    ],
)
def test_numbers_and_texts_out_of_bounds_are_refused_and_nothing_is_written(
    tmp_path: Path, sound: dict[str, Any], changes: dict[str, Any], told: str
) -> None:
    path = write_sealed(tmp_path / "one.json", sound | changes)
    with pytest.raises(ArtifactError, match=f"one.json is damaged: {told}"):
        add_records(tmp_path / "run", [path])
    assert not (tmp_path / "run/devices").exists()


def test_where_the_markdown_cannot_be_made_no_json_is_left(
    tmp_path: Path, sound: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:

    def fail(*arguments: object) -> str:
        raise OverflowError

    from edgepress.benchmarks.devices import merge

    monkeypatch.setattr(merge, "devices_markdown", fail)
    with pytest.raises(OverflowError):
        add_records(tmp_path / "run", [write_sealed(tmp_path / "one.json", sound)])
    assert not (tmp_path / "run/devices").exists()


def with_samples(record: dict[str, Any], count: int, rows: int = 1) -> dict[str, Any]:
    row = record["latency"][0] | {"samples": [1.0] * count, "sittings": [count]}
    row |= dict.fromkeys(("p50", "p90", "p95", "p99", "p99_9"), 1.0)
    return record | {"latency": [row | {"batch": number + 1} for number in range(rows)]}


@pytest.mark.parametrize(
    ("count", "rows", "told"), [(1_000_000, 1, "at most 20000 items"), (20_000, 11, "220000 samples in all")]
)
def test_a_million_samples_are_refused_at_once(
    tmp_path: Path, sound: dict[str, Any], count: int, rows: int, told: str
) -> None:
    path = write_sealed(tmp_path / "one.json", with_samples(sound, count, rows))
    start = time.monotonic()
    with pytest.raises(ArtifactError, match=told):
        read_record(path)
    assert time.monotonic() - start < 10


def test_as_many_samples_as_are_read_are_quick(tmp_path: Path, sound: dict[str, Any]) -> None:
    path = write_sealed(tmp_path / "one.json", with_samples(sound, 20_000))
    start = time.monotonic()
    add_records(tmp_path / "run", [path])
    assert time.monotonic() - start < 10


def test_a_record_that_is_too_large_to_be_one_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "one.json").open("wb") as file:
        file.truncate((64 << 20) + 1)
    with pytest.raises(ArtifactError, match=r"has 67108865 bytes, at most 67108864 are read"):
        read_record(tmp_path / "one.json")


def hostile_report() -> Any:
    report = whole_report()
    row = report.candidates[0].model_copy(update={"name": HOSTILE, "reason": HOSTILE})
    return report.model_copy(
        update={"name": HOSTILE, "candidates": (row, *report.candidates[1:]), "notes": (HOSTILE,),
                "environment": {HOSTILE: [HOSTILE]}}
    )  # fmt: skip


def test_a_page_and_markdown_hold_nothing_that_cannot_be_seen() -> None:
    report = hostile_report()
    text = markdown(report)
    assert not UNSEEN.search(text) and "u202egnp" in text
    # The library that draws the plots brings characters of its own.
    assert "\x1b" not in page(report) and "\u202egnp" not in page(report) and "u202egnp" in page(report)


@pytest.mark.parametrize("name", ["=cmd|' /C calc'!A0", "+1", "-1+2", "@SUM(1)", "\t=1", HOSTILE])
def test_a_sheet_computes_nothing(name: str) -> None:
    report = whole_report().model_copy(update={"name": name})
    first = list(csv.reader(io.StringIO(sheet(report))))[1][0]
    assert not UNSEEN.search(first)
    assert first.startswith("'") or name is HOSTILE


@pytest.mark.parametrize("mode", ["plain", "rich"])
def test_the_terminal_is_steered_by_no_line_and_no_table(mode: Any) -> None:
    out, err = io.StringIO(), io.StringIO()
    console = Console(mode, out=out, err=err)
    for say in (console.line, console.warn, console.error):
        say(HOSTILE)
    console.event("stage", name=HOSTILE)
    console.table(summary_table(hostile_report()))
    table = Table(title=Text(HOSTILE))
    table.add_column(Text(HOSTILE))
    table.add_row(Text(HOSTILE))
    console.table(table)
    for text in (out.getvalue(), err.getvalue()):
        assert not UNSEEN.search(text) and "\\u202egnp" in text


def test_the_runner_shows_a_releases_words_with_their_escapes(tmp_path: Path) -> None:
    release = tiny_release(tmp_path / "release")
    path = release / "onnxruntime-cpu/artifact.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"name": HOSTILE}))
    seal(release)
    done = run_bare(release, "--samples", "11")
    assert done.returncode == 0, done.stderr
    assert not UNSEEN.search(done.stdout) and "\\u202egnp" in done.stdout
    many = run_bare(release, "--samples", "20001")
    assert many.returncode == 2 and "must be at most 20000, got 20001" in many.stderr


def test_a_report_with_a_number_that_nothing_can_show_is_damaged(tmp_path: Path) -> None:
    report = whole_report()
    report.write(tmp_path / "report.json")
    text = (tmp_path / "report.json").read_text()
    assert Report.read(tmp_path / "report.json") == report
    (tmp_path / "report.json").write_text(text.replace('"bytes": ', '"bytes": 1' + "0" * 400, 1))
    with pytest.raises(
        ArtifactError, match=r"report.json is damaged or of another version: ValueError: a whole number of 4\d\d digits"
    ):
        Report.read(tmp_path / "report.json")


def test_long_numbers_in_texts_and_fractions_are_read(tmp_path: Path) -> None:
    assert sane_numbers(text := '{"a": "12345678901234567890123", "b": 0.12345678901234567890123}') == text
