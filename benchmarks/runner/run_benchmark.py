"""Measures a released model on this device: accuracy on the shipped sample, then latency, written as one JSON record.

`edgepress package` puts this file and its helpers into a release folder, where they stay: they read what lies
beside them. They need Python 3.9 or newer, NumPy and the target's runtime, nothing else:

    python run_benchmark.py [--target NAME] [--samples 100] [--threads 1 ...] [--batch 1 ...] [--sequence N ...]

`edgepress report add RUN record.json ...` merges the records of many devices into one hardware report. Whatever is
wrong is told in one line, with exit code 2.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if sys.version_info < (3, 9):  # noqa: UP036 (this file travels to devices)
    print(f"error: this runner needs Python 3.9 or newer, this is {sys.version.split()[0]}.", file=sys.stderr)
    sys.exit(2)
try:
    import numpy as np
except ImportError:
    print("error: this runner needs NumPy. Run: pip install numpy", file=sys.stderr)
    sys.exit(2)

sys.path.insert(0, str(Path(__file__).resolve().parent))
if TYPE_CHECKING:
    from benchmarks.runner.run_environment import environment, peak_memory_bytes, temperature
    from benchmarks.runner.run_release import RELEASE, SAMPLE, SCRIPT, checked, choose, read_manifest
    from benchmarks.runner.run_runtimes import RUNTIMES, Artifact, Feeds, Infer, Refused, Runtime, quiet
else:
    from run_environment import environment, peak_memory_bytes, temperature
    from run_release import RELEASE, SAMPLE, SCRIPT, checked, choose, read_manifest
    from run_runtimes import RUNTIMES, Artifact, Feeds, Infer, Refused, Runtime, quiet

SCHEMA_VERSION, KIND = "1.0", "edgepress-device-record"
# The rules of `edgepress run`: warm-up goes on in windows of calls until the medians of two, one after the other,
# differ by at most this share; ten windows are the limit.
WINDOW, STEADY, WINDOWS = 10, 0.02, 10
# The fewest samples that tell a percentile with 99 % confidence, by LoadGen's binomial rule.
LEAST = {"p50": (50, 11), "p90": (90, 64), "p95": (95, 130), "p99": (99, 662), "p99_9": (99.9, 6636)}
LENGTHS = (32, 128)
# Where each new length costs a compilation, rows are padded to a multiple of this; the mask hides the padding.
PADDED_TO = 32
NO_SAMPLE = "accuracy not measured: no sample in this release"


# --- the session ---------------------------------------------------------------------------------------------------


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


def first_line(fault: Exception) -> str:
    lines = str(fault).strip().splitlines()
    return f"{type(fault).__name__}: {lines[0][:300]}" if lines else type(fault).__name__


# --- accuracy ------------------------------------------------------------------------------------------------------


def read_sample() -> dict[str, np.ndarray]:
    """`labels` and `teacher` (logits); of each input its rows, one behind the other where they have `widths`."""
    try:
        with np.load(RELEASE / SAMPLE, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError) as fault:
        raise Refused(f"{RELEASE / SAMPLE} cannot be read: {first_line(fault)}") from None


def sample_rows(sample: dict[str, np.ndarray], artifact: Artifact, compiles: bool) -> Iterator[Feeds]:
    """Each row of the sample as a batch of one, as long as it is."""
    signature = artifact["signature"]
    masked = any(spec["name"] == "attention_mask" for spec in signature["inputs"])
    ends = np.cumsum(sample["widths"])
    for row, end in enumerate(ends):
        feeds = {}
        for spec in signature["inputs"]:
            values = sample["input:" + spec["name"]]
            if "sequence" not in spec["shape"]:
                feeds[spec["name"]] = values[row : row + 1]
                continue
            width = int(sample["widths"][row])
            longest = min(-(-width // PADDED_TO) * PADDED_TO, signature["bounds"]["sequence"][1])
            more = max(0, longest - width) if compiles and masked else 0
            feeds[spec["name"]] = np.pad(values[end - width : end], (0, more))[None]
        yield feeds


def accuracy_of(infer: Infer, artifact: Artifact, compiles: bool) -> dict[str, Any]:
    """Right answers on the sample and agreement with the teacher's; the classes themselves are the raw values."""
    sample = read_sample()
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


