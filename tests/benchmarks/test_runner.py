"""The runner that travels: alone with NumPy and one runtime, on a release that is made by hand."""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks.device_record import PERCENTILES, add_records, read_record, record_sha256
from benchmarks.statistics import least_samples
from benchmarks.turns import AGREEMENT, WINDOWS
from tests.benchmarks.devices import RUNNER, TARGET, run_bare, seal, tiny_release

FILES = sorted(RUNNER.glob("run_*.py"))


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not to be changed."""
    return tiny_release(tmp_path_factory.mktemp("run") / "release")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return tiny_release(tmp_path / "release")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_runner_is_python_3_9_and_needs_numpy_alone(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))
    allowed = {"numpy", *sys.stdlib_module_names, *(file.stem for file in FILES)}
    typing_only = {
        id(inner)
        for node in tree.body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for statement in node.body
        for inner in ast.walk(statement)
    }
    found = set()
    for node in ast.walk(tree):
        if id(node) not in typing_only and isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            found |= {name.split(".")[0] for name in names}
    assert found <= allowed


def test_the_rules_are_those_of_the_benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.syspath_prepend(RUNNER)
    import run_benchmark  # type: ignore[import-not-found]
    import run_release  # type: ignore[import-not-found]

    assert {name: (share, least_samples(share)) for name, share in PERCENTILES.items()} == run_benchmark.LEAST
    assert (run_benchmark.STEADY, run_benchmark.WINDOWS) == (AGREEMENT, WINDOWS)
    assert sorted(run_release.FILES) == [path.name for path in FILES]
    record = {"b": 1.5, "a": ["é", None], "record_sha256": "x"}
    assert run_benchmark.record_sha256(record) == record_sha256(record)


def test_warm_up_ends_where_two_windows_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.syspath_prepend(RUNNER)
    import run_benchmark

    def warmed(times: list[float]) -> object:
        left = iter(times)
        monkeypatch.setattr(run_benchmark, "timed_ms", lambda call: next(left))
        return run_benchmark.warm_up(lambda: None)

    assert warmed([2.0] * 10 + [1.0] * 20) == (30, True)
    assert warmed([2.0**window for window in range(10) for _ in range(10)]) == (100, False)


def test_a_record_holds_the_raw_values_and_what_they_tell(release: Path, tmp_path: Path) -> None:
    out = tmp_path / "record.json"
    done = run_bare(release, "--samples", "64", "--batch", "1", "2", "--device", "board", "--out", str(out))
    assert (done.returncode, done.stderr) == (0, "")
    assert "accuracy 0.7500 (3 of 4 rows), agreement with the teacher 1.0000" in done.stdout
    record = read_record(out)
    assert (record.device, record.target, record.runtime.name) == ("board", TARGET, "onnxruntime")
    assert record.accuracy is not None and record.accuracy.predicted == (0, 1, 0, 1)
    assert [(row.batch, row.sequence, row.threads, len(row.samples)) for row in record.latency] == [
        (1, None, 1, 64),
        (2, None, 1, 64),
    ]
    assert all(row.p90 is not None and row.p95 is None for row in record.latency)
    assert {"cpu", "isa", "governor", "temperature_before_c", "os", "versions", "usable_cores", "cpu_quota"} <= set(
        record.environment
    )
    assert add_records(release.parent, [out]).is_file()


def test_too_few_samples_tell_no_percentile(release: Path, tmp_path: Path) -> None:
    done = run_bare(release, "--samples", "10", "--out", str(tmp_path / "record.json"))
    assert "batch 1, threads 1: too few samples for a percentile, 10 samples" in done.stdout
    row = json.loads((tmp_path / "record.json").read_text())["latency"][0]
    assert [row[name] for name in PERCENTILES] == [None] * 5


def test_a_release_without_sample_measures_no_accuracy(tmp_path: Path) -> None:
    release = tiny_release(tmp_path / "release", sample=False)
    done = run_bare(release, "--samples", "11", "--out", str(tmp_path / "record.json"))
    assert "accuracy not measured: no sample in this release" in done.stdout
    assert read_record(tmp_path / "record.json").accuracy is None


def damage(path: str) -> Callable[[Path], None]:
    return lambda release: (release / path).write_bytes(b"x")  # type: ignore[func-returns-value]


def remove(path: str) -> Callable[[Path], None]:
    return lambda release: (release / path).unlink()


def no_model(release: Path) -> None:
    """A file that is no model, released as such."""
    place = release / TARGET
    (place / "model.onnx").write_bytes(b"no model")
    seal(release)


def nan(release: Path) -> None:
    arrays = dict(np.load(release / "sample.npz"))
    arrays["input:pixels"][:] = np.nan
    np.savez(release / "sample.npz", **arrays)
    seal(release)


def unpackaged(release: Path) -> None:
    (release / "run_benchmark.py").rename(release / "moved")
    seal(release)
    (release / "moved").rename(release / "run_benchmark.py")


HARMS: list[tuple[Callable[[Path], object], str]] = [
    (damage(f"{TARGET}/model.onnx"), "model.onnx is not the released file: its sha256 is 2d711642b726b044…, not "),
    (damage(f"{TARGET}/artifact.json"), "artifact.json is not the released file"),
    (damage("sample.npz"), "sample.npz is not the released file"),
    (remove(f"{TARGET}/model.onnx"), "model.onnx is missing. Copy the release again."),
    (remove("manifest.json"), "manifest.json is missing. Keep run_benchmark.py in its release folder, with all files."),
    (damage("manifest.json"), "manifest.json is damaged (Expecting value"),
    (lambda release: (release / "manifest.json").write_text("{}"), "is damaged (no 'files'). Copy the release again."),
    (unpackaged, "this release was not packaged. Run `edgepress package`, and copy the folder again."),
    (no_model, "onnxruntime-cpu cannot be opened by onnxruntime "),
    (nan, "the model gives NaN or infinite outputs on this device. Use another target or precision."),
]


@pytest.mark.parametrize(("harm", "words"), HARMS)
def test_a_harmed_release_is_told_in_one_line(own: Path, harm: Callable[[Path], object], words: str) -> None:
    harm(own)
    done = run_bare(own, "--samples", "1")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr
    assert words in done.stderr
    assert not (own / "record.json").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--target", "x"), "unknown target 'x'; this release has onnxruntime-cpu."),
        (("--batch", "9"), "--batch 9 does not fit: this artifact takes 1 to 8."),
        (("--samples", "1", "--out", "no/such/folder.json"), "cannot be written (No such file or directory). Name"),
        (("--samples", "0"), "must be a whole number of at least 1, got '0'"),
    ],
)
def test_a_wrong_argument_is_told(release: Path, arguments: tuple[str, ...], words: str) -> None:
    done = run_bare(release, *arguments)
    assert done.returncode == 2
    assert words in done.stderr and "Traceback" not in done.stderr


def test_a_runtime_that_is_not_there_is_told_with_what_to_install(own: Path) -> None:
    (own / "onnxruntime.py").write_text("raise ImportError('not on this device')")
    done = run_bare(own)
    assert done.returncode == 2
    assert done.stderr == (
        "error: this target needs the package onnxruntime (not on this device). Run: pip install onnxruntime\n"
    )


def test_a_setting_that_the_runner_does_not_know_is_not_passed_over(own: Path) -> None:
    path = own / TARGET / "artifact.json"
    path.write_text(path.read_text().replace('"spinning"', '"turbo"'))
    seal(own)
    done = run_bare(own)
    assert "error: the artifact asks for the setting 'turbo', which this runner does not know." in done.stderr
