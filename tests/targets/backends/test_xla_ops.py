"""Each operation of the table against torch's own, in fp32 and bf16."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from edgepress import targets
from edgepress.targets.errors import TargetError
from edgepress.targets.process.quiet import quiet

if targets.load("xla-tpu").probe().state == "missing":
    pytest.skip("the extra xla is not installed", allow_module_level=True)

IMAGE = (2, 4, 6, 6)


def kernel(*shape: int) -> torch.Tensor:
    """Numbers that all differ, so that no place can be taken for another."""
    count = math.prod(shape)
    return torch.arange(1.0, count + 1).sub(count / 3).div(count).reshape(shape)


CASES: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], tuple[int, ...]]] = {
    "avg_pool": (lambda x: F.avg_pool2d(x, 3, 2, 1), IMAGE),
    "avg_pool_unpadded": (lambda x: F.avg_pool2d(x, (3, 2), 1, (1, 0), count_include_pad=False), IMAGE),
    "avg_pool_divisor": (lambda x: F.avg_pool2d(x, 2, divisor_override=3), IMAGE),
    "adaptive_avg_pool": (lambda x: F.adaptive_avg_pool2d(x, 3), IMAGE),
    "max_pool": (lambda x: F.max_pool2d(x, 3, 2, 1), IMAGE),
    "max_pool_dilated": (lambda x: F.max_pool2d(x, 2, 1, 0, 2), IMAGE),
    "avg_pool_ceil": (lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True), IMAGE),
    "avg_pool_ceil_unpadded": (lambda x: F.avg_pool2d(x, 4, 3, 1, True, count_include_pad=False), IMAGE),
    "avg_pool_ceil_padded": (lambda x: F.avg_pool2d(x, 4, 3, 2, True), IMAGE),
    "avg_pool_1d": (lambda x: F.avg_pool1d(x, 3, 2, 1), (2, 4, 6)),
    "avg_pool_3d": (lambda x: F.avg_pool3d(x, 2), (1, 2, 4, 4, 4)),
    "max_pool_ceil": (lambda x: F.max_pool2d(x, 3, 2, ceil_mode=True), IMAGE),
    # 2 * 4 positions begin in the padding behind: torch leaves that window out.
    "max_pool_ceil_left_out": (lambda x: F.max_pool2d(x, 2, 3, 1, ceil_mode=True), (2, 4, 5, 7)),
    "max_pool_ceil_dilated": (lambda x: F.max_pool2d(x, 2, 2, 0, 2, ceil_mode=True), (2, 4, 7, 6)),
    "max_pool_1d": (lambda x: F.max_pool1d(x, 3, 2), (2, 4, 7)),
    "adaptive_avg_pool_uneven": (lambda x: F.adaptive_avg_pool2d(x, (4, 5)), IMAGE),
    "adaptive_avg_pool_to_one": (lambda x: nn.AdaptiveAvgPool1d(1)(x.flatten(2).transpose(1, 2)), IMAGE),
    "adaptive_avg_pool_1d": (lambda x: F.adaptive_avg_pool1d(x, 4), (2, 4, 6)),
    "bilinear": (lambda x: F.interpolate(x, (9, 4), mode="bilinear"), IMAGE),
    "bilinear_corners": (lambda x: F.interpolate(x, (4, 9), mode="bilinear", align_corners=True), IMAGE),
    "bilinear_factor": (lambda x: F.interpolate(x, scale_factor=1.4, mode="bilinear"), IMAGE),
    "nearest": (lambda x: F.interpolate(x, (9, 4), mode="nearest"), IMAGE),
    "nearest_factor": (lambda x: F.interpolate(x, scale_factor=2.5, mode="nearest"), IMAGE),
    "transposed": (lambda x: F.conv_transpose2d(x, kernel(4, 3, 3, 2), kernel(3)), IMAGE),
    "transposed_strided": (lambda x: F.conv_transpose2d(x, kernel(4, 3, 3, 3), None, (2, 3), 1, (1, 2)), IMAGE),
    "transposed_grouped": (lambda x: F.conv_transpose2d(x, kernel(4, 3, 3, 3), kernel(6), 2, 1, 0, 2), IMAGE),
    "transposed_dilated": (lambda x: F.conv_transpose2d(x, kernel(4, 2, 3, 2), None, 2, 2, 1, 2, 3), IMAGE),
    "transposed_1d": (lambda x: F.conv_transpose1d(x, kernel(4, 3, 3), kernel(3), 2, 1, 1), (2, 4, 6)),
    "pad": (lambda x: F.pad(x, (1, 2, 0, -1), value=0.5), IMAGE),
    "relu6": (F.relu6, IMAGE),
    "hardswish": (F.hardswish, IMAGE),
    "hardsigmoid": (F.hardsigmoid, IMAGE),
    "silu": (F.silu, IMAGE),
    "elu": (F.elu, IMAGE),
    "leaky_relu": (F.leaky_relu, IMAGE),
    "gelu_tanh": (lambda x: F.gelu(x, approximate="tanh"), IMAGE),
    "softplus": (F.softplus, (3, 5)),
    "mish": (F.mish, (3, 5)),
    "group_norm": (lambda x: F.group_norm(x, 2), IMAGE),
    "layer_norm": (lambda x: F.layer_norm(x, (6,)), IMAGE),
    "variance": (lambda x: x.var((2, 3), keepdim=True), IMAGE),
    "norm": (lambda x: x.norm(p=2, dim=(1, 2), keepdim=True), IMAGE),
    "amax": (lambda x: x.amax((2, 3)), IMAGE),
    "amin": (lambda x: x.amin(1, keepdim=True), IMAGE),
    "argmax": (lambda x: x.argmax(1).float(), (3, 5)),
    "any": (lambda x: (x > 1).any(-1).float(), (3, 5)),
    "minimum": (lambda x: torch.minimum(x, x.flip(1)), (3, 5)),
    "maximum": (lambda x: torch.maximum(x, -x), (3, 5)),
    "clamp": (lambda x: x.clamp(min=-0.5), (3, 5)),
    "split": (lambda x: torch.split(x, [1, 3, 1], dim=1)[1], (3, 5)),
    "chunk": (lambda x: x.chunk(3, dim=1)[2], (3, 6)),
    "repeat": (lambda x: x.repeat(2, 3), (3, 5)),
    "squeeze": (lambda x: x[:, :1].squeeze(1), (3, 5)),
    "rounding": (lambda x: x.floor() + x.ceil() + x.round() + x.sign(), (3, 5)),
    "masked": (lambda x: x.masked_fill(x > 0, -1e9).softmax(-1), (3, 5)),
    "attention": (lambda x: F.scaled_dot_product_attention(x, x, x, x[..., :1].repeat(1, 1, 1, 6) > 0), IMAGE),
    "einsum": (lambda x: torch.einsum("bchw,bchv->bwv", x, x), IMAGE),
    "roll": (lambda x: x.roll(1, -1), (3, 5)),
    "steps_of_a_half": (lambda x: x + torch.arange(0.5, 3.0, 0.5), (3, 5)),
    "cumsum": (lambda x: x.cumsum(1), (3, 5)),
    "logs": (lambda x: (x.abs() + 1).log() + x.abs().log1p() + x.exp() + x.expm1(), (3, 5)),
}


class Call(torch.nn.Module):
    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


def lowered(function: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, floats: str) -> np.ndarray:
    import jax

    from edgepress.targets.xla_tpu.lowering import Lowering

    jax.config.update("jax_platforms", "cpu")
    with quiet():
        program = torch.export.export(Call(function).eval(), (x,)).run_decompositions()
    return np.asarray(Lowering(program, floats).function()({}, jax.numpy.asarray(x.numpy())), np.float32)


@pytest.mark.parametrize("name", CASES)
def test_it_computes_what_torch_computes(name: str) -> None:
    function, shape = CASES[name]
    x = torch.from_numpy(np.random.default_rng(0).standard_normal(shape).astype(np.float32))
    np.testing.assert_allclose(lowered(function, x, "float32"), function(x).numpy(), atol=2e-6, rtol=2e-5)


@pytest.mark.parametrize(
    "name",
    [
        "avg_pool",
        "max_pool",
        "max_pool_ceil",
        "bilinear",
        "transposed_grouped",
        "pad",
        "relu6",
        "group_norm",
        "elu",
        "masked",
    ],
)
def test_bfloat16_stays_bfloat16_close(name: str) -> None:
    function, shape = CASES[name]
    x = torch.from_numpy(np.random.default_rng(0).standard_normal(shape).astype(np.float32)).bfloat16().float()
    np.testing.assert_allclose(lowered(function, x, "bfloat16"), function(x).numpy(), atol=0.03, rtol=0.02)


class Steps(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.as_strided((2, 3), (1, 2))


def test_what_has_no_form_is_said_with_its_module() -> None:
    with pytest.raises(TargetError) as caught:
        lowered(nn.Sequential(Steps()), torch.ones(2, 3), "float32")
    assert str(caught.value) == (
        "xla-tpu has no form of aten.as_strided.default as it is used (in module 'function.0', Steps): "
        "only a change of shape has a form, not steps [1, 2] over [2, 3]"
    )


def test_a_transposed_convolution_multiplies_each_input_with_its_kernel() -> None:
    import jax

    from edgepress.targets.xla_tpu.lowering import Lowering, Macs

    layer = nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2, bias=False).eval()
    with quiet():
        program = torch.export.export(layer, (torch.ones(1, 4, 5, 5),)).run_decompositions()
    macs = Macs()
    weight = layer.weight.detach().numpy()
    jax.eval_shape(Lowering(program, "float32").function(macs), {"weight": weight}, np.ones((1, 4, 5, 5), np.float32))
    # 4 x 5 x 5 inputs, each with 3 outputs of 3 x 3 places.
    assert (macs.int8, macs.other) == (0, 100 * 27)
