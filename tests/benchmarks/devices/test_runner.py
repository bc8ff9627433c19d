"""The runner that travels: alone with NumPy and one runtime, on a release that is made by hand."""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepress.benchmarks.devices.merge import add_records
from edgepress.benchmarks.devices.record import read_record
from edgepress.benchmarks.measure import latency, timing
from edgepress.compress.recipe.recipe import Benchmark
from edgepress.targets import device
from edgepress.targets.device import energy as run_energy
from edgepress.targets.device import pinning, sitting, turns
from edgepress.targets.device.percentiles import PERCENTILES
from edgepress.targets.device.sample import misfit
from edgepress.targets.tensorrt_gpu.session import gpus
from tests.benchmarks.tiny_release import BLOCKED, TARGET, bare, run_bare, seal, seal_sums, tiny_release
from tests.conftest import ROOT, is_alive

FILES = [ROOT / "targets" / path for path in (*device.TRAVELLING, "device/launcher.py")]


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not to be changed."""
    return tiny_release(tmp_path_factory.mktemp("run") / "release")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return tiny_release(tmp_path / "release")


def at_the_top(tree: ast.Module) -> Iterator[ast.stmt]:
    """Statements that run when a module is imported, those for type checkers left out."""
    for node in tree.body:
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            yield node


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT / "targets").as_posix())
def test_what_travels_is_python_3_9_and_needs_numpy_alone(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))
    found = set()
    for node in at_the_top(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(str(node.module).split(".")[0])
    assert found <= {"numpy", *sys.stdlib_module_names}
    everywhere = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level == 0]
    assert not [node.module for node in everywhere if str(node.module).split(".")[0] == "edgepress"]


def test_every_file_that_a_travelling_one_imports_travels_too() -> None:
    there = {ROOT / "targets" / path for path in device.TRAVELLING}
    for path in there:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.ImportFrom) and node.level):
                continue
            place = path.parents[node.level - 1].joinpath(*(node.module.split(".") if node.module else ()))
            if place.with_suffix(".py") not in there:
                missing = [name.name for name in node.names if place / f"{name.name}.py" not in there]
                assert not missing or place / "__init__.py" in there, (path, missing)


def test_the_environment_of_these_tests_is_bare(tmp_path: Path) -> None:
    for name in BLOCKED:
        done = bare(tmp_path, "-c", f"import {name}")
        assert done.returncode == 1 and f"import of {name} halted" in done.stderr


def test_a_device_and_the_benchmarks_time_by_the_same_functions() -> None:
    assert sitting.take is turns.take and vars(timing)["take"] is turns.take
    assert vars(timing)["pin"] is pinning.pin and vars(latency)["shared_out"] is turns.shared_out
    assert Benchmark().warmup == turns.WINDOW


def test_the_runner_keeps_threads_on_the_cores_that_the_toolchain_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """cpu0-3 little and cpu4-7 big: the last of the fast ones, and for four threads all of them."""
    for number in range(8):
        folder = tmp_path / f"sys/devices/system/cpu/cpu{number}"
        folder.mkdir(parents=True)
        (folder / "cpu_capacity").write_text("1024" if number > 3 else "400")
    kept: list[tuple[int, ...]] = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(os, "sched_setaffinity", lambda _, mine: kept.append(tuple(mine)))
    choose = pinning.choose_processors
    monkeypatch.setattr(pinning, "choose_processors", lambda threads, usable, root: choose(threads, usable, tmp_path))
    assert (pinning.kept_on(1), pinning.kept_on(4), pinning.kept_on(8)) == ([7], [4, 5, 6, 7], list(range(8)))
    assert kept == [(7,), (4, 5, 6, 7)]


def test_warm_up_ends_where_two_windows_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    def warmed(times: list[float]) -> tuple[int, bool]:
        left = iter(times)
        monkeypatch.setattr(turns, "timed_ms", lambda call, clock: next(left))
        rounds, stable = turns.warm_up({"one": lambda: None}, turns.WINDOW)
        return rounds, stable["one"]

    assert warmed([2.0] * 10 + [1.0] * 20) == (30, True)
    assert warmed([2.0**window for window in range(10) for _ in range(10)]) == (100, False)


def test_a_record_holds_the_raw_values_and_what_they_tell(release: Path, tmp_path: Path) -> None:
    out = tmp_path / "record.json"
    done = run_bare(release, "--samples", "64", "--batch", "1", "2", "--device", "board", "--out", str(out))
    assert (done.returncode, done.stderr) == (0, "")
    assert "accuracy 0.7500 (3 of 4 answers), agreement with the teacher 1.0000" in done.stdout
    record = read_record(out)
    assert (record.device, record.target, record.runtime.name) == ("board", TARGET, "onnxruntime")
    assert record.accuracy is not None and record.accuracy.predicted == (0, 1, 0, 1)
    assert [(row.batch, row.sequence, row.threads, len(row.samples)) for row in record.latency] == [
        (1, None, 1, 64),
        (2, None, 1, 64),
    ]
    assert all(row.p90 is not None and row.p95 is None for row in record.latency)
    assert [row.sittings for row in record.latency] == [(16, 16, 16, 16)] * 2
    usable = os.sched_getaffinity(0)
    kept = pinning.choose_processors(1, usable) if len(usable) > 1 else tuple(usable)
    assert all(row.pinned == kept for row in record.latency)
    assert record.cold_start_ms > record.open_ms + record.first_inference_ms
    assert record.peak_memory_bytes is not None and 10e6 < record.peak_memory_bytes < 300e6
    assert record.energy_note.startswith(("RAPL counters", "not measured: "))
    assert {"cpu", "isa", "governor", "temperature_before_c", "os", "versions", "usable_cores", "cpu_quota"} <= set(
        record.environment
    )
    assert add_records(release.parent, [out]).is_file()


def test_too_few_samples_tell_no_percentile(release: Path, tmp_path: Path) -> None:
    done = run_bare(release, "--samples", "10", "--out", str(tmp_path / "record.json"))
    assert "batch 1, 1 thread: too few samples for a percentile, 10 samples" in done.stdout
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


def changed_sample(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def harm(release: Path) -> None:
        arrays = dict(np.load(release / "sample.npz"))
        change(arrays)
        np.savez(release / "sample.npz", **arrays)
        seal(release)

    return harm


PIXELS = "input:pixels"
nan = changed_sample(lambda arrays: arrays.update({PIXELS: np.full_like(arrays[PIXELS], np.nan)}))
narrow = changed_sample(lambda arrays: arrays.update({PIXELS: arrays[PIXELS][:, :3]}))
double = changed_sample(lambda arrays: arrays.update({PIXELS: arrays[PIXELS].astype(np.float64)}))
nameless = changed_sample(lambda arrays: arrays.pop(PIXELS))
unequal = changed_sample(lambda arrays: arrays.update(labels=arrays["labels"][:3]))


def cut(path: str) -> Callable[[Path], None]:
    """The first half of a file, released as such."""

    def harm(release: Path) -> None:
        content = (release / path).read_bytes()
        (release / path).write_bytes(content[: len(content) // 2])
        seal(release)

    return harm


cut_sample, cut_model = cut("sample.npz"), cut(f"{TARGET}/model.onnx")


def add_code(release: Path) -> None:
    (release / "edgepress_device" / "device" / "more.py").write_text("")


def changed_manifest(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    """Another manifest, released as such."""

    def harm(release: Path) -> None:
        manifest = json.loads((release / "manifest.json").read_text())
        (release / "manifest.json").write_text(json.dumps(change(manifest)))
        seal_sums(release, manifest["files"])

    return harm


another_format = changed_manifest(lambda manifest: {**manifest, "format": 2})
fewer_files = changed_manifest(lambda manifest: {**manifest, "files": manifest["files"][1:]})
empty_manifest = changed_manifest(lambda manifest: {})


def no_json(release: Path) -> None:
    files = json.loads((release / "manifest.json").read_text())["files"]
    (release / "manifest.json").write_text("x")
    seal_sums(release, files)


def add_binary(release: Path) -> None:
    """Python takes it before errors.py."""
    (release / "edgepress_device" / f"errors{EXTENSION_SUFFIXES[0]}").write_bytes(b"x")


def add_bytecode(release: Path) -> None:
    (release / "edgepress_device/__pycache__").mkdir()
    (release / "edgepress_device/__pycache__/errors.cpython-311.pyc").write_bytes(b"x")


def link_model(release: Path) -> None:
    (release / TARGET / "model.onnx").rename(release.parent / "model.onnx")
    (release / TARGET / "model.onnx").symlink_to(release.parent / "model.onnx")


def link_folder(release: Path) -> None:
    (release / TARGET).rename(release.parent / TARGET)
    (release / TARGET).symlink_to(release.parent / TARGET)


def sums_line(line: str) -> Callable[[Path], None]:
    def harm(release: Path) -> None:
        with (release / "SHA256SUMS").open("a") as file:
            file.write(line)

    return harm


def write(path: str, content: str) -> Callable[[Path], object]:
    return lambda release: (release / path).write_text(content)


def another_artifact(release: Path) -> None:
    path = release / TARGET / "artifact.json"
    path.write_text(path.read_text().replace('"programs"', '"inputs"'))
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
    (remove("manifest.json"), "manifest.json is missing. Copy the release again."),
    (damage("manifest.json"), "manifest.json is not the released file"),
    (no_json, "manifest.json is damaged (JSONDecodeError: Expecting value"),
    (empty_manifest, "is damaged: KeyError: 'format'. Copy the release"),
    (fewer_files, "manifest.json and SHA256SUMS name other files. Copy the release again."),
    (remove("SHA256SUMS"), "SHA256SUMS cannot be read (FileNotFoundError). Copy the release again."),
    (sums_line("x\n"), " is no sha256 and path: 'x'. Copy the release again."),
    (
        sums_line(f"{'0' * 64}  ../x\n"),
        " names '../x', which leads out of its folder. It was refused.",
    ),
    (sums_line(f"{'0' * 64}  sample.npz\n"), " names 'sample.npz' again. It was refused."),
    (add_binary, ".so is not of this release. Copy the release again."),
    (
        add_bytecode,
        "edgepress_device/__pycache__/errors.cpython-311.pyc is not of this release. Copy the release again.",
    ),
    (link_model, "model.onnx is not of this release. Copy the release again."),
    (link_folder, "onnxruntime-cpu is not of this release. Copy the release again."),
    (lambda release: (release / "empty").mkdir(), "empty is an empty folder, and a release has none. Copy the release"),
    (write("notes.json", "{}"), "notes.json is not of this release: SHA256SUMS does not name it. Move it away."),
    (write(f"{TARGET}/notes.json", "{}"), "notes.json is not of this release. Copy the release again."),
    (unpackaged, "this release was not packaged. Run `edgepress package`, and copy the folder again."),
    (no_model, "onnxruntime-cpu/model.onnx cannot be opened by onnxruntime "),
    (narrow, "does not fit the model: input 'pixels' must be float32[batch, 4], got float32[4, 3] for 4 rows. Package"),
    (double, "does not fit the model: input 'pixels' must be float32[batch, 4], got float64[4, 4] for 4 rows. Package"),
    (nameless, "does not fit the model: input 'pixels' is missing, the model takes float32[batch, 4]. Package"),
    (unequal, "does not fit the model: 3 labels, 4 rows of the teacher, 4 widths. Package the release again."),
    (cut_sample, "sample.npz cannot be read: "),
    (cut_model, "onnxruntime-cpu/model.onnx cannot be opened by onnxruntime "),
    (damage("edgepress_device/device/sample.py"), "device/sample.py is not the released file"),
    (remove("edgepress_device/tflite_mobile/session.py"), "session.py is missing. Copy the release again."),
    (add_code, "device/more.py is not of this release. Copy the release again."),
    (another_format, "manifest.json has format 2, this runner reads 1. Package the release again."),
    (another_artifact, "artifact.json is of another version (no 'programs'). Package the release again."),
    (nan, "the model gives NaN or infinite outputs on this device. Use another target or precision."),
]


@pytest.mark.parametrize(("harm", "words"), HARMS)
def test_a_harmed_release_is_told_in_one_line(own: Path, harm: Callable[[Path], object], words: str) -> None:
    harm(own)
    done = run_bare(own, "--samples", "1")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr
    assert words in done.stderr
    assert [path.name for path in own.glob("*record*")] == []


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


@pytest.mark.parametrize(
    ("target", "package", "install"),
    [
        (TARGET, "onnxruntime", "onnxruntime"),
        ("tflite-mobile", "ai_edge_litert", "ai-edge-litert (or tflite-runtime, where that has no wheel)"),
        ("xla-tpu", "jax", "jax safetensors"),
    ],
)
def test_a_runtime_that_is_not_there_is_told_with_what_to_install(
    own: Path, tmp_path: Path, target: str, package: str, install: str
) -> None:
    released_for(own, target)
    fake(tmp_path / "fakes", package, "raise ImportError('not on this device')")
    done = run_bare(own, "--target", target, fakes=tmp_path / "fakes")
    assert done.returncode == 2
    named = "ai_edge_litert.interpreter" if target == "tflite-mobile" else package
    lacks = f"error: this target needs the package {named} (ImportError: not on this device)."
    assert done.stderr == f"{lacks} Run: pip install {install}\n"


def fake(folder: Path, package: str, code: str) -> Path:
    """A folder with a package of that name that takes the installed one's place."""
    folder.mkdir(exist_ok=True)
    (folder / f"{package}.py").write_text(code)
    return folder


