"""Models that a target cannot take: one line that names the operation and the module it stands in, for every target."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edgepress import targets
from edgepress.targets.errors import TargetError
from edgepress.targets.process.quiet import quiet
from edgepress.targets.records import Candidate, Description, Signature, TensorSpec

pytestmark = pytest.mark.slow
FP32 = Candidate(name="fp32", precision="fp32")
EXPORTING = [name for name, state in targets.probe_all().items() if state.state != "missing" and name != "pytorch"]


@torch.library.custom_op("edgepress_tests::twice", mutates_args=())
def twice(x: torch.Tensor) -> torch.Tensor:
    return x * 2


@twice.register_fake
def _(x: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(x)


class Custom(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.ops.edgepress_tests.twice(x)[:, :3]  # type: ignore[no-any-return]


class Eigen(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.linalg.eigh(x[:, :, None] * x[:, None, :])[0][:, :3]  # type: ignore[no-any-return]


class Branch(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :3] if x.sum() > 0 else -x[:, :3]


class Seen:
    """A module of `[batch, 8]` rows as targets see a model."""

    description = Description()

    def __init__(self, module: nn.Module, shape: tuple[int, ...] = (8,)) -> None:
        self.module = nn.Sequential(module).eval()
        inputs = (TensorSpec(name="x", dtype="float32", shape=("batch", *shape)),)
        outputs = (TensorSpec(name="logits", dtype="float32", shape=("batch", 3)),)
        self.signature = Signature(inputs=inputs, outputs=outputs, bounds={"batch": (1, 4)})

    def rows(self) -> list[dict[str, np.ndarray]]:
        shape = (4, *(int(size) for size in self.signature.inputs[0].shape[1:]))
        return [{"x": np.random.default_rng(0).standard_normal(shape).astype(np.float32)}]


def refusal(name: str, model: Seen, folder: Path) -> str:
    with pytest.raises(TargetError) as caught, quiet():
        targets.load(name).export(model, model.rows(), FP32, folder / "new")
    return str(caught.value)


@pytest.mark.parametrize("name", EXPORTING)
@pytest.mark.parametrize(("make", "operation"), [(Custom, "twice"), (Eigen, "eigh")])
def test_an_operation_that_it_lacks_is_named_with_its_module(
    name: str, make: Callable[[], nn.Module], operation: str, tmp_path: Path
) -> None:
    told = refusal(name, Seen(make()), tmp_path)
    assert "\n" not in told and operation in told
    assert f"in module '0', {make.__name__}" in told.replace("'1'", "'0'")


@pytest.mark.parametrize("name", EXPORTING)
def test_control_flow_that_depends_on_the_data_is_named_with_its_module_and_line(name: str, tmp_path: Path) -> None:
    told = refusal(name, Seen(Branch()), tmp_path)
    assert "\n" not in told and told.startswith("torch.export refused the model (in module '0', Branch): ")
    assert "(at forward, test_refusals.py line " in told


class Volume(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv3d(1, 3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x).mean((2, 3, 4))  # type: ignore[no-any-return]


class Peaks(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.adaptive_max_pool3d(x, 2).flatten(1)[:, :3]


@pytest.mark.parametrize("name", EXPORTING)
@pytest.mark.parametrize(("make", "refused_by"), [(Volume, ()), (Peaks, ("tflite-mobile", "xla-tpu"))])
def test_tensors_of_five_dimensions_are_exported_right_or_the_operation_is_named(
    name: str, make: Callable[[], nn.Module], refused_by: tuple[str, ...], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model = Seen(make(), (1, 4, 4, 4))
    if name in refused_by:
        told = refusal(name, model, tmp_path)
        assert "\n" not in told and "adaptive_max_pool3d" in told and "(in module '0', Peaks)" in told
    else:
        artifact = targets.load(name).export(model, model.rows(), FP32, tmp_path / "new")
        assert artifact.comparison.sqnr_db is None or artifact.comparison.sqnr_db >= 60


class Short(nn.Module):
    """It has a table of eight positions; the signature promises more."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.ones(8, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x[:, :, None] * self.table[: x.shape[1]]).sum(1)


@pytest.mark.parametrize("name", EXPORTING)
def test_bounds_that_the_model_cannot_hold_are_told_with_the_size_and_the_module(name: str, tmp_path: Path) -> None:
    model = Seen(Short())
    varying = TensorSpec(name="x", dtype="float32", shape=("batch", "length"))
    model.signature = model.signature.model_copy(
        update={"inputs": (varying,), "bounds": {"batch": (1, 4), "length": (2, 12)}}
    )
    with pytest.raises(TargetError) as caught:
        targets.load(name).export(model, [{"x": np.ones((4, 8), np.float32)}], FP32, tmp_path / "new")
    assert str(caught.value) == (
        "the torch model fails at batch 1, length 12 (in module '0', Short): RuntimeError: The size of tensor a (12) "
        "must match the size of tensor b (8) at non-singleton dimension 1. Change the bounds of its signature, or the "
        "model."
    )
