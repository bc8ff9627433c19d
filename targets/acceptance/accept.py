"""Nothing is believed that was not compared: an exported artifact against the torch model, before it is accepted."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from edgepress.targets.acceptance.comparison import Outputs, compare_outputs
from edgepress.targets.acceptance.reference import Reference, check_finite, shape_text
from edgepress.targets.errors import TargetError, told
from edgepress.targets.graph.export import sizes_of
from edgepress.targets.hooks import Made
from edgepress.targets.protocols import Session
from edgepress.targets.records import INTEGERS, Candidate, Comparison, Feeds, Precision, Signature

# Least SQNR in dB. A faithful fp32 export lies above 100, fp16 near 60, bf16 near 40, a wrong graph below 10. int8 and
# int4 have to be better than noise only: validation accuracy decides about it.
LEAST_DB = {"fp32": 60.0, "fp16": 30.0, "bf16": 15.0, "int8": 0.0, "int4": 0.0}


def refuse_false_precision(candidate: Candidate, made: Made) -> None:
    """A file must be what it is called: other precisions are faster or smaller for reasons of their own.

    Raises:
        TargetError: the target made another precision, or int8 or int4 in whose graph nothing multiplies integers.
    """
    if made.precision != candidate.precision:
        raise TargetError(
            f"candidate {candidate.name!r} is called {candidate.precision}, and what was made is {made.precision}. "
            f"It was refused."
        )
    if candidate.precision in INTEGERS and (made.macs is None or made.macs.int8 == 0):
        raise TargetError(
            f"candidate {candidate.name!r} is called {candidate.precision}, yet no product in it is. It was refused."
        )


def accept(
    session: Session,
    reference: Reference,
    signature: Signature,
    precision: Precision,
    ready: Callable[[Feeds], Feeds] = lambda feeds: feeds,
) -> Comparison:
    """Compare `session` with the torch model: every output, by its name.

    Args:
        session: the exported artifact, opened.
        reference: what the torch model gives.
        signature: what both of them take and give.
        precision: decides what is demanded, see `LEAST_DB`; of fp32 also at the corners of the bounds.
        ready: makes calibration batches into what a runtime that compiles for each shape has few programs for; rows
            and padding that it adds behind them are not compared.

    Returns:
        The comparison on the calibration batches.

    Raises:
        TargetError: a size within the bounds fails, outputs are not finite, or too far from the torch model's.
    """
    pairs = zip(reference.batches, reference.outputs, strict=True)
    compared = [_infer(session, ready(feeds), want, signature) for feeds, want in pairs]
    least = LEAST_DB[precision]
    comparison = _check_close(reference.outputs, compared, least, "calibration data")
    for feeds, want in zip(reference.corners, reference.corner_outputs, strict=True):
        got = _infer(session, feeds, want, signature)
        if precision == "fp32":
            _check_close([want], [got], least, shape_text(sizes_of(feeds, signature)))
    return comparison


def _infer(session: Session, feeds: Feeds, want: Outputs, signature: Signature) -> Outputs:
    """The outputs of `session`, each cut to the shape of the torch model's."""
    sizes = sizes_of(feeds, signature)
    try:
        outputs = session.infer(feeds)
    except Exception as fault:
        raise TargetError(f"the exported model fails at {shape_text(sizes)}: {told(fault)}") from fault
    named = {spec.name: spec.shape for spec in signature.outputs}
    for name, value in want.items():
        pairs = zip(named[name], value.shape, strict=True)
        expected = tuple(sizes.get(axis, size) if isinstance(axis, str) else size for axis, size in pairs)
        if outputs[name].shape != expected:
            raise TargetError(f"the exported model gives {name} {outputs[name].shape}, the torch model {expected}")
    check_finite(outputs, "the exported model", sizes)
    return {name: outputs[name][tuple(map(slice, value.shape))] for name, value in want.items()}


def _check_close(reference: Sequence[Outputs], outputs: Sequence[Outputs], least_db: float, where: str) -> Comparison:
    """Over all outputs, and each by itself: a wrong output must not hide behind one of larger numbers."""
    found = compare_outputs(reference, outputs)
    several = reference[0] if len(reference[0]) > 1 else ()  # the only one was compared already
    names = [name for name in several if any(np.any(one[name]) for one in reference)]  # zeros have no decibels
    alone = [
        compare_outputs([{name: one[name]} for one in reference], [{name: one[name]} for one in outputs])
        for name in names
    ]
    for name, one in (("", found), *zip(names, alone, strict=True)):
        if one.sqnr_db is not None and one.sqnr_db < least_db:
            which = f"in output {name!r} " if name else ""
            raise TargetError(
                f"the exported model differs from the torch model {which}on {where}: SQNR {one.sqnr_db:.1f} dB, wanted "
                f"at least {least_db:.0f} dB; largest difference {one.max_abs_diff:.3g}. The artifact was refused."
            )
    return found