def released_for(release: Path, target: str) -> None:
    """The same files under another target's name."""
    if target != TARGET:
        (release / TARGET).rename(release / target)
        seal(release)


def test_without_a_gpu_an_engine_is_refused_in_one_line(own: Path) -> None:
    if gpus():
        pytest.skip("there is a GPU with a driver here")
    released_for(own, "tensorrt-gpu")
    done = run_bare(own)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "error: tensorrt-gpu: there is no NVIDIA GPU with a driver here. Run it on a machine that has one.\n"
    )


# A runtime that loads, and fails in the middle.
FAILING: list[tuple[str, str]] = [
    (
        "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
        "error: measuring (opening the model) was killed by SIGSEGV. Nothing was recorded.",
    ),
    (
        "import os; os._exit(3)",
        "error: measuring (opening the model) ended with exit code 3 and without a word. Nothing was recorded.",
    ),
    (
        "import time; time.sleep(60)",
        "error: measuring (opening the model) hangs: no answer within 2 s. Measure fewer samples, or allow more "
        "seconds with --limit.",
    ),
]


@pytest.mark.parametrize(("code", "words"), FAILING)
def test_a_runtime_that_crashes_or_hangs_is_told_in_one_line(own: Path, tmp_path: Path, code: str, words: str) -> None:
    fakes = fake(tmp_path / "fakes", "onnxruntime", f"__version__ = '0'\ndef SessionOptions():\n    {code}\n")
    done = run_bare(own, "--limit", "2", fakes=fakes)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"{words}\n")
    assert [path.name for path in own.glob("*record*")] == []


