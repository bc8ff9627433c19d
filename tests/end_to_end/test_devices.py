"""From a run to a hardware report: packaged, measured without torch on several 'devices', merged."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from edgepress.benchmarks.devices.record import Devices, read_record
from edgepress.compress.bundle.archive import read_archive
from edgepress.compress.bundle.manifest import Manifest
from edgepress.compress.bundle.part import archive_release
from edgepress.compress.bundle.verify import verify
from edgepress.compress.pipeline.publish import check_release
from tests.architecture.test_readme import blocks
from tests.benchmarks.tiny_release import bare, run_bare, seal
from tests.end_to_end.conftest import finish, made_once
from tests.end_to_end.recipes import PLAIN, changed, edgepress, hashes, leftovers, write_text_inputs

pytestmark = pytest.mark.slow
TARGETS = ["onnxruntime-cpu", {"tflite-mobile": {"compatibility": "legacy"}}, {"xla-tpu": {"topologies": []}}]
NAMES = ["onnxruntime-cpu", "tflite-mobile", "xla-tpu"]
PACKAGE = ("package", "runs/devices")


@pytest.fixture(scope="session")
def packaged(shared_folder: Path) -> Path:
    """A folder with `runs/devices`, finished and packaged; not to be changed."""
    recipe = changed(PLAIN, name="devices")
    recipe["targets"] = TARGETS

    def make(folder: Path) -> None:
        finish(recipe, write_text_inputs)(folder)
        done = edgepress(folder, *PACKAGE)
        assert done.returncode == 0, done.stderr
        assert "32 test rows travel with it" in done.stdout

    return made_once(shared_folder / "devices", make)


@pytest.fixture
def release(packaged: Path, tmp_path: Path) -> Path:
    """The release as it is copied to a device."""
    return shutil.copytree(packaged / "runs/devices/release", tmp_path / "device")


def reported(packaged: Path, target: str) -> float:
    """The accuracy that the run's own report has, on the same 32 rows."""
    from edgepress.benchmarks.records.files import read_report

    report = read_report(packaged / "runs/devices/report")
    (row,) = (row for row in report.candidates if row.chosen and row.target == target)
    assert row.primary is not None and row.primary.key == "accuracy"
    return row.primary.value


@pytest.mark.parametrize("target", NAMES)
def test_the_runner_needs_the_runtime_alone(target: str, packaged: Path, release: Path) -> None:
    done = run_bare(release, "--target", target, "--samples", "40")
    assert (done.returncode, done.stderr) == (0, "")
    record = read_record(release / "record.json")
    assert record.accuracy is not None and record.accuracy.value == reported(packaged, target)
    assert record.accuracy.rows == 32 and record.accuracy.agreement >= 0.98
    assert [(row.sequence, row.sittings) for row in record.latency] == [(32, (20, 20))]
    threaded = target != "xla-tpu"
    assert all((row.threads, row.pinned is not None) == (1 if threaded else None, threaded) for row in record.latency)
    assert record.cold_start_ms > record.open_ms + record.first_inference_ms
    assert record.peak_memory_bytes is not None and record.peak_memory_bytes < 1e9


def test_the_examples_of_the_readme_run_each_artifact_without_torch(release: Path) -> None:
    text = (release / "README.md").read_text(encoding="utf-8")
    before = hashes(release)
    for target, code in zip(NAMES, blocks(text, "python"), strict=True):
        assert f'"{target}/artifact.json"' in code
        done = bare(release, "-c", code)
        assert (done.returncode, done.stdout[:10]) == (0, "{'logits':"), done.stderr
    assert hashes(release) == before


