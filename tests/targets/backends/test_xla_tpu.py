"""The XLA target beyond the contract: refusals, the loader without torch, the compiler's text."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from edgepress import targets
from edgepress.targets.errors import TargetError
from edgepress.targets.files import sha256_of
from edgepress.targets.process.quiet import quiet
from edgepress.targets.records import Precision, Signature, TensorSpec
from edgepress.targets.xla_tpu.compile import count_products, sizes_to_compile
from edgepress.targets.xla_tpu.lowering import refuse_missing
from tests.targets.tiny import Exported, make_model, text_signature

Export = Callable[..., Exported]
if targets.load("xla-tpu").probe().state == "missing":
    pytest.skip("the extra xla is not installed", allow_module_level=True)


def test_an_unknown_topology_is_refused_with_the_known_ones() -> None:
    with pytest.raises(TargetError, match="unknown topology 'v99'; there are v5e, v6e"):
        targets.load("xla-tpu", {"topologies": ["v99"]})


def test_an_unknown_option_is_refused_with_the_known_ones() -> None:
    with pytest.raises(TargetError, match=r"option 'warp'.*takes topologies, batches, sequences"):
        targets.load("xla-tpu", {"warp": 9})


def test_sizes_out_of_bounds_are_not_compiled_and_the_largest_stands_for_them() -> None:
    signature = text_signature({"batch": (1, 6), "sequence": (2, 24)})
    assert sizes_to_compile(signature, [1], [32, 128]) == [{"batch": 1, "sequence": 24}]
    assert sizes_to_compile(signature, [1, 9], [8, 16]) == [{"batch": 1, "sequence": 8}, {"batch": 1, "sequence": 16}]


def test_products_are_counted_by_the_type_they_multiply() -> None:
    lines = ["%a = s8[2,2] x()", "%b = bf16[2,2] x()", "%c = f32[2,2] x()"]
    lines += [f"%p{name} = s32[2,2]{{1,0}} convolution(%{name}, %{name}), dim_labels=bf" for name in "abc"]
    assert count_products("\n".join(lines)) == {"int8": 1, "half": 1, "float": 1}


def test_missing_operations_are_all_listed_each_with_its_module() -> None:
    class Eigen(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.linalg.eigh(x @ x.mT)[0]

    class Inverse(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.erfinv(x)

    module = torch.nn.Sequential(Eigen(), Inverse())
    with quiet():
        program = torch.export.export(module, (torch.ones(2, 3, 3),)).run_decompositions()
    with pytest.raises(TargetError) as caught:
        refuse_missing(program)
    assert str(caught.value) == (
        "xla-tpu has no form of aten._linalg_eigh.default (in module '0', Eigen), aten.erfinv.default (in module '1', "
        "Inverse). Replace these operations in the model, or use the 'pytorch' target."
    )


def test_half_precision_of_ieee_is_not_offered() -> None:
    assert targets.load("xla-tpu").candidates(make_model("bert"), "fp16") == ()


def test_every_dimension_of_an_image_has_a_size_to_compile() -> None:
    pixels = TensorSpec(name="pixel_values", dtype="float32", shape=("batch", 1, 16, 16))
    signature = Signature(inputs=(pixels,), outputs=(), bounds={"batch": (2, 6)})
    assert sizes_to_compile(signature, [1], [32]) == [{"batch": 6}]


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("bf16", 0.1), ("int8", 0.3)])
def test_the_loader_gives_the_logits_of_torch_where_only_jax_is(
    precision: Precision, tolerance: float, exported: Export, tmp_path: Path
) -> None:
    case = exported("xla-tpu", "bert", targets.load("xla-tpu").candidates(make_model("bert"), precision)[0])
    feeds = case.calibration[0]
    np.savez(tmp_path / "in.npz", **{name: value.astype(np.int32) for name, value in feeds.items()})  # type: ignore[arg-type]
    script = (
        "import sys; sys.modules.update(dict.fromkeys(['torch', 'safetensors', 'targets']));"
        "import numpy as np, load_model; f = np.load(sys.argv[1]);"
        "np.save(sys.argv[2], np.asarray(load_model.load()(f['input_ids'], f['attention_mask'])))"
    )
    environment = {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(case.folder), "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-B", "-c", script, str(tmp_path / "in.npz"), str(tmp_path / "out.npy")]
    subprocess.run(command, check=True, env=environment, timeout=120)
    with torch.inference_mode():
        want = case.model.module(*map(torch.from_numpy, feeds.values())).numpy()
    difference = np.abs(np.load(tmp_path / "out.npy") - want).max()
    assert difference <= tolerance * np.abs(want).max()


@pytest.mark.slow
def test_the_manifest_says_what_the_program_was_made_with_and_takes(exported: Export) -> None:
    case = exported("xla-tpu", "bert", targets.load("xla-tpu").candidates(make_model("bert"), "fp32")[0])
    manifest = json.loads((case.folder / "manifest.json").read_text())
    assert manifest["inputs"] == ["int32[batch,sequence]"] * 2
    assert manifest["platforms"] == ["tpu", "cpu"] and manifest["matmul_precision"] == "highest"
    assert manifest["weights_sha256"] == sha256_of(case.folder / "weights.safetensors")
    assert re.fullmatch(r"\d+\.\d+\.\d+", manifest["stablehlo"]) and manifest["topologies"] == ["v5e", "v6e"]


OFFLINE = """
import sys
from pathlib import Path
from edgepress import targets
from tests.targets.tiny import make_calibration, make_model

model = make_model("resnet")
target = targets.load("xla-tpu")
candidate = target.candidates(model, "bf16")[0]
artifact = target.export(model, make_calibration(model.signature), candidate, Path(sys.argv[1]))
print([build.hardware for build in artifact.builds])
"""


@pytest.mark.slow
def test_without_a_network_and_its_variables_the_compilation_ends(root: Path, tmp_path: Path) -> None:
    """The look-ups of the metadata server hang for minutes where nothing keeps libtpu from them."""
    if targets.load("xla-tpu").probe().reason.find("libtpu") < 0:
        pytest.skip("libtpu is not installed")
    cut = ["unshare", "--user", "--map-root-user", "--net"]
    works = shutil.which("unshare") and subprocess.run([*cut, "true"], capture_output=True).returncode == 0
    command = [*(cut if works else []), sys.executable, "-c", OFFLINE, str(tmp_path / "new")]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(root), "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    told = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=150, cwd=tmp_path)
    assert told.returncode == 0, told.stderr[-2000:]
    assert told.stdout.strip() == "['TPU v5e', 'TPU v6e']"
