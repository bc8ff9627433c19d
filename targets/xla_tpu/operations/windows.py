"""Core-ATen operations that slide a window over an image, as jax ones: convolution, pooling, padding."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgepress.targets.xla_tpu.operations.kit import Kit


def convolution(
    kit: Kit,
    x: Any,
    weight: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    transposed: bool,
    output_padding: Any,
    groups: int,
) -> Any:
    """aten.convolution, of one to three dimensions; int8 factors give int32.

    Args:
        kit: jax's modules.
        x: `[batch, in, *sizes]`.
        weight: `[out, in / groups, *kernel]`; of a transposed one `[in, out / groups, *kernel]`.
        bias: `[out]`, or None.
        stride: steps of the window, one number or one a dimension.
        padding: zeros on either side, the same.
        dilation: distance of the kernel's places, the same.
        transposed: whether it is the gradient of a convolution.
        output_padding: what a transposed one is longer by at its end.
        groups: parts of the channels that know nothing of each other.
    """
    rank = x.ndim - 2
    stride, padding, dilation = (_each(sizes, rank) for sizes in (stride, padding, dilation))
    integer = weight.dtype == kit.jnp.int8
    window: dict[str, Any] = {"rhs_dilation": dilation, "feature_group_count": groups}
    if transposed:
        # The convolution whose gradient it is: steps become gaps in the input, the kernel is turned about.
        reach = [gap * (size - 1) for gap, size in zip(dilation, weight.shape[2:], strict=True)]
        ends = zip(reach, padding, _each(output_padding, rank), strict=True)
        window |= {"lhs_dilation": stride, "window_strides": (1,) * rank}
        window |= {"padding": [(far - cut, far - cut + more) for far, cut, more in ends]}
        weight = turned(kit, weight, groups)
    else:
        window |= {"window_strides": stride, "padding": [(size, size) for size in padding]}
    kind = {"preferred_element_type": kit.jnp.int32} if integer else {"precision": kit.precision}
    result = kit.lax.conv_general_dilated(x, weight, **window, **kind)
    return result if bias is None else result + bias.reshape((1, -1) + (1,) * rank)


def turned(kit: Kit, weight: Any, groups: int) -> Any:
    """A transposed convolution's `weight` `[in, out / groups, *sizes]` as `[out, in / groups, *sizes]`, mirrored, which
    is how `kit`'s convolution takes it."""
    inner, outer, *sizes = weight.shape
    grouped = kit.jnp.swapaxes(weight.reshape(groups, inner // groups, outer, *sizes), 1, 2)
    mirrored = kit.jnp.flip(grouped, tuple(range(3, 3 + len(sizes))))
    return mirrored.reshape(groups * outer, inner // groups, *sizes)


def max_pool(
    kit: Kit, x: Any, size: Any, stride: Any = (), padding: Any = (0,), dilation: Any = (1,), ceil: bool = False
) -> Any:
    """aten.max_pool: `x` `[batch, channels, *sizes]`, a window of `size` each `stride`, `padding` of minus infinity,
    `dilation` between its places; `ceil` keeps a last window that is cut off. `kit` has jax's modules."""
    window = Window.of(x, size, stride, padding, dilation)
    pooled = kit.lax.reduce_window(
        x, -kit.jnp.inf, kit.lax.max, *window.steps(), window.pads(x, ceil), window_dilation=(1, 1, *window.dilation)
    )
    return (pooled,)


def avg_pool(
    kit: Kit,
    x: Any,
    size: Any,
    stride: Any = (),
    padding: Any = (0,),
    ceil: bool = False,
    count_padding: bool = True,
    divisor: Any = None,
) -> Any:
    """aten.avg_pool: as `max_pool`, with `padding` of zeros, that count in the mean where `count_padding`; or the sum
    over a `divisor` of one's own. Sums are in float32: bf16 would lose the small addends of a large window.

    Args:
        kit: jax's modules.
        x: `[batch, channels, *sizes]`.
        size: of the window, one number or one a dimension.
        stride: steps of the window, the same; empty for those of `size`.
        ceil: keeps a last window that is cut off.
    """
    window = Window.of(x, size, stride, padding, (1,))
    pads = window.pads(x, ceil)

    def sums(values: Any, widths: Any) -> Any:
        return kit.lax.reduce_window(values, 0.0, kit.lax.add, *window.steps(), widths)

    wide = x.astype(kit.jnp.float32)
    if divisor is not None:
        return (sums(wide, pads) / divisor).astype(x.dtype)
    if count_padding and not ceil:
        return (sums(wide, pads) / math.prod(window.size)).astype(x.dtype)
    ones = kit.jnp.ones((1, 1, *x.shape[2:]), kit.jnp.float32)
    if count_padding:
        # What ceil_mode adds behind the padding counts for nothing.
        own = [(0, 0), (0, 0), *((one, one) for one in window.padding)]
        ones = kit.jnp.pad(ones, own, constant_values=1)
        rest = [(low - one, high - other) for (low, high), (one, other) in zip(pads, own, strict=True)]
        return (sums(wide, pads) / sums(ones, rest)).astype(x.dtype)
    return (sums(wide, pads) / sums(ones, pads)).astype(x.dtype)


@dataclass(frozen=True)
class Window:
    """A pooling's window over the last dimensions, a number for each of them."""

    size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]

    @classmethod
    def of(cls, x: Any, size: Any, stride: Any, padding: Any, dilation: Any) -> Window:
        """The window with one number for each dimension behind batch and channels.

        Args:
            x: `[batch, channels, *sizes]`.
            size: of the window, one number or one a dimension.
            stride: its steps, the same; empty for those of `size`.
            padding: places added on either side, the same.
            dilation: distance of the window's places, the same.
        """
        return cls(*(_each(numbers, x.ndim - 2) for numbers in (size, stride or size, padding, dilation)))

    def steps(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        return (1, 1, *self.size), (1, 1, *self.stride)

    def pads(self, x: Any, ceil: bool) -> list[tuple[int, int]]:
        """Zeros before and after each dimension; with `ceil` enough behind for a last window that is cut off.

        A window that would start in the padding behind is left out, as torch does.
        """
        widths = [(0, 0), (0, 0), *((one, one) for one in self.padding)]
        if not ceil:
            return widths
        rows = zip(x.shape[2:], self.size, self.stride, self.padding, self.dilation, strict=True)
        for place, (length, size, step, pad, gap) in enumerate(rows, start=2):
            reach = gap * (size - 1) + 1
            last = -(-(length + 2 * pad - reach) // step)
            last -= last * step >= length + pad
            widths[place] = (pad, max(pad, last * step + reach - length - pad))
        return widths


def pad(kit: Kit, x: Any, sizes: Sequence[int], value: float = 0.0) -> Any:
    """torch names the last dimension first; a negative size cuts.

    Args:
        kit: jax's modules.
        x: an array of any shape.
        sizes: (before, after) of the last dimension, then of the one before it, and so on.
        value: what is put there.
    """
    widths = [(0, 0, 0)] * x.ndim
    for place in range(len(sizes) // 2):
        widths[x.ndim - 1 - place] = (sizes[2 * place], sizes[2 * place + 1], 0)
    return kit.lax.pad(x, kit.scalar(value, x.dtype), widths)


def _each(sizes: Sequence[int], rank: int) -> tuple[int, ...]:
    """One number stands for all dimensions."""
    return (sizes[0],) * rank if len(sizes) == 1 else tuple(sizes)
