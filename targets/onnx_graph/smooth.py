"""SmoothQuant (arXiv 2211.10438): move outlier channels of activations into the weights, where each column has a scale.

For a product X @ W: (X / s) @ (s W), exact in float, with s_j = max|X_j|^alpha / max|W_j|^(1 - alpha) of channel j.
Products that read the same tensor (query, key, value) share one s. Where nothing else reads a normalisation's output,
1/s goes into its weights; elsewhere (BERT: the residual reads it too) it is a Mul of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edgepress.targets.onnx_graph.view import View, attribute, drop_unused

if TYPE_CHECKING:
    import onnx

Floats = npt.NDArray[np.float32]
# A tensor has outliers where its largest channel is this many times the median one. MiniLM: inputs of FFNs 8 to 17,
# others 1.4 to 6; smoothing those too gave no better logits (29.8 against 30.5 dB) for twice as many Mul.
OUTLIER = 6.0


@dataclass(frozen=True)
class Smoothing:
    """One tensor to divide by `factors` `[channels]`, the MatMuls that read it, and whether its LayerNormalization
    takes the division over."""

    tensor: str
    nodes: tuple[str, ...]
    factors: Floats
    folded: bool


def smoothing_factors(peaks: Floats, weight_peaks: Floats, alpha: float) -> Floats:
    """s_j = peak_j^alpha / weight_peak_j^(1 - alpha), `[channels]`.

    Args:
        peaks: largest magnitude of each channel of the activation, `[channels]`.
        weight_peaks: of the weights that multiply it, over all products that read it, `[channels]`.
        alpha: 0..1, how much of the difficulty goes into the weights.

    Returns:
        The factors; 1 for a channel that is always zero, in the activation or in the weights: there is nothing to
        move, and zero would be divided by.

    >>> smoothing_factors(np.array([16.0, 0.0], np.float32), np.array([4.0, 1.0], np.float32), 0.5).tolist()
    [2.0, 1.0]
    """
    live = (peaks > 0) & (weight_peaks > 0)
    factors = np.where(live, peaks, 1.0) ** alpha / np.where(live, weight_peaks, 1.0) ** (1 - alpha)
    # A factor near zero would let a value beyond the calibration's peak overflow the quantized range.
    return np.maximum(factors, 1e-5).astype(np.float32)


def smoothable(model: onnx.ModelProto, nodes: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Tensors to smooth and their readers among `nodes`, which name MatMuls with a constant weight `[in, out]`."""
    groups: dict[str, tuple[str, ...]] = {}
    for node in model.graph.node:
        if node.name in nodes:
            groups[node.input[0]] = (*groups.get(node.input[0], ()), node.name)
    return groups


def plan_smoothing(
    model: onnx.ModelProto, nodes: Collection[str], peaks: Mapping[str, Floats], alpha: float
) -> tuple[Smoothing, ...]:
    """Factors for those inputs of `nodes` that have outliers.

    Args:
        model: whose graph is only read.
        nodes: names of MatMuls with a constant weight.
        peaks: {tensor: largest magnitude of each channel}, of every input of `nodes`.
        alpha: as in `smoothing_factors`.
    """
    view = View.of(model)
    by_name = {node.name: node for node in model.graph.node}
    plan = []
    for tensor, readers in smoothable(model, nodes).items():
        if peaks[tensor].max() <= OUTLIER * np.median(peaks[tensor]):
            continue
        weights = [view.constant(by_name[name].input[1]) for name in readers]
        weight_peaks = np.max([np.abs(weight).max(axis=1) for weight in weights if weight is not None], axis=0)
        factors = smoothing_factors(peaks[tensor], weight_peaks, alpha)
        plan.append(Smoothing(tensor, readers, factors, _can_fold(view, tensor, readers)))
    return tuple(plan)


def _can_fold(view: View, tensor: str, readers: Collection[str]) -> bool:
    norm = view.producers.get(tensor)
    if norm is None or norm.op_type != "LayerNormalization" or attribute(norm, "axis", -1) != -1:
        return False
    constant = all(name in view.initializers for name in norm.input[1:])
    return constant and tensor not in view.outputs and {n.name for n in view.consumers[tensor]} == set(readers)


def apply_smoothing(model: onnx.ModelProto, plan: tuple[Smoothing, ...]) -> None:
    """Change `model` in place; its float outputs stay the same up to rounding."""
    from onnx import helper

    view = View.of(model)
    by_name = {node.name: node for node in model.graph.node}
    inserted: dict[str, onnx.NodeProto] = {}
    for step in plan:
        smooth = f"{step.tensor}_smooth"
        for name in step.nodes:
            _scale(model, view, by_name[name], 1, step.factors[:, None])
        if step.folded:
            for index in range(1, len(view.producers[step.tensor].input)):
                _scale(model, view, view.producers[step.tensor], index, np.reciprocal(step.factors))
            continue
        inverse = _constant(model, f"{smooth}_inverse", np.reciprocal(step.factors))
        inserted[step.nodes[0]] = helper.make_node("Mul", [step.tensor, inverse], [smooth], name=smooth)
        for name in step.nodes:
            by_name[name].input[0] = smooth
    nodes = [part for node in model.graph.node for part in (inserted.get(node.name), node) if part is not None]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    drop_unused(model)


def _scale(model: onnx.ModelProto, view: View, node: onnx.NodeProto, index: int, factors: Floats) -> None:
    # A copy of its own for each node: equal weights may be shared between layers.
    value = view.constant(node.input[index])
    assert value is not None
    node.input[index] = _constant(model, f"{node.name}_{index}_smooth", value * factors)


def _constant(model: onnx.ModelProto, name: str, value: np.ndarray) -> str:
    from onnx import numpy_helper

    model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value, np.float32), name))
    return name