# --- latency -------------------------------------------------------------------------------------------------------


def shapes_of(artifact: Artifact, options: argparse.Namespace) -> list[dict[str, int]]:
    """The sizes to time: those asked for, which must be within the artifact's bounds."""
    bounds = artifact["signature"]["bounds"]
    lengths: list[int | None] = [None]
    if any("sequence" in spec["shape"] for spec in artifact["signature"]["inputs"]):
        lengths = options.sequence or sorted({min(length, bounds["sequence"][1]) for length in LENGTHS})
    found = []
    for batch in options.batch:
        for length in lengths:
            sizes = {"batch": batch, **({} if length is None else {"sequence": length})}
            for name, size in sizes.items():
                low, high = bounds.get(name, (size, size))
                if not low <= size <= high:
                    raise Refused(f"--{name} {size} does not fit: this artifact takes {low} to {high}.")
            found.append(sizes)
    return found


def synthetic(artifact: Artifact, sizes: dict[str, int]) -> Feeds:
    """Full sequences without padding, pixels from a fixed seed: values don't change the work that is done."""
    random = np.random.default_rng(0)
    feeds = {}
    for spec in artifact["signature"]["inputs"]:
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


def latency_of(infer: Infer, feeds: Feeds, samples: int) -> dict[str, Any]:
    """Wall times of calls in ms, warm-up not counted; a percentile for which they are too few is null."""
    answers(infer, feeds)
    gc.collect()
    gc.disable()  # a collection inside a timed call would be charged to the model
    try:
        rounds, stable = warm_up(lambda: infer(feeds))
        times = [timed_ms(lambda: infer(feeds)) for _ in range(samples)]
    finally:
        gc.enable()
    told = {
        name: float(np.percentile(times, share)) if samples >= least else None for name, (share, least) in LEAST.items()
    }
    return {"unit": "ms", "samples": times, **told, "warmup_rounds": rounds, "stable": stable}


# --- the record ----------------------------------------------------------------------------------------------------


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """The whole record."""
    manifest = read_manifest()
    target = choose(sorted(manifest["artifacts"]), options.target, tuple(RUNTIMES))
    artifact, files = checked(manifest["known"], target)
    shapes = shapes_of(artifact, options)
    runtime = RUNTIMES[target](artifact)
    here = environment()
    here["temperature_before_c"] = temperature()
    figures = take_figures(runtime, target, artifact, shapes, options, SAMPLE in manifest["known"])
    here["temperature_after_c"] = temperature()
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": KIND,
        "name": manifest["name"],
        "recipe_digest": manifest["recipe_digest"],
        "target": target,
        "artifact": artifact["name"],
        "precision": artifact["precision"],
        "files": files,
        "sample_sha256": manifest["known"].get(SAMPLE),
        "runner_sha256": manifest["known"][SCRIPT],
        "device": options.device or f"{here['cpu']}, {here['usable_cores']} of {here['logical_cores']} cores",
        "runtime": {"name": runtime.name, "version": runtime.version, "runs_on": runtime.runs_on},
        "environment": here,
        **figures,
        "peak_memory_bytes": peak_memory_bytes(),
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),  # noqa: UP017 (UTC is of Python 3.11)
    }


