"""Measures a released model on this device: accuracy on the shipped sample, then latency, written as one JSON record.

`edgepress package` puts this file and its helpers into a release folder, where they stay: they read what lies
beside them. They need Python 3.9 or newer, NumPy and the target's runtime, nothing else:

    python run_benchmark.py [--target NAME] [--samples 100] [--threads 1 ...] [--batch 1 ...] [--sequence N ...]

`edgepress report add RUN record.json ...` merges the records of many devices into one hardware report. Whatever is
wrong is told in one line, with exit code 2.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from datetime import datetime, timezone
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
    from edgepress.benchmarks.runner.run_apart import apart
    from edgepress.benchmarks.runner.run_environment import environment, temperature
    from edgepress.benchmarks.runner.run_release import RELEASE, SAMPLE, SCRIPT, SITTING, checked, choose, read_manifest
    from edgepress.benchmarks.runner.run_runtimes import RUNTIMES, THREADED, Artifact, Refused
else:
    from run_apart import apart
    from run_environment import environment, temperature
    from run_release import RELEASE, SAMPLE, SCRIPT, SITTING, checked, choose, read_manifest
    from run_runtimes import RUNTIMES, THREADED, Artifact, Refused

SCHEMA_VERSION, KIND = "1.1", "edgepress-device-record"
# The fewest samples that tell a percentile with 99 % confidence, by LoadGen's binomial rule.
LEAST = {"p50": (50, 11), "p90": (90, 64), "p95": (95, 130), "p99": (99, 662), "p99_9": (99.9, 6636)}
LENGTHS = (32, 128)
# As in `edgepress run`: two sessions of one artifact differ by up to 1 % for as long as their process lives, which no
# number of samples in one process shows. So the samples are shared out, sixteen at least to each process.
SITTINGS, LEAST_ROUNDS = 6, 16
NO_SAMPLE = "accuracy not measured: no sample in this release"


def shapes_of(artifact: Artifact, options: argparse.Namespace) -> list[dict[str, int]]:
    """The sizes to time: those asked for, which must be within the artifact's bounds."""
    bounds = artifact["programs"]["main"]["bounds"]
    lengths: list[int | None] = [None]
    if any("sequence" in spec["shape"] for spec in artifact["programs"]["main"]["inputs"]):
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


