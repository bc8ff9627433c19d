"""int8 by measurement: the target proposes, validation data and the clock decide."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from edgepress.benchmarks.judge.answers import artifact_logits
from edgepress.benchmarks.judge.fidelity import judge
from edgepress.benchmarks.measure.jobs import Case, SubjectResult
from edgepress.benchmarks.measure.settings import choose_settings, geometric_mean, time_all
from edgepress.benchmarks.records.figures import Figure, known_primary, primary_of
from edgepress.benchmarks.records.report import Measurement, Metrics
from edgepress.benchmarks.statistics import TIE
from edgepress.compress.methods.desk import desk_of
from edgepress.compress.methods.quantize.export import FP32, Exported
from edgepress.compress.methods.quantize.options import Quantize
from edgepress.compress.model.model import Model
from edgepress.targets.errors import EdgepressError, StageError
from edgepress.targets.protocols import Target
from edgepress.targets.records import INTEGERS, Candidate, Precision, Record

if TYPE_CHECKING:
    from edgepress.compress.methods.measuring import Measuring


LOWER: tuple[Precision, ...] = (*INTEGERS, "fp16", "bf16")


class CandidateResult(Record):
    """One candidate on validation data. `milliseconds`: geometric mean of the p50s over the shapes; `estimated_ms`: the
    compiler's, over hardware and sizes, where the hardware is not here."""

    name: str
    target: str
    precision: Precision
    status: Literal["eligible", "rejected", "failed"]
    reason: str = ""
    metrics: Metrics = ()
    milliseconds: float | None = None
    estimated_ms: float | None = None
    bytes: int | None = None
    int8_mac_share: float | None = None
    chosen: bool = False

    @property
    def primary(self) -> Figure | None:
        """The metric that the choice rests on; None where the candidate failed."""
        return primary_of(self.metrics)

    @property
    def rank(self) -> float:
        """The primary metric so that more is better; the lowest there is where the candidate failed."""
        figure = self.primary
        return -math.inf if figure is None else figure.value if figure.higher_is_better else -figure.value


class Selection(Record):
    """All results of one target and the one that was chosen; without results, why the target has none."""

    target: str
    results: tuple[CandidateResult, ...]
    chosen: str
    holds: bool
    reasons: tuple[str, ...] = ()
    failure: str = ""
    unavailable: bool = False

    def result(self, name: str) -> CandidateResult:
        """The result of that name."""
        return next(result for result in self.results if result.name == name)


@dataclass(frozen=True)
class Measured:
    """What the choice is made from."""

    exported: Exported
    metrics: tuple[Figure, ...]
    measurements: Sequence[Measurement]
    failure: str = ""


def candidates_of(target: Target, model: Model, options: Quantize | None) -> tuple[Candidate, ...]:
    """fp32 first, then the target's candidates of lower precision (those that the recipe names, where it names some).

    Args:
        model: what is going to be exported.
        options: names candidates; None takes fp32 alone.

    Raises:
        StageError: the recipe names none that this target makes.
    """
    if options is None:
        return (FP32,)
    offered = [candidate for precision in LOWER for candidate in target.candidates(model, precision)]
    if options.candidates is None:
        return (FP32, *offered)
    named = [candidate for candidate in offered if candidate.name in options.candidates]
    if not named:
        wanted = " or ".join(map(repr, options.candidates))
        made = ", ".join(candidate.name for candidate in offered)
        raise StageError(f"quantize.candidates: {target.name} makes no {wanted}; it makes {made}")
    return (FP32, *named)


def select_by_measurement(
    target: str, exported: Sequence[Exported], options: Quantize | None, cases: Sequence[Case], measuring: Measuring
) -> Selection:
    """Measure what one target made of every candidate on validation data, and choose.

    Args:
        exported: what the target made of each candidate, fp32 first.
        options: the largest drop and the candidates; None takes fp32.
        cases: shapes to time, with their inputs.
        measuring: validation rows, targets and progress.

    Raises:
        StageError: no candidate could be measured, or none is really int8.
    """
    places = {item.key: item.folder for item in exported if item.artifact is not None}
    timed: Mapping[str, SubjectResult] = {}
    if measuring.target(target).probe().state == "available":
        choose_settings(places, cases, desk_of(measuring))
        timed = time_all(
            places, cases, desk_of(measuring), f"{measuring.run.stage}: timing {len(places)} candidates on {target}"
        )
    measured = [_measure(item, timed, measuring) for item in exported]
    return choose_candidate(target, measured, options)


def _measure(item: Exported, timed: Mapping[str, SubjectResult], measuring: Measuring) -> Measured:
    if item.artifact is None:
        return Measured(item, (), (), item.failure)
    # Without the hardware nothing is timed: the stand-in gives the answers, the compiler an estimate.
    result = timed.get(item.key, SubjectResult())
    if result.failure is not None:
        return Measured(item, (), (), result.failure)
    try:
        title = f"{measuring.run.stage}: validating {item.candidate.name}"
        logits = artifact_logits(
            item.folder, measuring.data.validation, desk_of(measuring), title, opened=result.opened
        )
    except EdgepressError as fault:
        return Measured(item, (), (), str(fault))
    labels, teacher = measuring.data.validation.labels, measuring.data.teacher_logits
    return Measured(item, judge(measuring.data.metrics, labels, teacher, logits, intervals=False), result.measurements)


