"""Core-ATen operations as jax ones: a table from the overload's name to a function of (Kit, *arguments)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgepress.targets.errors import TargetError
from edgepress.targets.xla_tpu.operations.kit import Kit
from edgepress.targets.xla_tpu.operations.resize import adaptive_avg_pool, bilinear, nearest
from edgepress.targets.xla_tpu.operations.windows import avg_pool, convolution, max_pool, pad

Operation = Callable[..., Any]


def _norm(kit: Kit, x: Any, shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    axes = tuple(range(x.ndim - len(shape), x.ndim))
    wide = x.astype(kit.jnp.float32)
    mean = wide.mean(axes, keepdims=True)
    inverse = kit.lax.rsqrt(((wide - mean) ** 2).mean(axes, keepdims=True) + eps)
    result = (wide - mean) * inverse
    result = result if weight is None else result * weight.astype(kit.jnp.float32)
    result = result if bias is None else result + bias.astype(kit.jnp.float32)
    return result.astype(x.dtype), mean, inverse


def _batch_norm(kit: Kit, x: Any, weight: Any, bias: Any, mean: Any, variance: Any, _: Any, eps: float) -> Any:
    def channel(value: Any) -> Any:
        return value.astype(kit.jnp.float32).reshape((1, -1) + (1,) * (x.ndim - 2))

    scale = kit.lax.rsqrt(channel(variance) + eps)
    scale = scale if weight is None else scale * channel(weight)
    result = (x.astype(kit.jnp.float32) - channel(mean)) * scale
    return ((result if bias is None else result + channel(bias)).astype(x.dtype),)


def _softmax(kit: Kit, x: Any, dim: int, _: bool = False) -> Any:
    return kit.nn.softmax(x.astype(kit.jnp.float32), axis=dim).astype(x.dtype)


def _matmul(kit: Kit, left: Any, right: Any) -> Any:
    return kit.jnp.matmul(left, right, precision=kit.precision)


def _slice(kit: Kit, x: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Any:
    whole = [slice(None)] * x.ndim
    whole[dim] = slice(start, None if isinstance(end, int) and end >= 2**31 else end, step)
    return x[tuple(whole)]


def _expand(kit: Kit, x: Any, sizes: Any, implicit: bool = False) -> Any:
    added = len(sizes) - x.ndim
    wanted = [
        x.shape[place - added] if isinstance(size, int) and size == -1 else size for place, size in enumerate(sizes)
    ]
    return kit.jnp.broadcast_to(x, wanted)


def _index(kit: Kit, x: Any, indices: Any) -> Any:
    return x[tuple(slice(None) if index is None else index for index in indices)]


def _gather(kit: Kit, x: Any, dim: int, index: Any) -> Any:
    return kit.jnp.take_along_axis(x, index, axis=dim, mode="clip")


def _full(kit: Kit, shape: Any, value: Any, dtype: Any = None, **_: Any) -> Any:
    kind = kit.dtype(dtype) if dtype is not None else kit.jnp.asarray(value).dtype
    return kit.jnp.broadcast_to(kit.scalar(value, kind), shape)


def _scalar_tensor(kit: Kit, value: Any, dtype: Any = None, **_: Any) -> Any:
    return kit.scalar(value, kit.floats if dtype is None else kit.dtype(dtype))


def _arange(kit: Kit, start: Any, end: Any, step: Any = 1, dtype: Any = None, **_: Any) -> Any:
    plain = kit.floats if any(isinstance(number, float) for number in (start, end, step)) else kit.jnp.int32
    kind = plain if dtype is None else kit.dtype(dtype)
    return kit.jnp.arange(start, end, step, dtype=kind)


def _copy(kit: Kit, x: Any, dtype: Any = None, **_: Any) -> Any:
    return x if dtype is None else x.astype(kit.dtype(dtype))


def _mean(kit: Kit, x: Any, dims: Any, keep: bool = False, **_: Any) -> Any:
    return x.astype(kit.jnp.float32).mean(tuple(dims), keepdims=keep).astype(x.dtype)


def _as_strided(kit: Kit, x: Any, size: Any, stride: Any, offset: Any = None) -> Any:
    """A reshape where the steps are those of a tensor of that size: pooling to one pixel asks for its layout so."""
    step: Any = 1
    for wide, given in zip(reversed(size), reversed(stride), strict=True):
        if wide != 1 and given != step:
            raise TargetError(f"only a change of shape has a form, not steps {list(stride)} over {list(size)}")
        step = step * wide
    if offset:
        raise TargetError(f"only a change of shape has a form, not a start at {offset}")
    return kit.jnp.reshape(x, size)


def _embedding(kit: Kit, table: Any, index: Any, *_: Any) -> Any:
    return kit.jnp.take(table, index, axis=0, mode="clip")


def _select(kit: Kit, x: Any, dim: int, index: int) -> Any:
    return kit.lax.index_in_dim(x, index, dim, keepdims=False)


def _gelu(kit: Kit, x: Any, approximate: str = "none") -> Any:
    return kit.nn.gelu(x, approximate=approximate == "tanh")


def _addmm(kit: Kit, bias: Any, left: Any, right: Any, beta: Any = 1, alpha: Any = 1) -> Any:
    product = _matmul(kit, left, right)
    return (bias if beta == 1 else beta * bias) + (product if alpha == 1 else alpha * product)


def _clamp(kit: Kit, x: Any, low: Any = None, high: Any = None) -> Any:
    limits = [None if value is None else kit.scalar(value, x.dtype) for value in (low, high)]
    return kit.jnp.clip(x, *limits)


def _elu(kit: Kit, x: Any, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Any:
    grown = alpha * (kit.jnp.exp(input_scale * kit.jnp.minimum(x, 0)) - 1)
    return (scale * kit.jnp.where(x > 0, x, grown)).astype(x.dtype)


def _split(kit: Kit, x: Any, sizes: Any, dim: int = 0) -> Any:
    ends = [sum(sizes[: place + 1]) for place in range(len(sizes) - 1)]
    return kit.jnp.split(x, ends, axis=dim)


def _group_norm(
    kit: Kit, x: Any, weight: Any, bias: Any, batch: Any, channels: int, size: Any, groups: int, eps: float
) -> Any:
    grouped = x.astype(kit.jnp.float32).reshape(x.shape[0], groups, -1)
    mean = grouped.mean(-1, keepdims=True)
    inverse = kit.lax.rsqrt(((grouped - mean) ** 2).mean(-1, keepdims=True) + eps)
    result = ((grouped - mean) * inverse).reshape(x.shape)
    spread = (1, -1) + (1,) * (x.ndim - 2)
    result = result if weight is None else result * weight.astype(kit.jnp.float32).reshape(spread)
    result = result if bias is None else result + bias.astype(kit.jnp.float32).reshape(spread)
    return result.astype(x.dtype), mean, inverse


def _variance(kit: Kit, x: Any, dims: Any = None, correction: Any = 1, keepdim: bool = False) -> Any:
    axes = None if dims is None else tuple(dims)
    wide = x.astype(kit.jnp.float32)
    return kit.jnp.var(wide, axis=axes, ddof=int(correction), keepdims=keepdim).astype(x.dtype)


def _vector_norm(kit: Kit, x: Any, order: Any = 2, dims: Any = None, keep: bool = False, **_: Any) -> Any:
    wide, axes = kit.jnp.abs(x.astype(kit.jnp.float32)), None if dims is None else tuple(dims)
    return ((wide**order).sum(axes, keepdims=keep) ** (1 / order)).astype(x.dtype)


def _reduced(name: str) -> Operation:
    """A reduction over one dimension, over several, or over all."""

    def lowered(kit: Kit, x: Any, dims: Any = None, keep: bool = False) -> Any:
        axes = dims if dims is None or isinstance(dims, int) else tuple(dims) or None
        return getattr(kit.jnp, name)(x, axis=axes, keepdims=keep)

    return lowered


def _plain(name: str) -> Operation:
    return lambda kit, *arguments: getattr(kit.jnp, name)(*arguments)


def _scaled(name: str) -> Operation:
    def lowered(kit: Kit, left: Any, right: Any, alpha: Any = 1) -> Any:
        return getattr(kit.jnp, name)(left, right if alpha == 1 else right * alpha)

    return lowered


_PLAIN = {
    "tanh": "tanh", "exp": "exp", "log": "log", "sqrt": "sqrt", "abs": "abs", "neg": "negative", "sin": "sin",
    "cos": "cos", "logical_not": "logical_not", "bitwise_not": "bitwise_not", "floor": "floor", "ceil": "ceil",
    "round": "round", "sign": "sign", "reciprocal": "reciprocal", "logical_and": "logical_and",
    "logical_or": "logical_or", "minimum": "minimum", "maximum": "maximum", "isnan": "isnan", "isinf": "isinf",
    "log1p": "log1p", "expm1": "expm1",
}  # fmt: skip
_PAIRS = {
    "mul": "multiply", "div": "divide", "ge": "greater_equal", "gt": "greater", "le": "less_equal", "lt": "less",
    "eq": "equal", "ne": "not_equal", "bitwise_and": "bitwise_and", "bitwise_or": "bitwise_or", "pow": "power",
    "fmod": "fmod", "remainder": "remainder",
}  # fmt: skip

OPERATIONS: dict[str, Operation] = {
    **{f"aten.{name}.default": _plain(jax) for name, jax in _PLAIN.items()},
    **{
        f"aten.{name}.{kind}": _plain(jax)
        for name, jax in _PAIRS.items()
        for kind in ("Tensor", "Scalar", "Tensor_Tensor", "Tensor_Scalar")
    },
    **{f"aten.{name}.{kind}": _scaled(jax) for name, jax in (("add", "add"), ("sub", "subtract"))
       for kind in ("Tensor", "Scalar")},
    "aten.erf.default": lambda kit, x: kit.lax.erf(x),
    "aten.rsqrt.default": lambda kit, x: kit.lax.rsqrt(x),
    "aten.relu.default": lambda kit, x: kit.nn.relu(x),
    "aten.sigmoid.default": lambda kit, x: kit.nn.sigmoid(x),
    "aten.gelu.default": _gelu,
    "aten.silu.default": lambda kit, x: kit.nn.silu(x),
    "aten.hardtanh.default": lambda kit, x, low=-1.0, high=1.0: _clamp(kit, x, low, high),
    "aten.clamp.default": _clamp,
    "aten.elu.default": _elu,
    "aten.leaky_relu.default": lambda kit, x, slope=0.01: kit.jnp.where(x >= 0, x, (x * slope).astype(x.dtype)),
    "aten.amax.default": _reduced("max"),
    "aten.amin.default": _reduced("min"),
    "aten.any.dim": _reduced("any"),
    "aten.any.dims": _reduced("any"),
    "aten.argmax.default": lambda kit, x, dim=None, keep=False: kit.jnp.argmax(x, axis=dim, keepdims=keep),
    "aten.var.correction": _variance,
    "aten.linalg_vector_norm.default": _vector_norm,
    "aten.native_group_norm.default": _group_norm,
    "aten.split_with_sizes.default": _split,
    "aten.flip.default": lambda kit, x, dims: kit.jnp.flip(x, tuple(dims)),
    "aten.repeat.default": lambda kit, x, times: kit.jnp.tile(x, tuple(times)),
    "aten._softmax.default": _softmax,
    "aten.native_layer_norm.default": _norm,
    "aten._native_batch_norm_legit_no_training.default": _batch_norm,
    "aten.addmm.default": _addmm,
    "aten.mm.default": _matmul,
    "aten.bmm.default": _matmul,
    "aten.convolution.default": convolution,
    **{f"aten.max_pool{rank}d_with_indices.default": max_pool for rank in (2, 3)},
    **{f"aten.avg_pool{rank}d.default": avg_pool for rank in (1, 2, 3)},
    "aten.adaptive_avg_pool1d.default": adaptive_avg_pool,
    **{f"aten._adaptive_avg_pool{rank}d.default": adaptive_avg_pool for rank in (2, 3)},
    "aten.upsample_bilinear2d.vec": bilinear,
    "aten.upsample_nearest2d.vec": nearest,
    "aten.constant_pad_nd.default": pad,
    "aten.mean.dim": _mean,
    "aten.sum.dim_IntList": lambda kit, x, dims, keep=False, **_: x.sum(tuple(dims) or None, keepdims=keep),
    "aten.cumsum.default": lambda kit, x, dim, **_: kit.jnp.cumsum(x, axis=dim),
    "aten.embedding.default": _embedding,
    "aten.gather.default": _gather,
    "aten.index.Tensor": _index,
    "aten.index_select.default": lambda kit, x, dim, index: kit.jnp.take(x, index, axis=dim, mode="clip"),
    "aten.select.int": _select,
    "aten.slice.Tensor": _slice,
    "aten.cat.default": lambda kit, parts, dim=0: kit.jnp.concatenate(parts, axis=dim),
    "aten.expand.default": _expand,
    "aten.permute.default": lambda kit, x, dims: kit.jnp.transpose(x, dims),
    "aten.unsqueeze.default": lambda kit, x, dim: kit.jnp.expand_dims(x, dim),
    "aten.squeeze.dim": lambda kit, x, dim: kit.jnp.squeeze(x, dim) if x.shape[dim] == 1 else x,
    "aten.squeeze.dims": lambda kit, x, dims: kit.jnp.squeeze(x, tuple(d for d in dims if x.shape[d] == 1)),
    "aten.as_strided.default": _as_strided,
    "aten.view.default": lambda kit, x, shape: kit.jnp.reshape(x, shape),
    "aten.clone.default": lambda kit, x, **_: x,
    "aten.alias.default": lambda kit, x: x,
    "aten._to_copy.default": _copy,
    "aten.where.self": lambda kit, condition, x, y: kit.jnp.where(condition, x, y),
    "aten.full.default": _full,
    "aten.full_like.default": lambda kit, x, value, dtype=None, **_: kit.jnp.full_like(
        x, kit.scalar(value, x.dtype if dtype is None else kit.dtype(dtype))
    ),
    "aten.scalar_tensor.default": _scalar_tensor,
    "aten.arange.start_step": _arange,
    "aten.sym_size.int": lambda kit, x, dim: x.shape[dim],
    "aten._assert_tensor_metadata.default": lambda kit, *_, **__: None,
    "aten._assert_scalar.default": lambda kit, *_: None,
}  # fmt: skip
