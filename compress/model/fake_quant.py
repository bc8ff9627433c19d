"""Fake quantization: values rounded to the grid that int8 arithmetic has, in floating point, with a gradient.

An activation x in `[low, high]` is x' = s (q - z), q = clip(round(x / s) + z, 0, 255) with s = (high - low) / 255 and
z = round(-low / s), as ONNX Runtime and TensorFlow Lite multiply it; symmetric about zero it is q in -127..127 with
s = max(-low, high) / 127 and z = 0, as TensorRT and XLA do. A weight is symmetric by output channel, s = max|w| / 127.
The gradient passes where nothing is clipped and is zero elsewhere (straight-through, arXiv 1308.3432).

References: arXiv 1712.05877 (observed ranges), 1902.08153 (learned step size), 1903.08066 (its logarithm).
"""

from __future__ import annotations

import math

import torch
from torch import nn

AFFINE, SYMMETRIC = 256, 255
"""Levels of an activation: all 256 of 8 bits with a zero point, or 255 about zero."""
LARGEST = 127
SMALLEST_STEP = 1e-10


def grid(low: torch.Tensor, high: torch.Tensor, levels: int) -> tuple[torch.Tensor, torch.Tensor, int, int]:
    """The grid of a range: step s, zero point z (int32), lowest and highest code. Zero is always on it.

    >>> step, zero, lowest, highest = grid(torch.tensor(-1.0), torch.tensor(4.1), AFFINE)
    >>> round(float(step), 6), int(zero), lowest, highest
    (0.02, 50, 0, 255)

    Args:
        low: the lower end, a number.
        high: the upper end.
        levels: AFFINE or SYMMETRIC.
    """
    low, high = low.clamp(max=0), high.clamp(min=0)
    if levels == SYMMETRIC:
        step = (torch.maximum(-low, high) / LARGEST).clamp(min=SMALLEST_STEP)
        return step, torch.zeros_like(step, dtype=torch.int32), -LARGEST, LARGEST
    step = ((high - low) / (levels - 1)).clamp(min=SMALLEST_STEP)
    return step, (-low / step).round().clamp(0, levels - 1).to(torch.int32), 0, levels - 1


def learned_step(x: torch.Tensor, step: torch.Tensor, lowest: int, highest: int, share: float) -> torch.Tensor:
    """LSQ (arXiv 1902.08153): x' = s * round(clip(x / s, -Q_N, Q_P)), whose gradient reaches the step too:

        dx'/ds = round(x / s) - x / s  where -Q_N < x / s < Q_P, else -Q_N or Q_P,

    times `share`; dx'/dx is 1 inside and 0 outside.

    >>> x, step = torch.tensor([0.7, 3.0]), torch.tensor(1.0, requires_grad=True)
    >>> learned_step(x, step, -2, 2, 1.0).sum().backward()
    >>> round(float(step.grad), 6)  # 1 - 0.7 of the first, Q_P of the second
    2.3

    Args:
        x: of any shape.
        step: s > 0, a number or of a shape that spreads over that of `x`.
        lowest: -Q_N.
        highest: Q_P.
        share: what the step's gradient is multiplied by; the paper's is 1 / sqrt(N Q_P), for N values with one step.
    """
    scaled = step * share
    step = step.detach() + (scaled - scaled.detach())
    ratio = (x / step).clamp(lowest, highest)
    return (ratio + (ratio.round() - ratio).detach()) * step


def channel_steps(weight: torch.Tensor, axis: int) -> torch.Tensor:
    """max|w| / 127 of each output channel `[channels]`, without a gradient.

    >>> channel_steps(torch.tensor([[1.27, -0.5], [0.0, -2.54]]), 0).tolist()
    [0.009999999776482582, 0.019999999552965164]

    Args:
        weight: of a layer.
        axis: its output channels.
    """
    others = [other for other in range(weight.dim()) if other != axis]
    return (weight.detach().abs().amax(others) / LARGEST).clamp(min=SMALLEST_STEP)


class InputRange(nn.Module):
    """Fake quantization of an activation, one range for the whole tensor; layers that read one tensor share it."""

    levels: int

    def ends(self) -> tuple[float, float]:
        """The range as targets are told it."""
        raise NotImplementedError


