"""What the torch model gives, computed once for all targets: on calibration data and at the corners of its bounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from edgepress.targets.acceptance.comparison import Outputs
from edgepress.targets.errors import TargetError, told
from edgepress.targets.exportable import Exportable
from edgepress.targets.graph.export import check_weights, failing_module, resized, sizes_of
from edgepress.targets.graph.outputs import by_name
from edgepress.targets.records import Feeds, Signature

LARGEST_BATCH = 8  # samples of a batch are independent, so larger ones show nothing new


@dataclass(frozen=True)
class Reference:
    """What the torch model gives: for the calibration batches, and at the corners of the signature's bounds."""

    batches: Sequence[Feeds]
    outputs: tuple[Outputs, ...]
    corners: Sequence[Feeds]
    corner_outputs: tuple[Outputs, ...]

    @classmethod
    def of(cls, model: Exportable, calibration: Sequence[Feeds]) -> Reference:
        """Run `model` on every batch and at every corner.

        Raises:
            TargetError: there are no batches, or weights or outputs hold NaN or infinity.
        """
        if not calibration:
            raise TargetError("nothing to compare the export with: give at least one calibration batch")
        check_weights(model.module)
        corners = corner_feeds(model.signature, calibration[0])
        return cls(calibration, run_torch(model, calibration), corners, run_torch(model, corners))


def run_torch(model: Exportable, batches: Sequence[Feeds]) -> tuple[Outputs, ...]:
    """The outputs of the torch module for each batch, by name.

    Raises:
        SignatureError: a batch does not fit the model's signature.
        TargetError: the module fails, gives other outputs than its signature says, or no numbers.
    """
    module, outputs = model.module, []
    names = [spec.name for spec in model.signature.outputs]
    for feeds in batches:
        model.signature.check(feeds)
        inputs = [torch.from_numpy(np.ascontiguousarray(feeds[spec.name])) for spec in model.signature.inputs]
        try:
            with torch.no_grad():
                given = module(*inputs)
        except Exception as fault:
            sizes = shape_text(sizes_of(feeds, model.signature))
            raise TargetError(
                f"the torch model fails at {sizes}{failing_module(fault, module)}: {told(fault)}. "
                f"Change the bounds of its signature, or the model."
            ) from fault
        outputs.append({name: value.numpy() for name, value in by_name(given, names).items()})
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


def check_finite(outputs: Outputs, whose: str, sizes: Mapping[str, int]) -> None:
    """Whether all `outputs` are numbers.

    Args:
        outputs: {output: array}.
        whose: gave them, in the words of the message.
        sizes: {dimension: size} of the inputs they are of, for the message.

    Raises:
        TargetError: one holds NaN or infinity.
    """
    if not all(np.isfinite(value).all() for value in outputs.values()):
        raise TargetError(f"{whose} gives NaN or infinity for inputs of {shape_text(sizes)}. Nothing was accepted.")


def shape_text(sizes: Mapping[str, int]) -> str:
    """`batch 2, sequence 8`: named dimensions in words."""
    return ", ".join(f"{name} {size}" for name, size in sizes.items()) or "the fixed shape"