def test_a_packaged_release_verifies_signed_and_as_one_file_or_one_target(packaged: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(packaged, tmp_path / "copy")
    assert edgepress(copy, "keygen", "key").returncode == 0
    done = edgepress(copy, *PACKAGE, "--sign", "key.pem", "--archive", "all.tar.zst")
    assert done.returncode == 0, done.stderr
    for place in ("runs/devices/release", "all.tar.zst"):
        done = edgepress(copy, "verify", place, "--key", "key.pub.pem")
        assert (done.returncode, done.stderr) == (0, "")
        assert "onnxruntime-cpu fp32, tflite-mobile fp32, xla-tpu fp32; no gates were set" in done.stdout
    manifest = Manifest.read(copy / "runs/devices/release/manifest.json")
    archive_release(copy / "runs/devices/release", manifest, copy / "one.tar.zst", "tflite-mobile", None)
    assert verify(read_archive(copy / "one.tar.zst")).faults == ()


@pytest.mark.parametrize(
    ("target", "file"), [(NAMES[0], "model.onnx"), (NAMES[1], "model.tflite"), (NAMES[2], "program.jax")]
)
def test_a_cut_artifact_that_was_released_as_such_is_one_line(target: str, file: str, release: Path) -> None:
    path = release / target / file
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    seal(release)
    done = run_bare(release, "--target", target, "--samples", "11")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr
    assert "cannot be opened by" in done.stderr or "was killed by SIG" in done.stderr
    assert not (release / "record.json").exists()


def test_the_old_runtime_runs_it_too(root: Path, packaged: Path, release: Path) -> None:
    python = root / os.environ.get("EDGEPRESS_LEGACY_PYTHON", ".venv-legacy/bin/python")
    if not python.is_file():
        pytest.skip(f"{python} is missing: `make legacy` installs tflite-runtime 2.14 there (Python 3.11 only)")
    done = run_bare(release, "--target", "tflite-mobile", "--samples", "11", python=python)
    assert (done.returncode, done.stderr) == (0, "")
    record = read_record(release / "record.json")
    assert (record.runtime.name, record.runtime.version) == ("tflite_runtime", "2.14.0")
    assert record.accuracy is not None and record.accuracy.value == reported(packaged, "tflite-mobile")


def test_records_of_two_devices_become_one_report(packaged: Path, release: Path, tmp_path: Path) -> None:
    if shutil.which("taskset") is None:
        pytest.skip("taskset is missing (Debian, Ubuntu: apt install util-linux): it makes the second device")
    first = sorted(os.sched_getaffinity(0))[0]
    limits: dict[str, tuple[str, ...]] = {"whole": (), "limited": ("taskset", "-c", str(first))}
    records = []
    for name, before in limits.items():
        for target in NAMES:
            records.append(release / f"{name}-{target}.json")
            arguments = ("--target", target, "--samples", "11", "--device", name, "--out", records[-1].name)
            done = run_bare(release, *arguments, before=before)
            assert (done.returncode, done.stderr) == (0, "")
    shutil.copytree(packaged / "runs", tmp_path / "runs")
    done = edgepress(tmp_path, "report", "add", "runs/devices", *map(str, records))
    assert (done.returncode, done.stdout) == (0, "Hardware report: runs/devices/devices/devices.md\n")
    merged = Devices.read(tmp_path / "runs/devices/devices/devices.json").records
    assert [(record.device, record.target) for record in merged] == [
        (name, target) for name in limits for target in NAMES
    ]
    assert all((record.environment["usable_cores"] == 1) for record in merged if record.device == "limited")
    lines = (tmp_path / "runs/devices/devices/devices.md").read_text().splitlines()
    for target in NAMES:
        assert sum(line.startswith("| limited | ") and f" | {target} | " in line for line in lines) == 2
    again = edgepress(tmp_path, "report", "add", "runs/devices", str(records[0]))
    assert again.returncode == 1 and "is the same record again" in again.stderr


def test_packaging_twice_gives_the_same_files(packaged: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(packaged, tmp_path / "copy")
    before = hashes(copy / "runs/devices/release")
    assert edgepress(copy, *PACKAGE).returncode == 0
    assert hashes(copy / "runs/devices/release") == before
    assert check_release(copy / "runs/devices/release").artifacts["xla-tpu"] == "fp32"
    assert leftovers(copy / "runs/devices") == []


def test_another_recipe_is_refused(packaged: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(packaged, tmp_path / "copy")
    done = edgepress(copy, *PACKAGE, "--recipe", "recipe.yaml", "--set", "seed=1")
    assert done.returncode == 2
    assert "the recipe 'devices' is not the one that runs/devices was made with, or its data or teacher" in done.stderr


def test_images_travel_as_pixels(image_run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(image_run, tmp_path / "copy")
    done = edgepress(copy, "package", "runs/image", "--samples", "5")
    assert done.returncode == 0 and "5 test rows travel with it" in done.stdout, done.stderr
    release = copy / "runs/image/release"
    done = run_bare(release, "--samples", "11")
    assert (done.returncode, done.stderr) == (0, "")
    record = read_record(release / "record.json")
    assert record.accuracy is not None and record.accuracy.rows == 5
    assert [(row.batch, row.sequence) for row in record.latency] == [(1, None)]
