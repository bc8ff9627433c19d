"""Proof that accuracy and latency are of one session: the same files, settings and threads, and the same answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from edgepress.benchmarks.measure.jobs import Opened, identity
from edgepress.targets.acceptance.comparison import compare
from edgepress.targets.errors import BenchmarkError
from edgepress.targets.protocols import Session
from edgepress.targets.records import Artifact, Feeds

# So many numbers of an output are kept.
KEPT = 64
# Two sessions of one file agree to the last bits of fp32; int8 activations that are rounded the other way give 40 dB
# and more. Another model, or other settings that change its numbers, lie far below.
SAME_DB = 30.0
AGAIN = "Run it again, and change no artifact meanwhile."


def kept(outputs: Feeds) -> tuple[float, ...]:
    """The first 64 numbers of the first output; NaN and infinity as finite ones, since JSON has neither."""
    first = next(iter(outputs.values()), np.zeros(0))
    return tuple(np.nan_to_num(first.ravel()[:KEPT].astype(np.float64)).tolist())


def check_answer(outputs: Feeds) -> None:
    """Raises BenchmarkError for outputs that hold NaN or infinity: a model that answers nothing is not fast."""
    for name, value in outputs.items():
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise BenchmarkError(f"its output {name!r} holds NaN or infinity, so it is not timed. Export it again.")


def check_same(opened: Opened, artifact: Artifact, threads: int, session: Session) -> None:
    """`session` is of `artifact` as it is now, `opened` what was timed.

    Raises:
        BenchmarkError: its files, settings or threads are others, or it answers otherwise.
    """
    if identity(artifact, threads) != opened.identity:
        raise BenchmarkError(
            f"accuracy and latency of {artifact.name!r} are not of one session: its files, settings or threads are "
            f"not those that were timed. {AGAIN}"
        )
    if not opened.feeds or not Path(opened.feeds).is_file():
        return
    answer = kept(session.infer(artifact.signature.select(load_file(opened.feeds))))
    if len(answer) != len(opened.answer):
        raise BenchmarkError(f"{artifact.name!r} gives {len(answer)} numbers, {len(opened.answer)} when it was timed")
    if not answer:
        return
    found = compare([np.array([opened.answer])], [np.array([answer])])
    if found.sqnr_db is not None and found.sqnr_db < SAME_DB:
        raise BenchmarkError(
            f"accuracy and latency of {artifact.name!r} are not of one session: on the same input its answers differ, "
            f"SQNR {found.sqnr_db:.1f} dB, wanted at least {SAME_DB:.0f} dB. {AGAIN}"
        )
