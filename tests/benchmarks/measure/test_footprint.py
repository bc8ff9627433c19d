from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from edgepress.benchmarks.measure import footprint
from edgepress.benchmarks.measure.footprint import compressed_bytes, energy_of, measure_footprint
from edgepress.targets.device.energy import Meter, Package
from edgepress.targets.records import Artifact, Candidate, Comparison, FileEntry, Signature, TensorSpec

# A target for the child process: opening it takes 50 MB, and its settings say how it fails.
FAKE = """
from contextlib import contextmanager
from edgepress import targets

class Session:
    def __init__(self, settings):
        self.settings, self.held = settings, bytearray(b"x") * 50_000_000
    def infer(self, feeds):
        if self.settings.get("fails"):
            raise RuntimeError("out of luck")
        return {"logits": next(iter(feeds.values()))}

class Heavy:
    name = "heavy"
    def __init__(self, options=None):
        pass
    def load_runtime(self):
        pass
    @contextmanager
    def open(self, artifact, folder, threads=1):
        yield Session(artifact.settings)

targets.TARGETS["heavy"] = "heavy_backend:Heavy"

def start(request):
    from edgepress.benchmarks.measure.footprint import start_here
    return start_here(request)
"""


@pytest.fixture
def heavy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "heavy_backend.py").write_text(FAKE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(footprint, "CHILD", "heavy_backend:start")
    save_file({"x": np.zeros((1, 4), np.float32)}, tmp_path / "feeds.safetensors")
    return tmp_path


def make_artifact(folder: Path, files: dict[str, bytes], settings: dict[str, object]) -> Path:
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    x = TensorSpec(name="x", dtype="float32", shape=("batch", 4))
    Artifact(
        name="a",
        target="heavy",
        candidate=Candidate(name="plain", precision="fp32"),
        precision="fp32",
        files=tuple(FileEntry.of(folder, name, shipped=name != "notes.txt") for name in files),
        signature=Signature(inputs=(x,), outputs=(), bounds={"batch": (1, 8)}),
        parameters=1,
        int8_mac_share=0,
        comparison=Comparison(samples=1, max_abs_diff=0, agreement=1, sqnr_db=None),
        settings=settings,
    ).write(folder / "artifact.json")
    return folder


def test_memory_of_the_artifact_is_told_apart_from_that_of_the_runtime(heavy: Path) -> None:
    folder = make_artifact(heavy / "a", {"model.bin": b"\0" * 100_000}, {})
    found = measure_footprint(folder, heavy / "feeds.safetensors", threads=1, timeout_s=60)
    assert found.failure == ""
    assert found.peak_memory_bytes is not None and found.runtime_memory_bytes is not None
    assert 45_000_000 < found.peak_memory_bytes - found.runtime_memory_bytes < 120_000_000
    assert found.cold_start_ms is not None and found.cold_start_ms > 1
    assert found.energy_mj is not None or found.energy_note.startswith("not measured: ")


def test_an_artifact_that_fails_has_a_reason_and_still_its_bytes(heavy: Path) -> None:
    folder = make_artifact(heavy / "a", {"model.bin": b"\0" * 100_000}, {"fails": True})
    found = measure_footprint(folder, heavy / "feeds.safetensors", threads=1, timeout_s=60)
    assert found.failure == "heavy_backend:start failed: RuntimeError: out of luck"
    assert found.cold_start_ms is None and found.zstd_bytes is not None


def test_a_download_counts_shipped_files_alone_and_zeros_are_nearly_free(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).bytes(10_000)
    folder = make_artifact(tmp_path / "a", {"zeros": b"\0" * 1_000_000, "noise": noise, "notes.txt": noise * 9}, {})
    artifact = Artifact.read(folder / "artifact.json")
    assert 10_000 < compressed_bytes(artifact, folder) < 10_400


def counters(root: Path, *counts: int) -> Meter:
    """Packages whose counters begin again at 1 J."""
    for number, count in enumerate(counts):
        (root / str(number)).write_text(f"{count}\n")
    return Meter(tuple(Package(root / str(number), 1_000_000) for number in range(len(counts))), "by counters")


def test_energy_of_a_call_is_that_of_all_packages_by_the_calls(tmp_path: Path) -> None:
    times = iter(range(99))

    def call() -> None:
        for number, more in ((0, 2_000), (1, 3_000)):
            path = tmp_path / str(number)
            path.write_text(str((int(path.read_text()) + more) % 1_000_000))

    found = energy_of(call, counters(tmp_path, 100, 999_000), 4, lambda: next(times) * 10**9)
    assert found == (pytest.approx(5.0), "by counters; 4 calls")


def test_energy_that_cannot_be_told_has_its_reason(tmp_path: Path) -> None:
    assert energy_of(lambda: None, Meter((), "not measured: no counters")) == (None, "not measured: no counters")
    still = energy_of(lambda: None, counters(tmp_path, 7), seconds=0.01)
    assert still == (None, "not measured: the RAPL counters stood still for 0.01 s")
