"""Measures a released model on this device: accuracy on the shipped sample, then latency, written as one JSON record.

`edgepress package` puts this package and its launcher into a release folder, where they stay: they read what lies
beside them. They need Python 3.9 or newer, NumPy and the target's runtime, nothing else:

    python run_benchmark.py [--target NAME] [--samples 100] [--threads 1 ...] [--batch 1 ...] [--sequence N ...]

`edgepress report add RUN record.json ...` merges the records of many devices into one hardware report. Whatever is
wrong is told in one line, with exit code 2.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ..bundle.signing import check_key, sign
from ..errors import BenchmarkError, EdgepressError
from ..files import write_whole
from ..runtime import SESSIONS, THREADED
from ..telemetry import silence
from ..text import visible
from . import LAUNCHER
from .apart import SIT, apart
from .clock import monotonic
from .environment import environment, temperature
from .needs import ArtifactFacts
from .percentiles import PERCENTILES, told_percentile
from .record import KIND, MOST_SAMPLES, SCHEMA_VERSION, record_sha256, size_words
from .release import RELEASE, SAMPLE, checked, choose_target, read_manifest
from .sitting import serve
from .turns import shared_out

LENGTHS = (32, 128)
NO_SAMPLE = "accuracy not measured: no sample in this release"


def shapes_of(artifact: ArtifactFacts, options: argparse.Namespace) -> list[dict[str, int]]:
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
                    raise BenchmarkError(f"--{name} {size} does not fit: this artifact takes {low} to {high}.")
            found.append(sizes)
    return found


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
            request = {**request, "accuracy": sampled and not sat, "started_ns": monotonic()}
            mine.append(apart(RELEASE / LAUNCHER, request, threads, options.limit))
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
        **{name: sat[0][name] for name in ("likeness",) if name in sat[0]},
        "remarks": [] if sampled else [NO_SAMPLE],
        "latency": latency,
        "peak_memory_bytes": max(peaks, default=None),
    }


def joined(sittings: list[dict[str, Any]]) -> dict[str, Any]:
    """One shape's times from all processes; stable where each was; a percentile for which they are too few is null."""
    times = [sample for one in sittings for sample in one["samples"]]
    percentiles = {name: told_percentile(times, share) for name, share in PERCENTILES.items()}
    energy = [one["energy_uj"] for one in sittings]
    return {
        "unit": "ms",
        "samples": times,
        "sittings": [len(one["samples"]) for one in sittings],
        **percentiles,
        "warmup_rounds": sum(one["warmup_rounds"] for one in sittings),
        "stable": all(one["stable"] for one in sittings),
        "energy_uj": None if None in energy else sum(energy),
    }


# --- the record ----------------------------------------------------------------------------------------------------


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """The whole record."""
    manifest = read_manifest()
    target = choose_target(sorted(manifest["artifacts"]), options.target, tuple(SESSIONS))
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
        "runner_sha256": manifest["known"][LAUNCHER],
        "device": options.device or f"{here['cpu']}, {here['usable_cores']} of {here['logical_cores']} cores",
        "environment": here,
        **figures,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),  # noqa: UP017 (UTC is of Python 3.11)
    }


def write(record: dict[str, Any], path: Path) -> None:
    """The record with its digest, whole or not at all.

    Raises:
        BenchmarkError: the place cannot be written.
    """
    sealed = {**record, "record_sha256": record_sha256(record)}
    with _writing(path):
        write_whole(path, json.dumps(sealed, indent=1, allow_nan=False) + "\n")


def try_place(path: Path) -> None:
    """A place that cannot be written is told now, and not after minutes of measuring. Raises BenchmarkError."""
    part = path.with_name(f".{path.name}.part")
    with _writing(path):
        part.write_bytes(b"")
        part.unlink()


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as fault:
        raise BenchmarkError(f"{path} cannot be written ({fault.strerror}). Name another place with --out.") from None


def summary(record: dict[str, Any]) -> str:
    """What was found, for the terminal."""
    runtime, accuracy = record["runtime"], record["accuracy"]
    lines = [f"{record['target']} {record['artifact']} on {record['device']}, {runtime['name']} {runtime['version']}"]
    lines += record["remarks"]
    if accuracy:
        of = f"{accuracy['right']} of {accuracy['rows']}"
        lines.append(
            f"accuracy {accuracy['value']:.4f} ({of} answers), agreement with the teacher {accuracy['agreement']:.4f}"
        )
    if likeness := record.get("likeness"):
        lines.append(f"cosine to the teacher {likeness['value']:.4f} ({likeness['rows']} rows)")
    for row in record["latency"]:
        parts = [f"{name} {row[name]:.3f}" for name in PERCENTILES if row[name] is not None]
        few = "too few samples for a percentile"
        sizes = ", ".join(size_words(row["batch"], row["sequence"], row["threads"]).values())
        lines.append(f"{sizes}: {', '.join(parts) + ' ms' if parts else few}, {len(row['samples'])} samples")
    memory = record["peak_memory_bytes"]
    lines.append(
        f"cold start {record['cold_start_ms']:.0f} ms" + (f", peak memory {memory / 1e6:.1f} MB" if memory else "")
    )
    return "\n".join(lines)


def whole(text: str) -> int:
    """A whole number of at least 1."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text!r}")
    return int(text)


def at_most(text: str) -> int:
    """The same, of samples: a record with more of them is not read."""
    if (found := whole(text)) > MOST_SAMPLES:
        raise argparse.ArgumentTypeError(f"must be at most {MOST_SAMPLES}, got {text}")
    return found


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", 1)[0])
    parser.add_argument("--target", help="which artifact of the release; may be left out where there is one")
    parser.add_argument(
        "--samples", type=at_most, default=100, help=f"timed calls of each shape (default 100, at most {MOST_SAMPLES})"
    )
    parser.add_argument("--threads", type=whole, nargs="+", default=[1], help="threads of the session (default 1)")
    parser.add_argument("--batch", type=whole, nargs="+", default=[1], help="rows in one call (default 1)")
    parser.add_argument("--sequence", type=whole, nargs="+", help="tokens in a row (default 32 128)")
    parser.add_argument("--limit", type=whole, default=1800, help="seconds for each process of it (default 1800)")
    parser.add_argument("--device", help="how the report calls this device (default: its CPU and cores)")
    parser.add_argument("--sign", metavar="KEY", help="sign the record with this private key (P-256, PEM), by openssl")
    parser.add_argument("--out", type=Path, default=Path("record.json"), help="the record (default record.json)")
    options = parser.parse_args(arguments)
    for name in ("threads", "batch", "sequence"):  # a shape is timed once
        setattr(options, name, list(dict.fromkeys(getattr(options, name) or [])))
    return options


def main(arguments: list[str] | None = None) -> int:
    silence()  # children inherit it
    given = sys.argv[1:] if arguments is None else arguments
    if given == [SIT]:
        serve()
    options = parsed(given)
    try:
        try_place(options.out)
        if options.sign:
            check_key(options.sign)
        record = measured(options)
        write({**record, **({"signature": sign(record, options.sign)} if options.sign else {})}, options.out)
    except EdgepressError as fault:
        print(visible(f"error: {fault}"), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("error: stopped by Ctrl-C; no record was written.", file=sys.stderr)
        return 130
    print(visible(f"{summary(record)}\nRecord: {options.out}"))
    return 0
