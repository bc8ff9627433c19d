"""One process of a measurement on a device: opens the model, answers the sample, times calls."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np

from ..errors import BenchmarkError, EdgepressError, told
from ..runtime import load_runtime, opened
from .clock import monotonic, timed_ms
from .energy import Meter, meter
from .environment import peak_memory_bytes
from .needs import ArtifactFacts, Feeds, input_specs
from .pinning import kept_on
from .quiet import quiet_native
from .release import ARTIFACT, RELEASE, read_json
from .sample import compared, judged, read_sample, said_of, sample_rows
from .turns import WINDOW, take

Infer = Callable[[Feeds], "dict[str, np.ndarray]"]
CALL = "artifact"


def sit(request: dict[str, Any], tell: Callable[[str], object]) -> dict[str, Any]:
    """Figures of one artifact with one thread count.

    Args:
        request: target, threads, pin, shapes (rows and tokens of a call), samples of each, accuracy (whether the sample
            is answered), started_ns (when the parent started this process).
        tell: is called with what begins.

    Raises:
        EdgepressError: the runtime is missing, the model cannot be opened, fails, or gives NaN.
    """
    tell("loading the runtime")
    pinned = kept_on(request["threads"]) if request["pin"] else None
    target, facts = request["target"], read_json(RELEASE / request["target"] / ARTIFACT)
    runtime = load_runtime(target, facts)
    tell("opening the model")
    with ExitStack() as stack:
        start = monotonic()
        with quiet_native():
            session = stack.enter_context(opened(target, RELEASE / target, facts, request["threads"]))
        open_ms = (monotonic() - start) / 1e6
        tell("the first call")
        first_ms = timed_ms(partial(answers, session.run, synthetic(facts, request["shapes"][0])))
        cold_ms = (monotonic() - request["started_ns"]) / 1e6  # that clock is the system's, not the process's
        if request["accuracy"]:
            tell("answering the sample")
        judged = judged_by(session.run, facts, runtime.compiles) if request["accuracy"] else {"accuracy": None}
        energy, latency = meter(), []
        for sizes in request["shapes"]:
            tell(", ".join(f"{name} {size}" for name, size in sizes.items()))
            latency.append(latency_of(session.run, synthetic(facts, sizes), request["samples"], energy))
    return {
        "runtime": {"name": runtime.name, "version": runtime.version, "runs_on": runtime.runs_on},
        "pinned": pinned,
        "open_ms": open_ms,
        "first_inference_ms": first_ms,
        "cold_start_ms": cold_ms,
        **judged,
        "latency": latency,
        "energy_note": energy.note,
        "peak_memory_bytes": peak_memory_bytes(),
    }


def answers(infer: Infer, feeds: Feeds) -> np.ndarray:
    """The first output, `[batch, ...]`: numbers all of them.

    Raises:
        BenchmarkError: the model fails on the feeds, or gives NaN or infinity.
    """
    try:
        output = next(iter(infer(feeds).values()))
    except EdgepressError:
        raise
    except Exception as fault:  # the runtimes' errors share no base class
        shapes = ", ".join(f"{name} {list(value.shape)}" for name, value in feeds.items())
        raise BenchmarkError(f"the model fails on {shapes}: {told(fault)}") from None
    if not np.isfinite(output).all():
        raise BenchmarkError("the model gives NaN or infinite outputs on this device. Use another target or precision.")
    return output


def judged_by(infer: Infer, facts: ArtifactFacts, compiles: bool) -> dict[str, Any]:
    """`accuracy` on the sample; of vectors, whose labels are pairs `[rows, 3]`, the `likeness` to the teacher's."""
    sample = read_sample(facts)
    if sample["labels"].ndim == sample["teacher"].ndim > 1:
        return {"accuracy": None, "likeness": likeness_of(infer, sample, facts, compiles)}
    return {"accuracy": accuracy_of(infer, sample, facts, compiles)}


