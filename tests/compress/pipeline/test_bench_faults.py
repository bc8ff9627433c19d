"""`edgepress bench` on artifacts that are damaged, answer nothing or describe themselves wrongly: told, and never 0."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import Result
from onnx import numpy_helper
from typer.testing import CliRunner

from edgepress.benchmarks.records.checked import read_artifact
from edgepress.compress.cli.app import app
from edgepress.compress.cli.bench import Shapes, find_artifacts, synthetic_cases, told_failures
from edgepress.compress.cli.console import Console
from edgepress.targets.errors import ArtifactError, BenchmarkError
from edgepress.targets.records import Signature, TensorSpec, sha256_of
from tests.benchmarks.tiny_release import TARGET, tiny_release
from tests.compress.bundles import flip

Record = dict[str, Any]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An artifact that is sound."""
    tiny_release(tmp_path / "made")
    return Path(shutil.move(tmp_path / "made" / TARGET, tmp_path / "one" / "sound"))


@pytest.fixture(autouse=True)
def _parent(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir(exist_ok=True)


def changed(folder: Path, change: Callable[[Record], object]) -> None:
    record = json.loads((folder / "artifact.json").read_text())
    change(record)
    (folder / "artifact.json").write_text(json.dumps(record))


def answers_nan(folder: Path) -> None:
    """Its weights are NaN, and its record tells the true sha256."""
    model = onnx.load(folder / "model.onnx")
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.full((4, 2), np.nan, np.float32), "w"))
    onnx.save(model, folder / "model.onnx")
    size, sha256 = (folder / "model.onnx").stat().st_size, sha256_of(folder / "model.onnx")
    changed(folder, lambda record: record["files"][0].update(bytes=size, sha256=sha256))


def bench(path: Path, *options: str) -> Result:
    result = CliRunner().invoke(app, ["bench", str(path), "--samples", "11", "--batch", "1", *options])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def last(result: Result) -> str:
    return result.stderr.strip().splitlines()[-1]


@pytest.mark.slow
def test_outputs_that_are_nan_are_a_failed_row_and_not_exit_code_0(folder: Path) -> None:
    answers_nan(folder)
    done = bench(folder)
    assert done.exit_code == 1
    assert "its output 'logits' holds NaN or infinity, so it is not timed" in last(done)
    loaded = bench(folder, "--scenario", "offline", "--seconds", "0.1")
    assert loaded.exit_code == 1 and "its output 'logits' holds NaN or infinity" in last(loaded)


def damage(folder: Path) -> None:
    (folder / "model.onnx").write_bytes((folder / "model.onnx").read_bytes()[:-1] + b"\1")


@pytest.mark.slow
@pytest.mark.parametrize("harm", [damage, answers_nan])
@pytest.mark.parametrize("options", [(), ("--scenario", "offline", "--seconds", "0.1")])
def test_one_of_two_that_fails_is_told_at_the_end_and_the_other_is_timed(
    folder: Path, harm: Callable[[Path], None], options: tuple[str, ...]
) -> None:
    harm(Path(shutil.copytree(folder, folder.parent / "harmed[red]")))
    done = bench(folder.parent, *options)
    assert done.exit_code == 1
    assert last(done).startswith("error: 1 of 2 failed. harmed[red]: ")
    (sound,) = (line for line in done.stdout.splitlines() if " sound " in line)
    assert "failed" not in sound and "harmed[red] " in done.stdout


def signature(**changes: Any) -> Callable[[Record], object]:
    return lambda record: record["programs"]["main"].update(changes)


def pixels(**changes: Any) -> Callable[[Record], object]:
    return lambda record: record["programs"]["main"]["inputs"][0].update(changes)


FAULTS: dict[str, tuple[Callable[[Record], object], str]] = {
    "dtype": (pixels(dtype="object"), "is of the type 'object'; float32, "),
    "unknown": (pixels(dtype="float7"), "is of the type 'float7'; float32, "),
    "object-code": (pixels(dtype="O,f4"), "is of the type 'O,f4'"),
    "dimension": (pixels(shape=["batch", "length"]), "varies in 'length', batch and sequence are known"),
    "boundless": (pixels(shape=["batch", "sequence"]), "varies in 'sequence', for which there are no bounds"),
    "negative": (pixels(shape=["batch", -4]), "has a dimension of -4"),
    "zero": (pixels(shape=["batch", 0]), "has a dimension of 0"),
    "huge": (pixels(shape=["batch", 1 << 63]), "has a dimension of more than 2^63"),
    "endless": (
        pixels(shape=["batch", 10**30]),
        "damaged or of another version: ValueError: a whole number of 31 digits",
    ),
    "large": (pixels(shape=["batch", 1 << 20, 1 << 20]), "would hold 1099511627776 numbers at batch 1"),
    "scalar": (pixels(shape=[]), "has 0 dimensions, 1 to 8 are known"),
    "inputs": (signature(inputs=[]), "its signature has no input"),
    "outputs": (signature(outputs=[]), "its signature has no output"),
    "bounds": (signature(bounds={"batch": [5, 2]}), "no shape to time fits; these artifacts take batch 5 to 2"),
    "target": (lambda record: record.update(target="../x"), "is of the target '../x'; there are pytorch, "),
    "files": (lambda record: record.update(files=3), "is damaged or of another version: files"),
}


