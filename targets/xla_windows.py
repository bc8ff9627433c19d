"""Core-ATen operations that slide a window over an image, as jax ones: convolution, pooling, padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from targets.errors import TargetError

if TYPE_CHECKING:
    from targets.xla_ops import Kit


def convolution(
    kit: Kit,
    x: Any,
    weight: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    transposed: bool,
    _: Any,
    groups: int,
) -> Any:
    if transposed:
        raise TargetError("xla-tpu has no form of a transposed convolution. Replace it in the model.")
    window = {
        "window_strides": stride,
        "padding": [(size, size) for size in padding],
        "rhs_dilation": dilation,
        "feature_group_count": groups,
    }
    integer = weight.dtype == kit.jnp.int8
    kind = {"preferred_element_type": kit.jnp.int32} if integer else {"precision": kit.precision}
    result = kit.lax.conv_general_dilated(x, weight, **window, **kind)
    return result if bias is None else result + bias.reshape((1, -1) + (1,) * (x.ndim - 2))


def max_pool(
    kit: Kit, x: Any, size: Any, stride: Any = (), padding: Any = (0,), dilation: Any = (1,), ceil: bool = False
) -> Any:
    _refuse_ceil(ceil)
    pads = ((0, 0), (0, 0), *((one, one) for one in _both(padding)))
    window, steps, holes = _both(size), _both(stride or size), _both(dilation)
    pooled = kit.lax.reduce_window(
        x, -kit.jnp.inf, kit.lax.max, (1, 1, *window), (1, 1, *steps), pads, window_dilation=(1, 1, *holes)
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
    _refuse_ceil(ceil)
    window, steps = (1, 1, *_both(size)), (1, 1, *_both(stride or size))
    pads = ((0, 0), (0, 0), *((one, one) for one in _both(padding)))

    def sums(values: Any) -> Any:
        return kit.lax.reduce_window(values, 0.0, kit.lax.add, window, steps, pads)

    wide = x.astype(kit.jnp.float32)
    if divisor is not None:
        return (sums(wide) / divisor).astype(x.dtype)
    if count_padding:
        return (sums(wide) / (window[2] * window[3])).astype(x.dtype)
    return (sums(wide) / sums(kit.jnp.ones_like(wide))).astype(x.dtype)


def adaptive_avg_pool(kit: Kit, x: Any, size: Sequence[int]) -> Any:
    high, wide = x.shape[2:]
    if high % size[0] or wide % size[1]:
        raise TargetError(
            f"xla-tpu has no form of an adaptive pooling from {high} x {wide} to {size[0]} x {size[1]}: "
            f"the windows are not all the same. Choose sizes that divide, or another input size."
        )
    blocks = x.astype(kit.jnp.float32).reshape(*x.shape[:2], size[0], high // size[0], size[1], wide // size[1])
    return blocks.mean((3, 5)).astype(x.dtype)


def pad(kit: Kit, x: Any, sizes: Sequence[int], value: float = 0.0) -> Any:
    """torch names the last dimension first; a negative size cuts."""
    widths = [(0, 0, 0)] * x.ndim
    for place in range(len(sizes) // 2):
        widths[x.ndim - 1 - place] = (sizes[2 * place], sizes[2 * place + 1], 0)
    return kit.lax.pad(x, kit.scalar(value, x.dtype), widths)


def _both(sizes: Sequence[int]) -> tuple[int, int]:
    return (sizes[0], sizes[0]) if len(sizes) == 1 else (sizes[0], sizes[1])


def _refuse_ceil(ceil: bool) -> None:
    if ceil:
        raise TargetError("xla-tpu has no form of a pooling with ceil_mode. Set ceil_mode=False in the model.")
