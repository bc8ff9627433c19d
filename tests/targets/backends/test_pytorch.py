from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import Tensor, nn

from edgepress.targets.errors import TargetError
from edgepress.targets.graph.torch_graph import save_graph
from edgepress.targets.pytorch import count_macs, load_program
from edgepress.targets.records import Candidate, Signature, TensorSpec
from tests.targets.tiny import Exported

FP32 = Candidate(name="fp32", precision="fp32")


def macs(module: nn.Module, *shape: int) -> int:
    x = TensorSpec(name="x", dtype="float32", shape=shape)
    model: Any = SimpleNamespace(module=module.eval(), signature=Signature(inputs=(x,), outputs=(), bounds={}))
    return count_macs(model, {"x": np.zeros(shape, np.float32)})


class Attention(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x @ x.transpose(1, 2)).softmax(-1) @ x


def test_macs_of_a_linear_layer() -> None:
    assert macs(nn.Linear(5, 7), 2, 3, 5) == 2 * 3 * 5 * 7


def test_macs_of_a_convolution() -> None:
    # 4 x 4 outputs, each of 3 x 3 x 2 products, in 6 channels.
    assert macs(nn.Conv2d(2, 6, 3), 1, 2, 6, 6) == 4 * 4 * 3 * 3 * 2 * 6


def test_macs_of_attention_count_both_products_of_activations() -> None:
    assert macs(Attention(), 2, 10, 4) == 2 * (10 * 10 * 4 + 10 * 10 * 4)


def test_an_artifact_is_a_graph_and_weights_without_an_example(exported: Callable[..., Exported]) -> None:
    case = exported("pytorch", "bert", FP32)
    assert sorted(entry.path for entry in case.artifact.files) == ["graph.json", "weights.safetensors"]
    graph = json.loads((case.folder / "graph.json").read_text())
    assert set(graph) == {"format", "inputs", "weights", "calls", "output"}
    assert graph["inputs"] == 2
    # Weights and the constants of the graph; of the calibration nothing.
    stored = load_file(case.folder / "weights.safetensors")
    assert set(stored) == set(graph["weights"])
    assert {name for name, _ in case.model.module.named_parameters()} <= set(stored)


def test_a_loaded_program_answers_as_the_model_does(exported: Callable[..., Exported]) -> None:
    for kind in ("bert", "resnet"):
        comparison = exported("pytorch", kind, FP32).artifact.comparison
        assert (comparison.sqnr_db, comparison.agreement) == (None, 1.0)  # no bit differs


class Scaled(nn.Module):
    """What torch.export wraps: a block without gradients; tied weights; a size in an expression; infinity; a list."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
        self.two.weight = self.one.weight

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            y = self.two(self.one(x))
        left, right = y.split([3, 1], dim=1)
        largest = torch.maximum(left, torch.full_like(left, -torch.inf)) + right
        return largest * (2 * x.shape[0] + 1)


def test_blocks_tied_weights_sizes_and_infinity_are_saved_and_read_back(tmp_path: Path) -> None:
    module = Scaled().eval()
    batch = torch.export.Dim("batch", min=1, max=6)
    save_graph(torch.export.export(module, (torch.ones(2, 4),), dynamic_shapes=({0: batch},), strict=False), tmp_path)
    x = torch.arange(20.0).reshape(5, 4)
    assert torch.equal(load_program(tmp_path)(x), module(x))
    assert list(load_file(tmp_path / "weights.safetensors")) == ["one.weight"]


@torch.library.custom_op("edgepress_tests::thrice", mutates_args=())
def thrice(x: Tensor) -> Tensor:
    return x * 3


@thrice.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


class Custom(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.edgepress_tests.thrice(x)  # type: ignore[no-any-return]


def test_an_operation_of_a_library_of_the_users_own_is_named_with_its_module(tmp_path: Path) -> None:
    program = torch.export.export(nn.Sequential(Custom()), (torch.ones(2, 4),), strict=False)
    told = r"pytorch has no form of edgepress_tests\.thrice\.default \(in module '0', Custom\): only PyTorch's own"
    with pytest.raises(TargetError, match=told):
        save_graph(program, tmp_path)