@pytest.mark.parametrize(("change", "told"), FAULTS.values(), ids=FAULTS)
def test_a_record_that_describes_no_model_is_one_line(
    folder: Path, change: Callable[[Record], object], told: str
) -> None:
    changed(folder, change)
    done = bench(folder)
    assert done.exit_code == 1
    assert told in last(done) and last(done).startswith("error: ")


def test_two_inputs_of_one_name_are_refused(folder: Path) -> None:
    changed(folder, lambda record: record["programs"]["main"]["inputs"].append(record["programs"]["main"]["inputs"][0]))
    with pytest.raises(ArtifactError, match="two inputs have the same name"):
        read_artifact(folder)


def test_a_record_that_is_a_folder_is_one_line(folder: Path) -> None:
    (folder / "artifact.json").unlink()
    (folder / "artifact.json").mkdir()
    done = bench(folder.parent)
    assert done.exit_code == 1 and "artifact.json is damaged or of another version: " in last(done)


def test_sizes_that_no_memory_holds_are_refused_before_they_are_made(tmp_path: Path) -> None:
    spec = TensorSpec(name="ids", dtype="int64", shape=("batch", "sequence"))
    wide = Signature(inputs=(spec,), outputs=(), bounds={"batch": (1, 1 << 40), "sequence": (1, 1 << 40)})
    with pytest.raises(BenchmarkError, match=r"would hold 1073741824 numbers at batch 32768, sequence 32768, at most"):
        synthetic_cases(wide, Shapes(batches=(1 << 15,), sequences=(1 << 15,)), tmp_path, Console("silent"))


@pytest.mark.parametrize("option", ["--batch", "--sequence", "--threads"])
def test_a_size_below_one_is_a_wrong_option(folder: Path, option: str) -> None:
    done = CliRunner().invoke(app, ["bench", str(folder), option, "0"])
    assert done.exit_code == 2 and "equal to 1" in done.stderr


@pytest.mark.slow
def test_files_that_an_artifact_does_not_name_are_told(folder: Path) -> None:
    for name in ("a", "b", "c", "model.onnx.data"):
        (folder / name).write_text("")
    (folder / "settled").touch()  # a mark of the run itself
    done = bench(folder)
    assert done.exit_code == 0, done.stderr
    told = f"warning: {folder} holds a, b, c and 1 more, not named in artifact.json and not checked"
    assert told in done.stderr.splitlines()


def test_failures_are_told_in_one_line_three_of_them_by_name() -> None:
    assert told_failures([("a", "x"), ("b", "y")], 3) == "2 of 3 failed. a: x; b: y"
    assert told_failures([(name, "x") for name in "abcde"], 9) == "5 of 9 failed. a: x; b: x; c: x; and 2 more"


def harmed(release: Path) -> None:
    flip(release / TARGET / "model.onnx", 9)


def with_more(release: Path) -> None:
    (release / TARGET / "extra.data").write_bytes(b"x")


def without_sums(release: Path) -> None:
    (release / "SHA256SUMS").unlink()


RELEASES: list[tuple[Callable[[Path], object], str]] = [
    (harmed, "model.onnx is not the released file: its sha256 is"),
    (with_more, "extra.data is not of this release: SHA256SUMS does not name it. Move it away."),
    (without_sums, "SHA256SUMS is missing, and nothing is opened without it. Copy the release again."),
]


@pytest.mark.parametrize(("harm", "words"), RELEASES)
@pytest.mark.parametrize("inner", ["", TARGET])
def test_a_release_is_compared_with_its_sums_before_anything_of_it_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: Callable[[Path], object], words: str, inner: str
) -> None:
    """The release as a whole, or one artifact in it."""
    release = tiny_release(tmp_path / "release")
    (release / "record.json").write_text('{"kind": "edgepress-device-record"}')  # measured here before
    assert len(find_artifacts(release / inner)) == 1
    harm(release)
    monkeypatch.setattr("edgepress.compress.cli.bench.read_artifact", lambda folder: pytest.fail("it was opened"))
    done = bench(release / inner)
    assert done.exit_code == 1 and words in last(done), done.stderr