def take_figures(
    runtime: Runtime,
    target: str,
    artifact: Artifact,
    shapes: list[dict[str, int]],
    options: argparse.Namespace,
    sampled: bool,
) -> dict[str, Any]:
    """Cold start, accuracy and latency; with `threads` null where the runtime decides on them itself."""
    cold: dict[str, float] = {}
    accuracy: dict[str, Any] | None = None
    latency = []
    for threads in options.threads if runtime.threaded else options.threads[:1]:
        infer, open_ms = open_session(runtime, target, artifact, threads)
        if not cold:
            feeds = synthetic(artifact, shapes[0])
            cold = {"open_ms": open_ms, "first_inference_ms": timed_ms(partial(answers, infer, feeds))}
            accuracy = accuracy_of(infer, artifact, runtime.compiles) if sampled else None
        for sizes in shapes:
            taken = latency_of(infer, synthetic(artifact, sizes), options.samples)
            shape = {"batch": sizes["batch"], "sequence": sizes.get("sequence")}
            latency.append({**shape, "threads": threads if runtime.threaded else None, **taken})
    remarks = [] if sampled else [NO_SAMPLE]
    return {"accuracy": accuracy, "remarks": remarks, **cold, "latency": latency}


def record_sha256(record: dict[str, Any]) -> str:
    """Of the canonical JSON of everything but itself: keys sorted, no white space.

    It finds damage and careless edits. It is no signature: who edits a record can compute it anew. That is why
    `edgepress report add` derives every figure from the raw values again, too.
    """
    rest = {key: value for key, value in record.items() if key != "record_sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def write(record: dict[str, Any], path: Path) -> None:
    sealed = {**record, "record_sha256": record_sha256(record)}
    try:
        path.write_text(json.dumps(sealed, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    except OSError as fault:
        raise Refused(f"{path} cannot be written ({fault.strerror}). Name another place with --out.") from None


def summary(record: dict[str, Any]) -> str:
    """What was found, for the terminal."""
    runtime, accuracy = record["runtime"], record["accuracy"]
    lines = [f"{record['target']} {record['artifact']} on {record['device']}, {runtime['name']} {runtime['version']}"]
    lines += record["remarks"]
    if accuracy:
        of = f"{accuracy['right']} of {accuracy['rows']}"
        lines.append(
            f"accuracy {accuracy['value']:.4f} ({of} rows), agreement with the teacher {accuracy['agreement']:.4f}"
        )
    for row in record["latency"]:
        shape = ", ".join(f"{key} {row[key]}" for key in ("batch", "sequence", "threads") if row[key] is not None)
        told = [f"{name} {row[name]:.3f}" for name in LEAST if row[name] is not None]
        few = "too few samples for a percentile"
        lines.append(f"{shape}: {', '.join(told) + ' ms' if told else few}, {len(row['samples'])} samples")
    return "\n".join(lines)


def whole(text: str) -> int:
    """A whole number of at least 1."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text!r}")
    return int(text)


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", 1)[0])
    parser.add_argument("--target", help="which artifact of the release; may be left out where there is one")
    parser.add_argument("--samples", type=whole, default=100, help="timed calls of each shape (default 100)")
    parser.add_argument("--threads", type=whole, nargs="+", default=[1], help="threads of the session (default 1)")
    parser.add_argument("--batch", type=whole, nargs="+", default=[1], help="rows in one call (default 1)")
    parser.add_argument("--sequence", type=whole, nargs="+", help="tokens in a row (default 32 128)")
    parser.add_argument("--device", help="how the report calls this device (default: its CPU and cores)")
    parser.add_argument("--out", type=Path, default=Path("record.json"), help="the record (default record.json)")
    options = parser.parse_args(arguments)
    for name in ("threads", "batch", "sequence"):  # a shape is timed once
        setattr(options, name, list(dict.fromkeys(getattr(options, name) or [])))
    return options


def main(arguments: list[str] | None = None) -> int:
    options = parsed(arguments)
    try:
        record = measured(options)
        write(record, options.out)
    except Refused as fault:
        print(f"error: {fault}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("error: stopped by Ctrl-C; no record was written.", file=sys.stderr)
        return 130
    print(f"{summary(record)}\nRecord: {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
