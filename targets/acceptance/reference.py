"""What the torch model gives, computed once for all targets: on calibration data and at the corners of its bounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from edgepress.targets.errors import TargetError, one_line
from edgepress.targets.graph.export import check_weights, failing_module, resized, sizes_of
from edgepress.targets.protocols import Exportable
from edgepress.targets.records import Feeds, Signature

LARGEST_BATCH = 8  # samples of a batch are independent, so larger ones show nothing new


@dataclass(frozen=True)
class Reference:
    """What the torch model gives: for the calibration batches, and at the corners of the signature's bounds."""

    batches: Sequence[Feeds]
    logits: tuple[np.ndarray, ...]
    corners: Sequence[Feeds]
    corner_logits: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, model: Exportable, calibration: Sequence[Feeds]) -> Reference:
        """Raises TargetError when there are no batches, or weights or outputs hold NaN or infinity."""
        if not calibration:
            raise TargetError("nothing to compare the export with: give at least one calibration batch")
        check_weights(model.module)
        corners = corner_feeds(model.signature, calibration[0])
        return cls(calibration, run_torch(model, calibration), corners, run_torch(model, corners))


def run_torch(model: Exportable, batches: Sequence[Feeds]) -> tuple[np.ndarray, ...]:
    """Logits `[batch, classes]` of the torch module for each batch."""
    module, outputs = model.module, []
    for feeds in batches:
        model.signature.check(feeds)
        inputs = [torch.from_numpy(np.ascontiguousarray(feeds[spec.name])) for spec in model.signature.inputs]
        try:
            with torch.no_grad():
                outputs.append(module(*inputs).numpy())
        except Exception as fault:
            sizes = _shape_text(sizes_of(feeds, model.signature))
            raise TargetError(
                f"the torch model fails at {sizes}{failing_module(fault, module)}: {one_line(fault)}. "
                f"Change the bounds of its signature, or the model."
            ) from fault
        check_finite(outputs[-1], "the torch model", sizes_of(feeds, model.signature))
    return tuple(outputs)


def corner_feeds(signature: Signature, example: Feeds) -> tuple[Feeds, ...]:
    """The smallest input within the bounds, and one with each named dimension at its largest (batches up to 8)."""
    lows = {name: signature.bounds[name][0] for name in sizes_of(example, signature)}
    batch = signature.inputs[0].shape[0]
    highs = {name: signature.bounds[name][1] for name in lows}
    if batch in highs:
        highs[str(batch)] = max(lows[str(batch)], min(highs[str(batch)], LARGEST_BATCH))
    corners = [lows, *(lows | {name: high} for name, high in highs.items() if high > lows[name])]
    return tuple(resized(example, signature, sizes) for sizes in corners)


def check_finite(logits: np.ndarray, whose: str, sizes: dict[str, int]) -> None:
    """Raises TargetError for NaN or infinity."""
    if not np.isfinite(logits).all():
        raise TargetError(f"{whose} gives NaN or infinity for inputs of {_shape_text(sizes)}. Nothing was accepted.")


def _shape_text(sizes: dict[str, int]) -> str:
    return ", ".join(f"{name} {size}" for name, size in sizes.items()) or "the fixed shape"
