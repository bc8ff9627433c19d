"""Whether a stage earned its place: the same figures before and after, and a verdict with its reasons."""

from __future__ import annotations

import hashlib
from typing import Literal

import torch

from edgepress.benchmarks.records.figures import known_primary
from edgepress.benchmarks.records.report import Figures
from edgepress.benchmarks.statistics import TIE
from edgepress.compress.methods.base import Amount, Promise
from edgepress.compress.model.model import Model, unique_state
from edgepress.compress.recipe.sections import StageOptions
from edgepress.targets.errors import StageError

Verdict = Literal["kept", "kept although it did not pay", "dropped"]


def fingerprint(model: Model) -> str:
    """Digest of structure and weights: two models with the same one compute the same."""
    digest = hashlib.sha256()
    for name, value in unique_state(model.network).items():
        digest.update(f"{name}{tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def check_contract(stage: str, before: Model, after: Model, done: tuple[str, ...]) -> None:
    """A stage gives a new model with the same signature (a student may take fewer inputs) and finite weights.

    Args:
        after: the model that the stage gave.
        done: names of the stages before it, for the error.

    Raises:
        StageError: it does not; names the stage and those before it.
    """
    history = f" (after {', '.join(done)})" if done else ""
    if after.network is before.network:
        raise StageError(f"stage {stage!r}{history} changed its input instead of making a new model")
    wanted = before.signature
    if stage == "student":  # another architecture may take fewer inputs than the teacher
        taken = tuple(spec for spec in wanted.inputs if spec in after.signature.inputs)
        wanted = wanted.model_copy(update={"inputs": taken})
    if after.signature != wanted:
        raise StageError(f"stage {stage!r}{history} changed the model's signature")
    for name, value in unique_state(after.network).items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise StageError(f"stage {stage!r}{history} left NaN or infinite values in {name!r}")


def complaints(promise: Promise, before: Figures, after: Figures) -> tuple[str, ...]:
    """What a stage promised and did not keep; empty where it earned its place.

    Args:
        promise: what the stage's method says of the figures.
        before: figures of the model that the stage was given.
        after: those of the model that it made, timed interleaved with the first.
    """
    found = [*_dropped(promise.max_drop, before, after)]
    if promise.falls and not any(_fell(getattr(before, name), getattr(after, name)) for name in promise.falls):
        found.append(_none_fell(promise.falls, before))
    found += _lost_zeros(before, after) if promise.keeps_zeros else ()
    for old, new in zip(before.latency, after.latency, strict=True) if promise.keeps_latency else ():
        if new.p50 > old.p50 * (1 + TIE):
            where = f"batch {new.batch}" + (f", sequence {new.sequence}" if new.sequence else "")
            found.append(f"slower at {where}: {old.p50:.3f} -> {new.p50:.3f} ms ({new.p50 / old.p50:.2f}x)")
    return tuple(found)


def _dropped(allowed: float | None, before: Figures, after: Figures) -> tuple[str, ...]:
    """What of the primary metric was lost beyond what is allowed; None: nothing may be."""
    old, new = known_primary(before.metrics, "the model before"), known_primary(after.metrics, "the model after")
    drop, fell = old.loss_to(new.value), "fell" if old.higher_is_better else "rose"
    if allowed is None:
        message = f"{old.name} {fell} from {old.value:.4f} to {new.value:.4f}; training promised more"
        return (message,) if drop > 0 else ()
    # Shares of whole rows: what is allowed is not missed by the last bit of a float.
    if drop > allowed + 1e-9:
        return (f"{old.name} {fell} by {drop:.4f} (from {old.value:.4f}), allowed is {allowed:g}",)
    return ()


def _fell(before: int | None, after: int | None) -> bool:
    """Whether a figure fell; one that was not taken did not."""
    return before is not None and after is not None and after < before


def _lost_zeros(before: Figures, after: Figures) -> tuple[str, ...]:
    """Zeros that the stage made and the exported file lacks. What was zero before counts on neither side."""
    sides = (before.exported_zeros, after.exported_zeros)
    if sides[0] is None or sides[1] is None or before.zeros is None or after.zeros is None:
        return ("zeros of the exported file could not be counted: this target's files tell no weights",)
    made, there = after.zeros - before.zeros, sides[1].zeros - sides[0].zeros
    if there < made:
        return (f"the exported file lacks zeros: {made:,} weights became zero, {there:,} of them in the file",)
    return ()


def _none_fell(names: tuple[Amount, ...], before: Figures) -> str:
    words = {"macs": "MACs", "parameters": "parameters", "bytes": "bytes", "zstd_bytes": "bytes after zstd"}
    taken = {name: getattr(before, name) for name in names}
    figures = [f"{words[name]} ({'not taken' if value is None else f'{value:,}'})" for name, value in taken.items()]
    return f"{figures[0]} did not fall" if len(figures) == 1 else f"neither {' nor '.join(figures)} fell"


def verdict_of(
    stage: str, options: StageOptions, changed: bool, found: tuple[str, ...]
) -> tuple[Verdict, tuple[str, ...]]:
    """Kept, kept although it did not pay, or (`auto`) dropped, with the reasons.

    Args:
        options: of the stage; `auto` lets it be dropped.
        found: broken promises, in words; empty where all were kept.

    Raises:
        StageError: the stage changed nothing and is not `auto`.
    """
    if not changed:
        if options.auto:
            return "dropped", ("it changed nothing",)
        raise StageError(
            f"stage {stage!r} changed nothing: structure and weights are those from before. "
            f"Give it stronger options, remove it, or mark it 'auto: true' to have it dropped."
        )
    if not found:
        return "kept", ()
    return ("dropped" if options.auto else "kept although it did not pay"), found
