"""Weights and ranges of an int8 XLA program."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepress.targets.calibration.statistics import Range, collect_statistics
from edgepress.targets.errors import TargetError
from edgepress.targets.exportable import TrainedInput
from edgepress.targets.graph.fixed import is_fixed
from edgepress.targets.graph.trained import trained_ranges
from edgepress.targets.records import Feeds, Signature
from edgepress.targets.xla_tpu.lowering import Lowering, weight_of

if TYPE_CHECKING:
    import torch
    from torch.export import ExportedProgram


def calibrate(program: ExportedProgram, signature: Signature, batches: Sequence[Feeds]) -> dict[str, float]:
    """Which products become int8, and with which scale.

    Args:
        program: a core-ATen program.
        signature: names its inputs, in order.
        batches: of real inputs.

    Returns:
        {node of each product with a weight of its own: scale of its activations, largest magnitude / 127}.

    Raises:
        TargetError: no product can be int8, or activations are not finite.
    """
    import torch

    from edgepress.targets.xla_tpu.lowering import PRODUCTS

    planned = {node.name: PRODUCTS[str(node.target)][0] for node in program.graph.nodes if weight_of(node, program)}
    if not planned:
        raise TargetError("no product of this model can be int8: none has a weight of its own")
    seen: dict[str, np.ndarray] = {}

    class Reader(torch.fx.Interpreter):
        def run_node(self, n: torch.fx.Node) -> Any:
            if n.name in planned:
                value = self.fetch_args_kwargs_from_env(n)[0][planned[n.name]]
                seen[n.name] = value.detach().numpy()
            return super().run_node(n)

    reader = Reader(program.graph_module)

    def read(feeds: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        inputs = iter(torch.from_numpy(feeds[spec.name]) for spec in signature.inputs)
        with torch.no_grad():
            reader.run(*(_argument(program, spec, inputs) for spec in program.graph_signature.input_specs))
        return seen

    ranges = collect_statistics(read, batches, dict.fromkeys(planned, Range()))
    return {name: _scale(found) for name, found in ranges.items()}


def trained_scales(
    program: ExportedProgram, products: Iterable[str], trained: Sequence[TrainedInput]
) -> dict[str, float]:
    """The scales of activations that the model was trained with.

    Args:
        program: a core-ATen program.
        products: names of its nodes that become int8.
        trained: ranges of what the model's layers read.

    Returns:
        {node: largest magnitude / 127}, of those products that have one.
    """
    nodes = {node.name: node for node in program.graph.nodes}
    weights = {}
    for name in products:
        if (weight := weight_of(nodes[name], program)) is not None:
            weights[name] = _stored(program, weight).detach().numpy()
    return {name: _scale(found) for name, found in trained_ranges(weights, trained).items()}


def _scale(found: Range) -> float:
    return max(-found.low, found.high, 1e-8) / 127


def weights_for(lowering: Lowering) -> dict[str, np.ndarray]:
    """The arguments by name: int8 with a scale `[channels]` for planned products, floats as the lowering computes."""
    import jax

    program, kind = lowering.program, jax.numpy.dtype(lowering.floats)
    nodes = {node.name: node for node in program.graph.nodes}
    small = {weight_of(nodes[name], program) for name in lowering.scales}
    result: dict[str, np.ndarray] = {}
    for spec in program.graph_signature.input_specs:
        if spec.kind.name == "USER_INPUT" or spec.target is None:
            continue
        value = _stored(program, spec.target).detach().numpy()
        if spec.target in small:
            flat = np.abs(value).reshape(len(value), -1).max(1)
            scale = np.maximum(flat, 1e-12).astype(np.float32) / np.float32(127)
            spread = scale.reshape((-1,) + (1,) * (value.ndim - 1))
            result[spec.target] = np.clip(np.round(value / spread), -127, 127).astype(np.int8)
            result[f"{spec.target}.scale"] = scale
        elif value.dtype.kind == "f":  # a bf16 program reads half the bytes
            result[spec.target] = value if is_fixed(spec.target) else value.astype(kind)
        else:
            result[spec.target] = value.astype(np.int32) if value.dtype == np.int64 else value
    return result


def _stored(program: ExportedProgram, name: str) -> torch.Tensor:
    found = program.state_dict.get(name)
    value: torch.Tensor = program.constants[name] if found is None else found
    return value


def _argument(program: ExportedProgram, spec: Any, inputs: Any) -> Any:
    return next(inputs) if spec.kind.name == "USER_INPUT" else _stored(program, spec.target)
