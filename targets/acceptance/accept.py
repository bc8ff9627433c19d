"""Nothing is believed that was not compared: an exported artifact against the torch model, before it is accepted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from edgepress.targets.acceptance.comparison import compare
from edgepress.targets.acceptance.reference import Reference, _shape_text, check_finite
from edgepress.targets.errors import TargetError, told
from edgepress.targets.graph.export import sizes_of
from edgepress.targets.protocols import Session
from edgepress.targets.records import Comparison, Feeds, Precision, Signature

# Least SQNR in dB. A faithful fp32 export lies above 100, fp16 near 60, bf16 near 40, a wrong graph below 10. int8 has
# to be better than noise only: validation accuracy decides about it.
LEAST_DB = {"fp32": 60.0, "fp16": 30.0, "bf16": 15.0, "int8": 0.0}


def accept(
    session: Session,
    reference: Reference,
    signature: Signature,
    precision: Precision,
    ready: Callable[[Feeds], Feeds] = lambda feeds: feeds,
) -> Comparison:
    """Compare `session` with the torch model: `LEAST_DB` of the precision is demanded, of fp32 also at the corners.

    `ready` makes calibration batches into what a runtime that compiles for each shape has few programs for; rows that
    it adds at the end are not compared.

    Raises:
        TargetError: a size within the bounds fails, outputs are not finite, or too far from the torch model's.
    """
    pairs = _pairs(reference.batches, reference.logits)
    compared = [_infer(session, ready(feeds), want, signature) for feeds, want in pairs]
    comparison = compare(reference.logits, compared)
    _check_close(comparison, LEAST_DB[precision], "calibration data")
    for feeds, want in _pairs(reference.corners, reference.corner_logits):
        logits = _infer(session, feeds, want, signature)
        if precision == "fp32":
            _check_close(compare([want], [logits]), LEAST_DB[precision], _shape_text(sizes_of(feeds, signature)))
    return comparison


def _pairs(batches: Sequence[Feeds], logits: Sequence[np.ndarray]) -> Iterator[tuple[Feeds, np.ndarray]]:
    return zip(batches, logits, strict=True)


def _infer(session: Session, feeds: Feeds, want: np.ndarray, signature: Signature) -> np.ndarray:
    sizes = sizes_of(feeds, signature)
    try:
        logits = session.infer(feeds)["logits"]
    except Exception as fault:
        raise TargetError(f"the exported model fails at {_shape_text(sizes)}: {told(fault)}") from fault
    expected = (len(next(iter(feeds.values()))), *want.shape[1:])
    if logits.shape != expected:
        raise TargetError(f"the exported model gives logits {logits.shape}, the torch model {expected}")
    check_finite(logits, "the exported model", sizes)
    return logits[: len(want)]


def _check_close(comparison: Comparison, least_db: float, where: str) -> None:
    if comparison.sqnr_db is not None and comparison.sqnr_db < least_db:
        raise TargetError(
            f"the exported model differs from the torch model on {where}: SQNR {comparison.sqnr_db:.1f} dB, wanted at "
            f"least {least_db:.0f} dB; largest difference {comparison.max_abs_diff:.3g}. The artifact was refused."
        )
