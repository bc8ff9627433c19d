"""One process of a measurement on a device: opens the model, answers the sample, times calls.

It travels beside `run_benchmark.py` in a release, which starts it up to five times for each thread count.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
if TYPE_CHECKING:
    from edgepress.benchmarks.runner.run_energy import Meter, meter
    from edgepress.benchmarks.runner.run_environment import peak_memory_bytes
    from edgepress.benchmarks.runner.run_release import ARTIFACT, RELEASE, read_json
    from edgepress.benchmarks.runner.run_runtimes import (
        RUNTIMES,
        Artifact,
        Feeds,
        Infer,
        Refused,
        Runtime,
        first_line,
        quiet,
    )
    from edgepress.benchmarks.runner.run_sample import read_sample, sample_rows
else:
    from run_energy import Meter, meter
    from run_environment import peak_memory_bytes
    from run_release import ARTIFACT, RELEASE, read_json
    from run_runtimes import RUNTIMES, Artifact, Feeds, Infer, Refused, Runtime, first_line, quiet
    from run_sample import read_sample, sample_rows

# The rules of `edgepress run`: warm-up goes on in windows of calls until the medians of two, one after the other,
# differ by at most this share; ten windows are the limit.
WINDOW, STEADY, WINDOWS = 10, 0.02, 10


def sit(request: dict[str, Any], tell: Callable[[str], object]) -> dict[str, Any]:
    """Figures of one artifact with one thread count.

    `request`: target, threads, pin, shapes (rows and tokens of a call), samples of each, accuracy (whether the sample
    is answered), started_ns (when the parent started this process).
    """
    tell("loading the runtime")
    pinned = pin(request["threads"]) if request["pin"] else None
    target, artifact = request["target"], read_json(RELEASE / request["target"] / ARTIFACT)
    runtime = RUNTIMES[target](artifact)
    tell("opening the model")
    infer, open_ms = open_session(runtime, target, artifact, request["threads"])
    tell("the first call")
    feeds = synthetic(artifact, request["shapes"][0])
    first_ms = timed_ms(partial(answers, infer, feeds))
    cold_ms = (time.perf_counter_ns() - request["started_ns"]) / 1e6  # that clock is the system's, not the process's
    accuracy, latency = None, []
    if request["accuracy"]:
        tell("answering the sample")
        accuracy = accuracy_of(infer, artifact, runtime.compiles)
    energy = meter()
    for sizes in request["shapes"]:
        tell(", ".join(f"{name} {size}" for name, size in sizes.items()))
        latency.append(latency_of(infer, synthetic(artifact, sizes), request["samples"], energy))
    return {
        "runtime": {"name": runtime.name, "version": runtime.version, "runs_on": runtime.runs_on},
        "pinned": pinned,
        "open_ms": open_ms,
        "first_inference_ms": first_ms,
        "cold_start_ms": cold_ms,
        "accuracy": accuracy,
        "latency": latency,
        "energy_note": energy.note,
        "peak_memory_bytes": peak_memory_bytes(),
    }


def pin(threads: int) -> list[int] | None:
    """Keeps this process on the first `threads` processors it may use; None where the system does not let it."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    try:
        mine = sorted(os.sched_getaffinity(0))[:threads]
        os.sched_setaffinity(0, mine)
    except OSError:
        return None
    return mine


def open_session(runtime: Runtime, target: str, artifact: Artifact, threads: int) -> tuple[Infer, float]:
    """The session, and how long it took to open, in ms; the runtime's packages were loaded before."""
    start = time.perf_counter_ns()
    try:
        with quiet():
            infer = runtime.open(RELEASE / target, artifact, threads)
    except Refused:
        raise
    except Exception as fault:  # the runtimes' errors share no base class
        raise Refused(f"{target} cannot be opened by {runtime.name} {runtime.version}: {first_line(fault)}") from None
    return infer, (time.perf_counter_ns() - start) / 1e6