@pytest.mark.parametrize(
    ("how", "code", "words"),
    [
        (signal.SIGINT, 130, "error: stopped by Ctrl-C; no record was written.\n"),
        (signal.SIGKILL, -signal.SIGKILL, ""),
    ],
)
def test_a_stopped_runner_leaves_neither_a_record_nor_a_process(
    own: Path, tmp_path: Path, how: signal.Signals, code: int, words: str
) -> None:
    fakes = fake(
        tmp_path / "fakes",
        "onnxruntime",
        "import os, time\n__version__ = '0'\n"
        "def SessionOptions():\n    open('pid', 'w').write(str(os.getpid()))\n    time.sleep(60)\n",
    )
    command, variables = [sys.executable, "run_benchmark.py"], {**os.environ, "PYTHONPATH": str(fakes)}
    runner = subprocess.Popen(command, cwd=own, env=variables, stderr=subprocess.PIPE, text=True)
    with runner:
        wait_for(lambda: (own / "pid").is_file() and (own / "pid").read_text() != "")
        runner.send_signal(how)
        told = runner.communicate(timeout=20)[1]
    assert (runner.returncode, told) == (code, words)
    child = int((own / "pid").read_text())
    wait_for(lambda: not is_alive(child))
    assert [path.name for path in own.glob("*record*")] == []


