"""What the end of a run says of its release works: the lines are run as they stand."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from edgepress.benchmarks.records.files import read_report
from edgepress.compress.release.usage import command_lines, python_lines, usage
from edgepress.targets.records import Artifact
from tests.end_to_end.recipes import edgepress, environment

pytestmark = pytest.mark.slow


def end_of(folder: Path) -> list[str]:
    """The lines behind the release's path, as they were printed."""
    lines = (folder / "stdout").read_text().splitlines()
    return lines[[line.startswith("Release: ") for line in lines].index(True) + 1 :]


@pytest.mark.parametrize("name", ["text", "image"])
def test_the_python_lines_answer_a_row_with_onnxruntime_alone(name: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(f"{name}_run")
    heading, *lines = end_of(folder)
    release = folder / f"runs/{name}/release/onnxruntime-cpu"
    assert heading == f"To use it, in runs/{name}/release/onnxruntime-cpu, with Python:"
    code = "\n".join(line.strip() for line in lines)
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=release, env=environment(PYTHONPATH=""), capture_output=True, text=True
    )
    assert told.returncode == 0, told.stderr
    assert told.stdout.startswith("[array([[") and "nan" not in told.stdout


def test_an_int8_artifact_is_opened_with_whole_sums_and_fp32_without_options(plain_run: Path, text_run: Path) -> None:
    plain, int8 = (
        python_lines(Artifact.read(run / f"release/onnxruntime-cpu/{Artifact.FILE_NAME}"), "text-classification")
        for run in (plain_run / "runs/plain", text_run / "runs/text")
    )
    assert len(plain) == 3 and "options" not in "".join(plain)
    assert len(int8) == 4 and "session.x64quantprecision" in int8[1] and '"model.onnx", options' in int8[3]


def test_the_commands_check_time_and_package_a_release(plain_copy: Path) -> None:
    check, bench, package = command_lines(Path("runs/plain"))
    for line in (check, bench, package):
        words = shlex.split(line, comments=True)
        told = edgepress(plain_copy, *words[1:])
        assert words[0] == "edgepress" and told.returncode == 0, told.stderr
    assert (plain_copy / "runs/plain/release/run_benchmark.py").is_file()


def test_other_targets_than_onnx_runtime_are_told_by_commands_and_nothing_by_nothing(plain_copy: Path) -> None:
    run = plain_copy / "runs/plain"
    report = read_report(run / "report")
    other = tuple(row.model_copy(update={"target": "xla-tpu"}) for row in report.candidates)
    (run / "release/onnxruntime-cpu").rename(run / "release/xla-tpu")
    told = usage(run, report.model_copy(update={"candidates": other}))
    assert told == ["To use it:", *(f"  {line}" for line in command_lines(run))]
    assert usage(run, report.model_copy(update={"candidates": ()})) == []


def test_the_answer_comes_last_and_all_candidates_with_all(plain_copy: Path) -> None:
    short, long = edgepress(plain_copy, "report", "runs/plain"), edgepress(plain_copy, "run", "recipe.yaml", "--all")
    for told in (short.stdout, long.stdout):
        places = [
            told.index(word)
            for word in ("teacher and chosen artifacts", "Gates: ", "Report: ", "Release: ", "To use it")
        ]
        assert places == sorted(places)
    assert "what each pass brought" not in short.stdout and "teacher and candidates" not in short.stdout
    assert long.stdout.index("what each pass brought") < long.stdout.index("teacher and candidates")
    assert long.stdout.index("teacher and candidates") < long.stdout.index("teacher and chosen artifacts")
