"""Zeros among weights: counted in the files of every target, and still two of each four where they were made so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save_file

from edgepress import targets
from edgepress.compress.methods.prune.sparse.masks import n_of_m
from edgepress.compress.model.model import Model
from edgepress.compress.model.sparsity import count_zeros as zeros_in_torch
from edgepress.targets.graph.zeros import count_zeros as zeros_in_safetensors
from edgepress.targets.onnx_graph.zeros import Pattern, count_zeros, pattern_of
from edgepress.targets.records import Artifact, WeightCount
from tests.targets.tiny import make_calibration, make_model

make = helper.make_node
ONNX_FILES = ("onnxruntime-cpu", "tensorrt-gpu")
ROWS = np.array([[1, 0, 0, 2, 0, 3, 4, 0], [0, 1, 2, 0, 0, 0, 0, 5]], np.float32)  # two of four in each group


def save(path: Path, nodes: list[onnx.NodeProto], **weights: np.ndarray) -> Path:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", "y")]
    constants = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]), path)
    return path


def test_weights_are_constants_of_two_dimensions_whose_zero_is_their_zero_point(tmp_path: Path) -> None:
    nodes = [
        make("DequantizeLinear", ["q", "s", "p"], ["w"], axis=1),
        make("MatMul", ["x", "w"], ["m"]),
        make("Add", ["m", "bias"], ["a"]),
        make("MatMul", ["a", "f"], ["y"]),
    ]
    q = np.array([[3, 0, 7], [3, 5, 7]], np.int8)  # zero points by column: 3, 0 and 0
    path = save(
        tmp_path / "m.onnx", nodes, q=q, s=np.ones(3, np.float32), p=np.array([3, 0, 0], np.int8),
        bias=np.zeros(3, np.float32), f=np.array([[0, 1], [2, 0], [0, 3]], np.float32),
        shape=np.zeros((2, 2), np.int64),
    )  # fmt: skip
    assert count_zeros(path) == WeightCount(weights=12, zeros=3 + 3)
    assert WeightCount(weights=12, zeros=6).share == 0.5


def test_a_pattern_is_looked_for_along_the_axis_that_a_product_sums_over(tmp_path: Path) -> None:
    kernel = ROWS.reshape(2, 8, 1, 1)
    cases = {
        "matmul": ([make("MatMul", ["x", "w"], ["y"])], {"w": ROWS.T.copy()}),
        "gemm": ([make("Gemm", ["x", "w"], ["y"], transB=1)], {"w": ROWS}),
        "conv": ([make("Conv", ["x", "w"], ["y"])], {"w": kernel}),
        "int8": (
            [make("DequantizeLinear", ["q", "s", "z"], ["d"]), make("Transpose", ["d"], ["w"], perm=[1, 0]),
             make("MatMul", ["x", "w"], ["y"])],
            {"q": ROWS.astype(np.int8), "s": np.array(1, np.float32), "z": np.array(0, np.int8)},
        ),
    }  # fmt: skip
    for name, (nodes, weights) in cases.items():
        path = save(tmp_path / f"{name}.onnx", nodes, **weights)
        assert pattern_of(path, 2, 4) == Pattern(n=2, m=4, products=1, fitting=1), name
        assert pattern_of(path, 1, 4).fitting == 0 and pattern_of(path, 2, 5).fitting == 0, name
    across = save(tmp_path / "a.onnx", [make("MatMul", ["x", "w"], ["y"])], w=ROWS)
    assert pattern_of(across, 2, 4).fitting == 0  # two inputs: no group of four


def test_zeros_of_a_safetensors_file_are_those_of_its_matrices(tmp_path: Path) -> None:
    tensors = {
        "w": torch.tensor([[0.0, 1.0], [2.0, 0.0]]).bfloat16(), "b": torch.zeros(3),
        "q": torch.tensor([[0, 1, 2]], dtype=torch.int8), "places": torch.zeros(2, 2, dtype=torch.int64),
    }  # fmt: skip
    save_file(tensors, tmp_path / "w.safetensors")
    assert zeros_in_safetensors(tmp_path / "w.safetensors") == WeightCount(weights=7, zeros=3)


def two_of_four(kind: str) -> Model:
    """Each layer whose inputs four divides."""
    model = make_model(kind)
    with torch.no_grad():
        for module in model.network.modules():
            if isinstance(module, torch.nn.Linear | torch.nn.Conv2d) and not module.weight.shape[1] % 4:
                module.weight.mul_(n_of_m(module.weight, 2, 4))
    return model


def _cases() -> list[object]:
    """(target, model kind): converters that start a process of their own are slow, and take one kind."""
    there = [name for name, state in targets.probe_all().items() if state.state != "missing"]
    onnx_files = [(name, kind) for name in there if name in ONNX_FILES for kind in ("bert", "resnet")]
    return onnx_files + [
        pytest.param(name, "resnet", marks=pytest.mark.slow) for name in there if name not in ONNX_FILES
    ]


@pytest.mark.parametrize(("name", "kind"), _cases())
def test_no_export_in_any_precision_loses_a_zero(name: str, kind: str, tmp_path: Path) -> None:
    target, model = targets.load(name), two_of_four(kind)
    calibration = make_calibration(model.signature)
    wanted = [found[0] for one in ("fp32", "int8") if (found := target.candidates(model, one))]
    made = list(target.export_all(model, calibration, wanted, tmp_path))
    there = zeros_in_torch(model.network)
    assert there.share > 0.3 and len(made) == len(wanted)
    for artifact in made:
        assert isinstance(artifact, Artifact), artifact
        found = target.zeros(artifact, tmp_path / artifact.name)
        assert found is not None and found.zeros >= there.zeros, artifact.name
        if (file := tmp_path / artifact.name / "model.onnx").is_file():
            pattern = pattern_of(file, 2, 4)
            # A network's first convolution reads one channel; all others, and the classifier, keep the pattern.
            assert pattern.fitting == pattern.products - (kind == "resnet") > 0, artifact.name
        if name == "tensorrt-gpu":
            assert (
                f"2:4 sparse along the inputs: {pattern.fitting} of {pattern.products} products" in artifact.notes[-1]
            )