def shared_out(samples: int) -> list[int]:
    """Samples of each process, as alike as can be."""
    sittings = max(1, min(SITTINGS, samples // LEAST_ROUNDS) // 2 * 2)
    return [samples // sittings + (number < samples % sittings) for number in range(sittings)]


def take_figures(
    target: str, shapes: list[dict[str, int]], options: argparse.Namespace, sampled: bool
) -> dict[str, Any]:
    """Cold start, accuracy and latency, each thread count in processes of its own; accuracy is of the first one."""
    threaded = target in THREADED
    sat: list[dict[str, Any]] = []
    latency = []
    for threads in options.threads if threaded else options.threads[:1]:
        counts, mine = shared_out(options.samples), []
        for number, samples in enumerate(counts, 1):
            if sys.stderr.isatty():
                print(f"threads {threads}: process {number} of {len(counts)}", file=sys.stderr)
            request = {"target": target, "threads": threads, "pin": threaded, "shapes": shapes, "samples": samples}
            request = {**request, "accuracy": sampled and not sat, "started_ns": time.perf_counter_ns()}
            mine.append(apart(RELEASE / SITTING, request, threads, options.limit))
            sat += mine[-1:]
        for place, sizes in enumerate(shapes):
            shape = {"batch": sizes["batch"], "sequence": sizes.get("sequence")}
            taken = joined([one["latency"][place] for one in mine])
            pinned = mine[0]["pinned"]
            latency.append({**shape, "threads": threads if threaded else None, "pinned": pinned, **taken})
    peaks = [one["peak_memory_bytes"] for one in sat if one["peak_memory_bytes"] is not None]
    first = ("runtime", "accuracy", "open_ms", "first_inference_ms", "cold_start_ms", "energy_note")
    return {
        **{name: sat[0][name] for name in first},
        "remarks": [] if sampled else [NO_SAMPLE],
        "latency": latency,
        "peak_memory_bytes": max(peaks, default=None),
    }


def joined(sittings: list[dict[str, Any]]) -> dict[str, Any]:
    """One shape's times from all processes; stable where each was; a percentile for which they are too few is null."""
    times = [sample for one in sittings for sample in one["samples"]]
    told = {
        name: float(np.percentile(times, share)) if len(times) >= least else None
        for name, (share, least) in LEAST.items()
    }
    energy = [one["energy_uj"] for one in sittings]
    return {
        "unit": "ms",
        "samples": times,
        "sittings": [len(one["samples"]) for one in sittings],
        **told,
        "warmup_rounds": sum(one["warmup_rounds"] for one in sittings),
        "stable": all(one["stable"] for one in sittings),
        "energy_uj": None if None in energy else sum(energy),
    }


# --- the record ----------------------------------------------------------------------------------------------------


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """The whole record."""
    manifest = read_manifest()
    target = choose(sorted(manifest["artifacts"]), options.target, tuple(RUNTIMES))
    artifact, files = checked(manifest["known"], target)
    shapes = shapes_of(artifact, options)
    here = environment()
    here["temperature_before_c"] = temperature()
    figures = take_figures(target, shapes, options, SAMPLE in manifest["known"])
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
        "environment": here,
        **figures,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),  # noqa: UP017 (UTC is of Python 3.11)
    }


def record_sha256(record: dict[str, Any]) -> str:
    """Of the canonical JSON of everything but itself: keys sorted, no white space.

    It finds damage and careless edits. It is no signature: who edits a record can compute it anew. That is why
    `edgepress report add` derives every figure from the raw values again, too.
    """
    rest = {key: value for key, value in record.items() if key != "record_sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def write(record: dict[str, Any], path: Path) -> None:
    sealed = {**record, "record_sha256": record_sha256(record)}
    write_into(path, json.dumps(sealed, indent=1, allow_nan=False) + "\n")


def write_into(path: Path, text: str) -> None:
    """Whole or not at all; without a text only tried."""
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        if text:
            part.replace(path)
        else:
            part.unlink()
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
        told = [f"{name} {row[name]:.3f}" for name in LEAST if row[name] is not None]
        few = "too few samples for a percentile"
        lines.append(f"{shape_words(row)}: {', '.join(told) + ' ms' if told else few}, {len(row['samples'])} samples")
    memory = record["peak_memory_bytes"]
    lines.append(
        f"cold start {record['cold_start_ms']:.0f} ms" + (f", peak memory {memory / 1e6:.1f} MB" if memory else "")
    )
    return "\n".join(lines)


def shape_words(row: dict[str, Any]) -> str:
    """'batch 1, sequence 32, 1 thread'."""
    sizes = [f"{name} {row[name]}" for name in ("batch", "sequence") if row[name] is not None]
    threads = row["threads"]
    return ", ".join(sizes + ([] if threads is None else [f"{threads} thread{'s' if threads > 1 else ''}"]))


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
    parser.add_argument("--limit", type=whole, default=1800, help="seconds for each process of it (default 1800)")
    parser.add_argument("--device", help="how the report calls this device (default: its CPU and cores)")
    parser.add_argument("--out", type=Path, default=Path("record.json"), help="the record (default record.json)")
    options = parser.parse_args(arguments)
    for name in ("threads", "batch", "sequence"):  # a shape is timed once
        setattr(options, name, list(dict.fromkeys(getattr(options, name) or [])))
    return options


def main(arguments: list[str] | None = None) -> int:
    options = parsed(arguments)
    try:
        write_into(options.out, "")  # a place that cannot be written is told now, and not after minutes of measuring
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