def answers(infer: Infer, feeds: Feeds) -> np.ndarray:
    """Logits `[batch, classes]` that are numbers."""
    try:
        logits = np.asarray(infer(feeds))
    except Refused:
        raise
    except Exception as fault:
        shapes = ", ".join(f"{name} {list(value.shape)}" for name, value in feeds.items())
        raise Refused(f"the model fails on {shapes}: {first_line(fault)}") from None
    if not np.isfinite(logits).all():
        raise Refused("the model gives NaN or infinite outputs on this device. Use another target or precision.")
    return logits


def accuracy_of(infer: Infer, artifact: Artifact, compiles: bool) -> dict[str, Any]:
    """Right answers on the sample and agreement with the teacher's; the classes themselves are the raw values."""
    sample = read_sample(artifact)
    predicted = [int(answers(infer, feeds)[0].argmax()) for feeds in sample_rows(sample, artifact, compiles)]
    labels, teacher = sample["labels"].tolist(), sample["teacher"].argmax(-1).tolist()
    right = sum(one == other for one, other in zip(predicted, labels))  # noqa: B905 (Python 3.9 has no strict)
    agreed = sum(one == other for one, other in zip(predicted, teacher))  # noqa: B905
    return {
        "rows": len(predicted),
        "right": right,
        "value": right / len(predicted),
        "agreement": agreed / len(predicted),
        "predicted": predicted,
        "labels": labels,
        "teacher": teacher,
    }


def synthetic(artifact: Artifact, sizes: dict[str, int]) -> Feeds:
    """Full sequences without padding, pixels from a fixed seed: values don't change the work that is done."""
    random = np.random.default_rng(0)
    feeds = {}
    for spec in artifact["programs"]["main"]["inputs"]:
        shape = tuple(sizes[size] if isinstance(size, str) else size for size in spec["shape"])
        if np.issubdtype(np.dtype(spec["dtype"]), np.integer):
            feeds[spec["name"]] = np.full(shape, 0 if spec["name"] == "token_type_ids" else 1, spec["dtype"])
        else:
            feeds[spec["name"]] = random.standard_normal(shape).astype(spec["dtype"])
    return feeds


def timed_ms(call: Callable[[], object]) -> float:
    start = time.perf_counter_ns()
    call()
    return (time.perf_counter_ns() - start) / 1e6


def warm_up(call: Callable[[], object]) -> tuple[int, bool]:
    """Uncounted calls, and whether the medians of two windows of them, one after the other, agreed."""
    before = None
    for window in range(1, WINDOWS + 1):
        median = float(np.median([timed_ms(call) for _ in range(WINDOW)]))
        if before is not None and abs(median - before) <= STEADY * before:
            return window * WINDOW, True
        before = median
    return WINDOWS * WINDOW, False


def latency_of(infer: Infer, feeds: Feeds, samples: int, energy: Meter) -> dict[str, Any]:
    """Wall times of calls in ms and their energy in microjoules, warm-up not counted."""
    answers(infer, feeds)
    gc.collect()
    gc.disable()  # a collection inside a timed call would be charged to the model
    try:
        rounds, stable = warm_up(lambda: infer(feeds))
        before = energy.read()
        times = [timed_ms(lambda: infer(feeds)) for _ in range(samples)]
        spent = energy.spent_uj(before)
    finally:
        gc.enable()
    return {"samples": times, "warmup_rounds": rounds, "stable": stable, "energy_uj": spent}


def end_with_parent() -> None:
    """The parent never writes again: the end of the standard input means that it is gone, however it went."""
    while os.read(0, 1):
        pass
    os._exit(1)


def main() -> None:
    request = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=end_with_parent, daemon=True).start()
    # Native libraries write where they like: the answer's own pipe is kept from them.
    with os.fdopen(os.dup(1), "w", encoding="ascii") as out:
        os.dup2(2, 1)

        def say(**line: Any) -> None:
            print(json.dumps(line), file=out, flush=True)

        try:
            say(answer=sit(request, lambda phase: say(phase=phase)))
        except Refused as fault:
            say(refused=str(fault))
    os._exit(0)  # a runtime that crashes or hangs in its clean-up takes no answer with it


if __name__ == "__main__":
    main()
