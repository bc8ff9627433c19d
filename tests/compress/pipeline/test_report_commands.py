"""`edgepress report` as users type it, on reports made by hand."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from edgepress.benchmarks.devices.signed import DeviceKey, read_device_key
from edgepress.benchmarks.records.files import write_report
from edgepress.benchmarks.records.report import LatencyRow, Report, Row
from edgepress.compress.bundle.keys import make_keys
from edgepress.compress.cli.app import app
from edgepress.compress.cli.common import show_result
from edgepress.compress.cli.console import Console
from edgepress.compress.cli.report import find_report
from edgepress.compress.pipeline import run as pipeline
from edgepress.targets.errors import ArtifactError, StoreError, TargetError
from tests.benchmarks.quality import quality


def edgepress(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"})


def made(accuracy: float = 0.9, p50: float = 2.0, shipped: int = 1000, cpu: str = "some CPU") -> Report:
    latency = LatencyRow(batch=1, sequence=None, threads=1, p50=p50, p90=p50, samples=64, speedup=2.0)
    common: dict[str, Any] = {"target": "onnxruntime-cpu", "status": "measured"}
    chosen = Row(
        **common,
        name="dynamic",
        precision="int8",
        chosen=True,
        metrics=quality(accuracy),
        bytes=shipped,
        latency=(latency,),
    )
    return Report(
        name="demo",
        task="image-classification",
        created="2026-01-02T03:04:05+00:00",
        recipe_digest="ab" * 32,
        environment={"cpu": cpu},
        data={},
        teacher=Row(**common, name="big", precision="fp32", metrics=quality(0.95)),
        candidates=(chosen,),
        stages=(),
        gates=(),
    )


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`good` is a run folder, `bad` a release folder that is less accurate and larger."""
    monkeypatch.chdir(tmp_path)
    write_report(made(), tmp_path / "good" / "report")
    write_report(made(accuracy=0.8, shipped=2000), tmp_path / "bad")
    return tmp_path


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("its process ended with signal 11", "onnxruntime-cpu dynamic: its process ended with signal 11"),
        ("onnxruntime-cpu: no operator Gelu", "onnxruntime-cpu: no operator Gelu"),
    ],
)
def test_a_run_whose_chosen_artifact_failed_in_the_benchmark_has_failed(reason: str, told: str, tmp_path: Path) -> None:
    good = made()
    failed = good.candidates[0].model_copy(update={"status": "failed", "reason": reason})
    report = good.model_copy(update={"candidates": (failed,)})
    with pytest.raises(TargetError) as caught:
        show_result(pipeline.Result(tmp_path, (), ("benchmark",), report), Console("silent"))
    assert str(caught.value) == told and caught.value.exit_code == 1


def test_compare_shows_regressions_first_and_exits_with_0(runs: Path) -> None:
    told = edgepress("report", "compare", "good", "bad", "--json")
    assert (told.exit_code, told.stderr) == (0, "")
    table, verdict = (json.loads(line) for line in told.stdout.splitlines())
    assert table["title"] == "good → bad"
    assert table["columns"] == ["where", "figure", "before", "after", "change", "verdict"]
    assert [row[1:] for row in table["rows"][:2]] == [
        ["accuracy", "0.9000", "0.8000", "−10.00 points", "regression"],
        ["bytes", "1.00 kB", "2.00 kB", "+100.0 %", "regression"],
    ]
    assert verdict["text"].startswith("2 regressions, ")


def test_fail_on_regression_exits_with_3_and_names_them(runs: Path) -> None:
    told = edgepress("report", "compare", "good", "bad", "--fail-on-regression")
    assert told.exit_code == 3
    assert told.stderr == (
        "error: 2 regressions from good to bad: onnxruntime-cpu dynamic, accuracy: 0.9000 → 0.8000 (−10.00 points); "
        "onnxruntime-cpu dynamic, bytes: 1.00 kB → 2.00 kB (+100.0 %)\n"
    )
    assert "good → bad" in told.stdout
    assert edgepress("report", "compare", "bad", "good", "--fail-on-regression").exit_code == 0


def test_the_thresholds_are_options(runs: Path) -> None:
    arguments = ("report", "compare", "good", "bad", "--fail-on-regression", "--accuracy-drop", "0.1")
    assert edgepress(*arguments, "--bytes-rise", "1").exit_code == 0
    assert edgepress(*arguments, "--bytes-rise", "0.99").exit_code == 3
    assert edgepress(*arguments, "--latency-rise", "-1").exit_code == 2


