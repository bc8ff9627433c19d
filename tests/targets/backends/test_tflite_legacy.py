"""Files for tflite-runtime 2.14: run there, in an environment of its own, with the same numbers as torch."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from edgepress import targets
from edgepress.targets.errors import TargetError
from edgepress.targets.records import Artifact, Candidate
from tests.targets.tiny import make_calibration, make_model

pytestmark = pytest.mark.slow
LEGACY = {"compatibility": "legacy"}
# Least SQNR in dB on the old runtime, whose int8 kernels round differently.
LEAST = {"fp32": 80, "fp16": 50, "int8": 25}
RUN = """
import sys
from pathlib import Path
import numpy as np
import tflite_runtime
from edgepress import targets
from edgepress.targets.records import Artifact

assert tflite_runtime.__version__ == "2.14.0" and np.__version__ < "2"
for folder in map(Path, sys.argv[2:]):
    feeds = dict(np.load(sys.argv[1]))
    with targets.load("tflite-mobile").open(Artifact.read(folder / "artifact.json"), folder) as session:
        np.save(folder / "logits.npy", session.infer(feeds)["logits"])
"""
READ_METADATA = """
import json, sys
from tensorflow_lite_support.metadata import metadata_schema_py_generated as schema
from tensorflow_lite_support.metadata import schema_py_generated as tflite

model = tflite.ModelT.InitFromPackedBuf(open(sys.argv[1], "rb").read(), 0)
place = next(entry.buffer for entry in model.metadata if entry.name == b"TFLITE_METADATA")
data = bytes(model.buffers[place].data)
assert schema.ModelMetadata.ModelMetadataBufferHasIdentifier(data, 0)
graph = schema.ModelMetadataT.InitFromPackedBuf(data, 0).subgraphMetadata[0]
(image,), (logits,) = graph.inputTensorMetadata, graph.outputTensorMetadata
(norm,) = image.processUnits
print(json.dumps({
    "input": image.name.decode(),
    "mean": [float(x) for x in norm.options.mean], "std": [float(x) for x in norm.options.std],
    "color": image.content.contentProperties.colorSpace, "output": logits.name.decode(),
    "labels": [file.name.decode() for file in logits.associatedFiles], "kind": logits.associatedFiles[0].type,
}))
"""


@pytest.fixture(scope="module")
def old_python(root: Path) -> Path:
    python = root / os.environ.get("EDGEPRESS_LEGACY_PYTHON", ".venv-legacy/bin/python")
    if not python.is_file():
        pytest.skip(f"{python} is missing: `make legacy` installs tflite-runtime 2.14 there (Python 3.11 only)")
    return python


@pytest.fixture
def packages(root: Path, tmp_path: Path) -> Path:
    """A folder that the old Python imports `edgepress` from, which is not installed there."""
    home = tmp_path / "packages" / "edgepress"
    home.mkdir(parents=True)
    for folder in ("compress", "targets", "benchmarks"):
        (home / folder).symlink_to(root / folder)
    return home.parent


@pytest.mark.parametrize("kind", ["bert", "resnet"])
def test_the_old_runtime_gives_the_logits_of_torch(kind: str, old_python: Path, packages: Path, tmp_path: Path) -> None:
    target, model = targets.load("tflite-mobile", LEGACY), make_model(kind)
    calibration = make_calibration(model.signature)
    candidates = [one for precision in ("fp32", "fp16", "int8") for one in target.candidates(model, precision)]  # type: ignore[arg-type]
    artifacts = list(target.export_all(model, calibration, candidates, tmp_path))
    assert [type(artifact) for artifact in artifacts] == [Artifact] * len(candidates)
    np.savez(tmp_path / "feeds.npz", **calibration[0])  # type: ignore[arg-type]
    folders = [str(tmp_path / candidate.name) for candidate in candidates]
    command = [str(old_python), "-c", RUN, str(tmp_path / "feeds.npz"), *folders]
    told = subprocess.run(
        command, capture_output=True, text=True, timeout=120, env={**os.environ, "PYTHONPATH": str(packages)}
    )
    assert told.returncode == 0, told.stderr[-2000:]
    with torch.inference_mode():
        want = model.module(*map(torch.from_numpy, calibration[0].values())).numpy()
    for candidate, folder in zip(candidates, folders, strict=True):
        noise = ((np.load(Path(folder) / "logits.npy") - want) ** 2).sum()
        assert 10 * np.log10((want**2).sum() / noise) >= LEAST[candidate.precision], candidate.name


def test_what_the_old_runtime_would_refuse_is_refused_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model("bert")
    monkeypatch.setattr("edgepress.targets.tflite_mobile.target.TfliteMobile._seen", lambda self, model: model)
    with pytest.raises(
        TargetError, match=r"has operator GATHER_ND up to version 4, the model needs 5\. Replace that op"
    ):
        targets.load("tflite-mobile", LEGACY).export(
            model, make_calibration(model.signature), Candidate(name="fp32", precision="fp32"), tmp_path / "new"
        )


def test_what_the_old_runtime_would_compute_wrongly_is_refused_here(tmp_path: Path) -> None:
    model = make_model("resnet")
    candidate = Candidate(name="int8-dynamic", precision="int8", options={"scales": "run-time"})
    with pytest.raises(TargetError, match=r"tflite-runtime 2\.14 computes \w+ wrongly with float inputs and a scale"):
        targets.load("tflite-mobile", LEGACY).export(
            model, make_calibration(model.signature), candidate, tmp_path / "new"
        )


def test_the_metadata_table_is_read_by_the_formats_own_library(old_python: Path, tmp_path: Path) -> None:
    from edgepress.targets.records import Description
    from tests.targets.backends.test_tflite_mobile import Rows, rows

    pixels = Rows(torch.nn.Linear(8, 3))
    pixels.description = Description(labels=("cat", "dog", "owl"), mean=(0.5,), std=(0.25,))  # type: ignore[misc]
    targets.load("tflite-mobile").export(pixels, rows(), Candidate(name="fp32", precision="fp32"), tmp_path / "new")
    command = [str(old_python), "-c", READ_METADATA, str(tmp_path / "new" / "model.tflite")]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert told.returncode == 0, told.stderr[-2000:]
    assert json.loads(told.stdout) == {
        "input": "x", "mean": [0.5], "std": [0.25], "color": 2, "output": "logits", "labels": ["labels.txt"], "kind": 2,
    }  # fmt: skip