def choose_candidate(target: str, measured: Sequence[Measured], options: Quantize | None) -> Selection:
    """The fastest candidate below fp32 within `max_drop` of it; among ties (2 %) the best by the primary metric.

    Fast is what was measured, else what the compiler estimates, else the bytes. Where none holds, the best int8
    candidate stands (`holds` is False), so that the report can show it.

    Args:
        target: its name, for errors and the report.
        options: the largest drop; None takes fp32.

    Raises:
        StageError: fp32 could not be measured, or no candidate is int8 where int8 is asked for.
    """
    reference = primary_of(measured[0].metrics)
    if reference is None:
        raise StageError(f"{target}: the fp32 export could not be measured: {measured[0].failure}")
    results = [_result_of(target, item, reference, options) for item in measured]
    if options is None:
        return _selection(target, results, results[0], True, ())
    running = [result for result in results[1:] if result.status != "failed"]
    if not any(result.precision in INTEGERS for result in running):
        faults = "; ".join(f"{result.name}: {result.reason}" for result in results[1:] if result.status == "failed")
        raise StageError(f"{target}: no int8 candidate stands. {faults or 'the target offers none'}")
    eligible = [result for result in running if result.status == "eligible"]
    # The report needs a row to show what went wrong, so the nearest miss stands, marked as not holding.
    pool = eligible or [max(running, key=lambda result: result.rank)]
    cost, unit = _cost([results[0], *running])
    fastest = min(cost(result) for result in pool)
    # Medians of two runs of one artifact differ by as much: speed within a tie is noise, quality is not.
    tied = [result for result in pool if cost(result) <= fastest * (1 + TIE)]
    best = max(tied, key=lambda result: (result.rank, -cost(result)))
    against = _against(results[0], best, bool(eligible), options, cost, unit)
    remarks = _remarks(best, eligible, cost, unit)
    return _selection(target, results, best, not against, (*against, *remarks))


def _against(
    fp32: CandidateResult,
    best: CandidateResult,
    eligible: bool,
    options: Quantize,
    cost: Callable[[CandidateResult], float],
    unit: str,
) -> tuple[str, ...]:
    """What speaks against the best candidate."""
    found = []
    if not eligible:
        metric = known_primary(fp32.metrics, "the fp32 export").name
        found.append(f"no int8 candidate is within {options.max_drop:g} of fp32's {metric}; {best.name} is closest")
    if cost(best) > cost(fp32) * (1 + TIE):
        amounts = f"{best.name} takes {cost(best):.3f} {unit}, fp32 {cost(fp32):.3f} {unit}"
        found.append(f"{amounts}: {best.precision} is {'slower' if unit.startswith('ms') else 'larger'} here")
    return tuple(found)


def _remarks(
    best: CandidateResult, eligible: Sequence[CandidateResult], cost: Callable[[CandidateResult], float], unit: str
) -> tuple[str, ...]:
    """What a reader must know of the choice though nothing is wrong with it."""
    found = []
    int8 = min((result for result in eligible if result.precision in INTEGERS), key=cost, default=None)
    if best.precision not in INTEGERS and int8 is not None:
        amounts = f"{cost(best):.3f} {unit} against {cost(int8):.3f} {unit} of {int8.name}"
        found.append(f"{best.name} is chosen before int8: {amounts}")
    if unit == "bytes":
        found.append(f"{best.name} is chosen by size: there is neither this hardware nor an estimate of its speed here")
    return tuple(found)


def _cost(results: Sequence[CandidateResult]) -> tuple[Callable[[CandidateResult], float], str]:
    """What candidates are compared by, and its unit: the best kind of figure that all of them have."""
    if all(result.milliseconds is not None for result in results):
        return _ms, "ms"
    if all(result.estimated_ms is not None for result in results):
        return lambda result: result.estimated_ms or 0.0, "ms (compiler estimate)"
    # Bytes only where nobody has a time: a candidate that failed to be timed must not win by its size against timed
    # ones.
    if all(result.milliseconds is None for result in results):
        return lambda result: float(result.bytes or 0), "bytes"
    return _ms, "ms"


def _result_of(target: str, item: Measured, reference: Figure, options: Quantize | None) -> CandidateResult:
    artifact, name, precision = item.exported.artifact, item.exported.candidate.name, item.exported.candidate.precision
    figure = primary_of(item.metrics)
    if item.failure or artifact is None or figure is None:
        return CandidateResult(name=name, target=target, precision=precision, status="failed", reason=item.failure)
    status: Literal["eligible", "rejected", "failed"] = "eligible"
    reason, drop = "", reference.loss_to(figure.value)
    if options is not None and precision in INTEGERS and artifact.int8_mac_share < options.min_int8_share:
        status = "failed"
        share = artifact.int8_mac_share
        wanted = f"the recipe asks {options.min_int8_share:.0%}"
        reason = f"declared {precision}, but only {share:.1%} of its MACs are int8; {wanted}"
    elif options is not None and drop > options.max_drop + 1e-9:
        side = "below" if figure.higher_is_better else "above"
        status = "rejected"
        reason = f"validation {figure.name} is {drop:.4f} {side} fp32, allowed is {options.max_drop:g}"
    return CandidateResult(
        name=name, target=target, precision=precision, status=status, reason=reason,
        metrics=item.metrics,
        milliseconds=geometric_mean(item.measurements) if item.measurements else None,
        estimated_ms=artifact.estimated_ms(), bytes=artifact.bytes, int8_mac_share=artifact.int8_mac_share,
    )  # fmt: skip


def _ms(result: CandidateResult) -> float:
    return result.milliseconds if result.milliseconds is not None else float(np.inf)


def _selection(
    target: str, results: Sequence[CandidateResult], best: CandidateResult, holds: bool, reasons: tuple[str, ...]
) -> Selection:
    marked = tuple(result.model_copy(update={"chosen": result is best}) for result in results)
    return Selection(target=target, results=marked, chosen=best.name, holds=holds, reasons=reasons)