def wait_for(state: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not state():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_fault_of_the_runner_itself_is_one_line_too(own: Path, tmp_path: Path) -> None:
    done = run_bare(own, fakes=fake(tmp_path / "fakes", "onnxruntime", "raise RuntimeError('first\\nsecond')"))
    assert done.returncode == 2
    assert (
        done.stderr == "error: measuring (loading the runtime) ended with exit code 1: second. Nothing was recorded.\n"
    )


@pytest.mark.parametrize(
    ("widths", "tokens", "words"),
    [
        ([2, 4], 6, None),
        ([2, 4], 5, "input 'ids' must be int64[batch, sequence], got int64[5] for 2 rows"),
        ([1, 4], 5, "its rows have 1 to 4 tokens, the model takes 2 to 4"),
        ([2, 5], 7, "its rows have 2 to 5 tokens, the model takes 2 to 4"),
    ],
)
def test_sequences_of_a_sample_fit_the_bounds(widths: list[int], tokens: int, words: str | None) -> None:
    ids = {"name": "ids", "dtype": "int64", "shape": ["batch", "sequence"]}
    main = {"inputs": [ids], "bounds": {"batch": [1, 8], "sequence": [2, 4]}}
    artifact = {"programs": {"main": main}}
    sample = {"labels": np.zeros(2), "teacher": np.zeros((2, 2)), "widths": np.array(widths)}
    sample["input:ids"] = np.zeros(tokens, np.int64)
    assert misfit(sample, artifact) == words


def test_energy_is_what_the_packages_counted(tmp_path: Path) -> None:
    assert run_energy.meter(tmp_path) == ((), "not measured: this system shows no RAPL counters")
    for name, kind, counted in (("intel-rapl:0", "package-0", 900), ("intel-rapl:1", "package-1", 10)):
        write_counter(tmp_path, name, kind, counted)
    write_counter(tmp_path, "intel-rapl:0:0", "core", 5)
    meter = run_energy.meter(tmp_path)
    before = meter.read()
    assert before == [900, 10] and meter.note == run_energy.MEASURED
    write_counter(tmp_path, "intel-rapl:0", "package-0", 20)  # it began again after 999
    write_counter(tmp_path, "intel-rapl:1", "package-1", 40)
    assert meter.spent_uj(before) == 120 + 30


def write_counter(root: Path, name: str, kind: str, counted: int) -> None:
    folder = root / "sys/class/powercap" / name
    folder.mkdir(parents=True, exist_ok=True)
    for file, value in (("name", kind), ("energy_uj", counted), ("max_energy_range_uj", 999)):
        (folder / file).write_text(f"{value}\n")


def test_energy_that_cannot_be_read_is_told_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_counter(tmp_path, "intel-rapl:0", "package-0", 1)
    (tmp_path / "sys/class/powercap/intel-rapl:0/energy_uj").write_text("")
    assert run_energy.meter(tmp_path) == ((), "not measured: intel-rapl:0 cannot be read (ValueError)")
    assert run_energy.meter(tmp_path).spent_uj([]) is None

    def refused(path: Path, *_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_text", refused)  # these tests may run as root
    assert run_energy.meter(tmp_path).note == "not measured: intel-rapl:0/energy_uj may be read by root alone"


def test_a_process_counts_its_own_memory_and_not_that_of_its_parent() -> None:
    ballast = np.ones(40_000_000)  # 320 MB
    code = "from edgepress.targets.device.environment import peak_memory_bytes; print(peak_memory_bytes())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 1e6 < int(done.stdout) < ballast.nbytes / 2


def test_a_setting_that_the_runner_does_not_know_is_not_passed_over(own: Path) -> None:
    path = own / TARGET / "artifact.json"
    path.write_text(path.read_text().replace('"spinning"', '"turbo"'))
    seal(own)
    done = run_bare(own)
    assert "error: the artifact asks for the setting 'turbo', which this runner does not know." in done.stderr


def test_the_launcher_calls_itself_and_its_package_as_the_toolchain_does() -> None:
    text = (ROOT / "targets/device/launcher.py").read_text(encoding="utf-8")
    assert f'PACKAGE, LAUNCHER = "{device.PACKAGE}", "{device.LAUNCHER}"' in text


@pytest.mark.parametrize("name", ["numpy", "json", "onnxruntime", "edgepress_device"])
@pytest.mark.parametrize("released", [False, True])
def test_a_file_beside_the_runner_poses_as_no_library(own: Path, name: str, released: bool) -> None:
    """Neither one that was put there, which is refused, nor one that the release names, whatever links lead to it."""
    (own / f"{name}.py").write_text("open('harmed', 'w').close()")
    if released:
        seal(own)
    (own.parent / "link").symlink_to(own)
    for place in (own, own.parent / "link"):
        done = run_bare(place, "--samples", "1", runner=str(place / "run_benchmark.py"))
        assert done.returncode == (0 if released else 2), done.stderr
        assert released or f"{name}.py is not of this release. Copy the release again." in done.stderr
        assert not (own / "harmed").exists()


def test_records_may_lie_beside_the_release_and_nothing_else_comes_to_lie_there(own: Path) -> None:
    before = set(own.rglob("*"))
    for _ in range(2):
        done = run_bare(own, "--samples", "1")
        assert (done.returncode, done.stderr) == (0, "")
    assert set(own.rglob("*")) - before == {own / "record.json"}