def likeness_of(infer: Infer, sample: dict[str, np.ndarray], facts: ArtifactFacts, compiles: bool) -> dict[str, Any]:
    """The mean cosine of each row's vector and the teacher's; the cosines themselves are the raw values.

    Args:
        infer: answers a batch.
        sample: as `read_sample` gives it.
        facts: the artifact's record.
        compiles: whether each new length costs a compilation.
    """
    found = [answers(infer, feeds)[0].astype(np.float64) for feeds in sample_rows(sample, facts, compiles)]
    teacher = sample["teacher"].astype(np.float64)
    lengths = np.linalg.norm(found, axis=-1) * np.linalg.norm(teacher, axis=-1)
    cosines = ((np.asarray(found) * teacher).sum(-1) / np.where(lengths > 0, lengths, 1.0)).tolist()
    return {"rows": len(cosines), "value": sum(cosines) / len(cosines), "cosines": cosines}


def accuracy_of(infer: Infer, sample: dict[str, np.ndarray], facts: ArtifactFacts, compiles: bool) -> dict[str, Any]:
    """Right answers on the sample and agreement with the teacher's; the classes themselves are the raw values. Of a
    model that answers for each word or pixel, `rows` are words or pixels.

    Args:
        infer: answers a batch.
        sample: as `read_sample` gives it.
        facts: the artifact's record.
        compiles: whether each new length costs a compilation.
    """
    given = (answers(infer, feeds)[0] for feeds in sample_rows(sample, facts, compiles))
    rows = zip(given, sample["labels"])  # noqa: B905 (Python 3.9 has no strict)
    predicted = [number for row, wanted in rows for number in judged(said_of(row, wanted), wanted)]
    labels, teacher = compared(sample)
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


def synthetic(facts: ArtifactFacts, sizes: dict[str, int]) -> dict[str, np.ndarray]:
    """Full sequences without padding, pixels from a fixed seed: values don't change the work that is done."""
    random = np.random.default_rng(0)
    feeds = {}
    for spec in input_specs(facts):
        shape = tuple(sizes[size] if isinstance(size, str) else size for size in spec["shape"])
        if np.issubdtype(np.dtype(spec["dtype"]), np.integer):
            feeds[spec["name"]] = np.full(shape, 0 if spec["name"] == "token_type_ids" else 1, spec["dtype"])
        else:
            feeds[spec["name"]] = random.standard_normal(shape).astype(spec["dtype"])
    return feeds


def latency_of(infer: Infer, feeds: Feeds, samples: int, energy: Meter) -> dict[str, Any]:
    """Wall times of calls in ms and their energy in microjoules, warm-up not counted.

    Args:
        infer: answers a batch.
        feeds: the batch, `{input: array}`.
        samples: the number of timed calls.
    """
    answers(infer, feeds)
    before: list[int] = []
    taken = take({CALL: lambda: infer(feeds)}, samples, WINDOW, begin=lambda: before.extend(energy.read()))
    return {
        "samples": list(taken.times[CALL]),
        "warmup_rounds": taken.warm.rounds,
        "stable": taken.warm.stable[CALL],
        "energy_uj": energy.spent_uj(before),
    }


def end_with_parent() -> None:
    """The parent never writes again: the end of the standard input means that it is gone, however it went."""
    while os.read(0, 1):
        pass
    os._exit(1)


def serve() -> None:
    """Answer the one request that the parent writes to the standard input; see `apart`."""
    request = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=end_with_parent, daemon=True).start()
    # Native libraries write where they like: the answer's own pipe is kept from them.
    with os.fdopen(os.dup(1), "w", encoding="ascii") as out:
        os.dup2(2, 1)

        def say(**line: Any) -> None:
            print(json.dumps(line), file=out, flush=True)

        try:
            say(answer=sit(request, lambda phase: say(phase=phase)))
        except EdgepressError as fault:
            say(refused=str(fault))
    os._exit(0)  # a runtime that crashes or hangs in its clean-up takes no answer with it