class ObservedInput(InputRange):
    """A range that follows what it sees (arXiv 1712.05877, section 3.1): low += m (min(x) - low), high alike, in
    training while `observing`; then it stays."""

    low: torch.Tensor
    high: torch.Tensor

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.levels, self.observing, self.momentum = levels, False, 0.0
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))

    def start(self, low: float, high: float) -> None:
        """Begin with a range that was calibrated."""
        self.low.fill_(low)
        self.high.fill_(high)

    def ends(self) -> tuple[float, float]:
        return float(self.low), float(self.high)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training and self.observing:
            with torch.no_grad():
                self.low += self.momentum * (x.min() - self.low)
                self.high += self.momentum * (x.max() - self.high)
        step, zero, lowest, highest = grid(self.low, self.high, self.levels)
        return torch.fake_quantize_per_tensor_affine(x.float(), step, zero, lowest, highest).to(x.dtype)


class LearnedInput(InputRange):
    """A step that is trained, with the zero point it started with: Q_N = z and Q_P = 255 - z codes below and above
    zero, 127 both where the range is symmetric. N are the values of one row.

    Its logarithm is the parameter: Adam's steps do not depend on the gradient's size, and one of the learning rate
    would be many times a small step itself (arXiv 1903.08066).
    """

    zero: torch.Tensor

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.levels = levels
        self.log_step = nn.Parameter(torch.zeros(()))
        self.register_buffer("zero", torch.zeros((), dtype=torch.int32))

    def start(self, low: float, high: float) -> None:
        """Begin with a range that was calibrated."""
        step, zero, _, _ = grid(torch.tensor(low), torch.tensor(high), self.levels)
        with torch.no_grad():
            self.log_step.copy_(step.log())
            self.zero.copy_(zero)

    def codes(self) -> tuple[int, int]:
        """Lowest and highest code, -Q_N and Q_P."""
        if self.levels == SYMMETRIC:
            return -LARGEST, LARGEST
        return -int(self.zero), self.levels - 1 - int(self.zero)

    def ends(self) -> tuple[float, float]:
        step, (lowest, highest) = float(self.log_step.detach().exp()), self.codes()
        return lowest * step, highest * step

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        lowest, highest = self.codes()
        share = 1 / math.sqrt(x[0].numel() * max(-lowest, highest))
        return learned_step(x.float(), self.log_step.exp(), lowest, highest, share).to(x.dtype)


class WeightGrid(nn.Module):
    """Fake quantization of a weight, by output channel; `axis` is theirs."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis

    def start(self, weight: torch.Tensor) -> None:
        """Begin with max|w| / 127."""

    def constrain(self, weight: torch.Tensor) -> None:
        """Bring what was trained back to what can be exported; called after each step."""


class ObservedWeight(WeightGrid):
    """The step is max|w| / 127 at any moment: nothing is clipped."""

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        steps = channel_steps(weight, self.axis).float()
        zeros = torch.zeros_like(steps, dtype=torch.int32)
        rounded = torch.fake_quantize_per_channel_affine(weight.float(), steps, zeros, self.axis, -LARGEST, LARGEST)
        return rounded.to(weight.dtype)


class LearnedWeight(WeightGrid):
    """A trained step for each channel, N its weights. It never exceeds max|w| / 127: levels would be wasted, and
    targets, which take the step from the largest weight, would find another one."""

    def __init__(self, axis: int, channels: int) -> None:
        super().__init__(axis)
        self.log_step = nn.Parameter(torch.zeros(channels))

    def start(self, weight: torch.Tensor) -> None:
        with torch.no_grad():
            self.log_step.copy_(channel_steps(weight, self.axis).log())

    def constrain(self, weight: torch.Tensor) -> None:
        with torch.no_grad():
            torch.minimum(self.log_step, channel_steps(weight, self.axis).log(), out=self.log_step.data)

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        own, most = self.log_step.exp(), channel_steps(weight, self.axis)
        steps = torch.where(own <= most * (1 + 1e-6), own, most)
        spread = [1] * weight.dim()
        spread[self.axis] = -1
        share = 1 / math.sqrt(weight.numel() / len(steps) * LARGEST)
        return learned_step(weight.float(), steps.view(spread), -LARGEST, LARGEST, share).to(weight.dtype)