def test_slower_is_a_regression_only_on_the_same_machine(runs: Path) -> None:
    write_report(made(p50=2.2), runs / "slow")
    write_report(made(p50=2.2, cpu="other CPU"), runs / "elsewhere")
    assert edgepress("report", "compare", "good", "slow", "--fail-on-regression").exit_code == 3
    assert (
        edgepress("report", "compare", "good", "slow", "--fail-on-regression", "--latency-rise", "0.1").exit_code == 0
    )
    told = edgepress("report", "compare", "good", "elsewhere", "--fail-on-regression")
    assert told.exit_code == 0
    assert "warning: The machines differ (cpu: some CPU → other CPU)" in told.stderr
    assert "not judged" in told.stdout


def test_output_is_a_markdown_file(runs: Path) -> None:
    told = edgepress("report", "compare", "good", "bad", "--fail-on-regression", "--output", "difference.md")
    assert told.exit_code == 3 and "Wrote difference.md" in told.stdout
    text = (runs / "difference.md").read_text()
    assert text.startswith("# good → bad\n") and "**0.9000** | **0.8000**" in text
    told = edgepress("report", "compare", "good", "bad", "--output", "no/such/folder.md")
    assert told.exit_code == 2
    assert "cannot be written (No such file or directory); name another place with --output" in told.stderr


def test_a_report_is_found_by_run_release_folder_and_file(runs: Path) -> None:
    whole = made()
    shutil.copytree(runs / "good" / "report", runs / "good" / "release")
    for place in ("good", "good/report", "good/release", "good/report/report.json"):
        assert find_report(Path(place)) == whole


def test_what_holds_no_report_is_named_with_what_to_give(runs: Path) -> None:
    (runs / "empty").mkdir()
    with pytest.raises(StoreError, match=r"^empty has no report.json. Give a run folder \(runs/<name>\)"):
        find_report(Path("empty"))
    with pytest.raises(StoreError, match=r"^gone does not exist. Give a run folder"):
        find_report(Path("gone"))
    (runs / "note.json").write_text("{}")
    with pytest.raises(ArtifactError, match=r"note.json is damaged or of another version: name: Field required"):
        find_report(Path("note.json"))
    told = edgepress("report", "compare", "good", "gone")
    assert (told.exit_code, told.stdout) == (1, "")


@pytest.mark.parametrize("words", [("good",), ("show", "good"), ("good", "--json"), ("--json", "good")])
def test_a_first_word_that_is_no_command_is_the_run_to_show(runs: Path, words: Sequence[str]) -> None:
    told = edgepress("report", *words)
    assert told.exit_code == 1
    assert "good has no report yet: there is no finished stage in it" in told.stderr


def test_a_run_that_is_called_like_a_command_is_reached_by_its_path(runs: Path) -> None:
    (runs / "compare").mkdir()
    assert "compare has no report yet" in edgepress("report", "./compare").stderr
    assert "compare has no report yet" in edgepress("report", "show", "compare").stderr


def test_a_mistyped_command_is_not_taken_for_a_run(runs: Path) -> None:
    told = edgepress("report", "comprae", "good", "bad")
    assert told.exit_code == 2
    assert "No such command 'comprae'. Did you mean 'compare'?" in told.stderr


def test_help_explains_all_three() -> None:
    told = edgepress("report", "--help")
    assert told.exit_code == 0
    for part in ("report RUN", "report compare A B", "report add RUN RECORD.json...", "./compare"):
        assert part in told.stdout
    assert "--fail-on-regression" in edgepress("report", "compare", "--help").stdout


def test_add_hands_over_the_records_and_tells_where_the_report_lies(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given: list[tuple[Path, list[Path], str | None]] = []

    def add_records(run: Path, records: Sequence[Path], key: DeviceKey | None) -> Path:
        given.append((run, list(records), key.hint if key else None))
        return run / "hardware"

    module = ModuleType("edgepress.benchmarks.devices.merge")
    module.add_records = add_records  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "edgepress.benchmarks.devices.merge", module)
    told = edgepress("report", "add", "runs/a", "one.json", "two.json")
    assert (told.exit_code, told.stdout) == (0, "Hardware report: runs/a/hardware\n")
    assert given == [(Path("runs/a"), [Path("one.json"), Path("two.json")], None)]
    _, public = make_keys(tmp_path / "board")
    assert edgepress("report", "add", "runs/a", "one.json", "--key", str(public)).exit_code == 0
    assert given[1][2] == read_device_key(public).hint
    told = edgepress("report", "add", "runs/a", "one.json", "--key", str(tmp_path / "none"))
    assert told.exit_code == 2 and "the key" in told.stderr and len(given) == 2
    assert edgepress("report", "add", "runs/a").exit_code == 2
