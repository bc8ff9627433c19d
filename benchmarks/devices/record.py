"""Records that `run_benchmark.py` wrote on devices: checked against a run's release, merged into one hardware report.

A record's own sha256 finds damage and careless edits; it is no signature. So every figure is derived again from the
raw values, too: one that was edited and sealed anew is found where it contradicts them.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError

from edgepress.targets.device.percentiles import PERCENTILES, told_percentile
from edgepress.targets.device.record import KIND, MOST_SAMPLES, SCHEMA_VERSION, record_sha256
from edgepress.targets.errors import ArtifactError, told
from edgepress.targets.records import Record

if TYPE_CHECKING:
    from edgepress.benchmarks.devices.signed import DeviceKey

SAME = 1e-9
AGAIN = "Copy it again from the device, or measure again there."

MOST_IN_ALL, MOST_ROWS, MOST_BYTES = 200_000, 1_000_000, 64 << 20

# Numbers that other programs can hold, too; texts that fit into a table.
Whole = Annotated[int, Field(ge=1, lt=1 << 63)]
Count = Annotated[int, Field(ge=0, lt=1 << 63)]
Text = Annotated[str, Field(max_length=1000)]
Classes = Annotated[tuple[Count, ...], Field(max_length=MOST_ROWS)]
Positive = Annotated[float, Field(gt=0, lt=1e12, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Cosine = Annotated[float, Field(ge=-1 - 1e-6, le=1 + 1e-6, allow_inf_nan=False)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class DeviceRuntime(Record):
    """What ran the artifact, and on which kind of processor."""

    name: Text
    version: Text
    runs_on: Literal["CPU", "GPU", "TPU"]


class DeviceAccuracy(Record):
    """Figures on the shipped sample, and the classes they come from, one for each row."""

    rows: Whole
    right: Count
    value: Share
    agreement: Share
    predicted: Classes
    labels: Classes
    teacher: Classes


class DeviceLikeness(Record):
    """Of vectors, the mean cosine with the teacher's on the shipped sample, and each row's."""

    rows: Whole
    value: Cosine
    cosines: Annotated[tuple[Cosine, ...], Field(max_length=MOST_ROWS)]


class DeviceLatency(Record):
    """Raw wall times of one shape in ms, and their percentiles; null where the samples are too few to tell one.

    `threads` is null where the runtime decides on them itself; `pinned` holds the processors that the process was kept
    on, and is null where it was not. `sittings`: how many of the samples each process took, in order. `energy_uj`: of
    all samples together, in microjoules.
    """

    batch: Whole
    sequence: Whole | None
    threads: Whole | None
    pinned: Annotated[tuple[Count, ...], Field(min_length=1, max_length=100_000)] | None
    unit: Literal["ms"]
    samples: Annotated[tuple[Positive, ...], Field(min_length=1, max_length=MOST_SAMPLES)]
    sittings: Annotated[tuple[Whole, ...], Field(min_length=1, max_length=MOST_SAMPLES)]
    p50: Positive | None
    p90: Positive | None
    p95: Positive | None
    p99: Positive | None
    p99_9: Positive | None
    warmup_rounds: Count
    stable: bool
    energy_uj: Count | None


def _few_enough(rows: tuple[DeviceLatency, ...]) -> tuple[DeviceLatency, ...]:
    """Intervals of medians cost 2,000 draws of all samples."""
    if (count := sum(len(row.samples) for row in rows)) > MOST_IN_ALL:
        raise ValueError(f"{count} samples in all, at most {MOST_IN_ALL} are read")
    return rows


def _bounded(value: Any, depth: int = 0) -> Any:
    """Facts of a machine: numbers and texts of a sane size, lists and mappings of them."""
    if depth > 4:
        raise ValueError("nested more than 4 deep")
    if isinstance(value, dict | list):
        if len(value) > 1000:
            raise ValueError(f"{len(value)} entries in one place, at most 1000 are read")
        for inner in (*value, *value.values()) if isinstance(value, dict) else value:
            _bounded(inner, depth + 1)
    elif isinstance(value, str) and len(value) > 1000:
        raise ValueError(f"a text of {len(value)} characters, at most 1000 are read")
    elif isinstance(value, int | float) and not abs(value) < 1 << 63:
        raise ValueError("a number beyond 2^63")
    return value


class DeviceSignature(Record):
    """By the device's key: sha256 of its public half as PEM, and base64 of ECDSA's DER."""

    key: Sha256
    ecdsa_p256_sha256: Annotated[str, Field(pattern="^[A-Za-z0-9+/=]{64,128}$")]


class DeviceRecord(Record):
    """What one device measured of one artifact. `files`: path in the release -> sha256.

    `cold_start_ms`: from the start of a process to its first answer, Python, NumPy and the runtime loaded in it, the
    files read before. `open_ms` and `first_inference_ms` are parts of it. `peak_memory_bytes`: of the largest process.
    `energy_note`: how energy was taken, or why not.
    """

    schema_version: Literal["1.1"]
    kind: Literal["edgepress-device-record"]
    name: Text
    recipe_digest: Text
    target: Text
    artifact: Text
    precision: Text
    files: Annotated[dict[str, Sha256], Field(max_length=10_000)]
    sample_sha256: Sha256 | None
    runner_sha256: Sha256
    device: Annotated[str, Field(min_length=1, max_length=1000)]
    runtime: DeviceRuntime
    environment: Annotated[dict[str, Any], AfterValidator(_bounded)]
    accuracy: DeviceAccuracy | None
    likeness: DeviceLikeness | None = None
    remarks: Annotated[tuple[Text, ...], Field(max_length=100)]
    open_ms: Positive
    first_inference_ms: Positive
    cold_start_ms: Positive
    energy_note: Text
    latency: Annotated[tuple[DeviceLatency, ...], Field(min_length=1, max_length=1000), AfterValidator(_few_enough)]
    peak_memory_bytes: Whole | None
    created: Text
    signature: DeviceSignature | None = None
    record_sha256: Sha256


class Devices(Record):
    """`devices.json`: every record that was added to a run, as it was."""

    schema_version: Literal["1.1"] = "1.1"
    records: tuple[DeviceRecord, ...] = ()


def version_of(text: str) -> object:
    """The schema version that a JSON text names; None where it names none."""
    try:
        found = json.loads(text)
    except ValueError:  # `read` tells what is wrong
        return None
    return found.get("schema_version") if isinstance(found, dict) else None


def read_record(path: Path, key: DeviceKey | None = None) -> DeviceRecord:
    """One record whose figures are those of its raw values, signed by `key` where one is given.

    Raises:
        ArtifactError: it is not; the message says what was wrong.
        UnsignedError: it is not signed by the key.
    """
    content = _content(path)
    got, want = record_sha256(content), content.get("record_sha256")
    if got != want:
        raise ArtifactError(
            f"{path} was changed after it was written: its content has the sha256 {got[:16]}…, it says "
            f"{str(want)[:16]}…. {AGAIN}"
        )
    if key is not None:
        key.check(path, content)
    try:
        record = DeviceRecord.model_validate_json(json.dumps(content))
    except ValidationError as fault:
        first = fault.errors()[0]
        raise ArtifactError(f"{path} is damaged: {'.'.join(map(str, first['loc']))}: {first['msg']}. {AGAIN}") from None
    for contradiction in (*_latency_faults(record), *_accuracy_faults(record), *_likeness_faults(record)):
        raise ArtifactError(f"{path} contradicts its raw values: {contradiction}. {AGAIN}")
    return record


def kept_records(folder: Path) -> Devices:
    """The records that were added to a folder before. Raises ArtifactError where they are of another version."""
    path = folder / "devices.json"
    if not path.is_file():
        return Devices()
    version = version_of(path.read_text(encoding="utf-8", errors="replace"))
    if version not in (None, SCHEMA_VERSION):
        raise ArtifactError(
            f"{path} holds records of schema version {version!r}, this edgepress reads {SCHEMA_VERSION!r}. Move "
            f"{folder} away, package the release with this version and measure again."
        )
    return Devices.read(path)


def _content(path: Path) -> dict[str, Any]:
    """The JSON object of a record of this kind and version."""
    try:
        if (size := path.stat().st_size) > MOST_BYTES:
            raise ArtifactError(f"{path} has {size} bytes, at most {MOST_BYTES} are read. Measure fewer samples.")
        found = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_number)
    except FileNotFoundError:
        raise ArtifactError(f"{path} is missing. Give the record that run_benchmark.py wrote.") from None
    except OSError as fault:
        raise ArtifactError(f"{path} cannot be read ({fault.strerror}). Give the file of one record.") from None
    except (ValueError, RecursionError, ArtifactError) as fault:
        raise ArtifactError(f"{path} is damaged: {told(fault)}. {AGAIN}") from None
    kind, version = (found.get("kind"), found.get("schema_version")) if isinstance(found, dict) else (None, None)
    if kind != KIND:
        raise ArtifactError(f"{path} is no record of a device (kind {kind!r}). Give what run_benchmark.py wrote.")
    if version != SCHEMA_VERSION:
        raise ArtifactError(
            f"{path} has schema version {version!r}, this edgepress reads {SCHEMA_VERSION!r}. Package the release with "
            f"this version and measure again."
        )
    return dict(found)


def _no_number(name: str) -> float:
    raise ArtifactError(f"it holds {name}, which is no number")


def _latency_faults(record: DeviceRecord) -> list[str]:
    shapes = [(row.batch, row.sequence, row.threads) for row in record.latency]
    found = ["one shape is there twice"] if len(set(shapes)) < len(shapes) else []
    for number, row in enumerate(record.latency):
        if sum(row.sittings) != len(row.samples):
            found.append(f"latency.{number}.sittings are of {sum(row.sittings)} samples, there are {len(row.samples)}")
        for name, share in PERCENTILES.items():
            want, got = told_percentile(row.samples, share), getattr(row, name)
            if (want is None) != (got is None) or (want is not None and not math.isclose(want, got, rel_tol=SAME)):
                found.append(f"latency.{number}.{name} is {got}, {len(row.samples)} samples give {want}")
    return found


def _likeness_faults(record: DeviceRecord) -> list[str]:
    likeness = record.likeness
    if likeness is None:
        return []
    if len(likeness.cosines) != likeness.rows:
        return [f"likeness.rows is {likeness.rows}, {len(likeness.cosines)} cosines are there"]
    want = math.fsum(likeness.cosines) / likeness.rows
    same = math.isclose(likeness.value, want, rel_tol=SAME, abs_tol=SAME)
    return [] if same else [f"likeness.value is {likeness.value}, the cosines give {want}"]


def _accuracy_faults(record: DeviceRecord) -> list[str]:
    accuracy = record.accuracy
    if accuracy is None:
        return []
    if {len(accuracy.predicted), len(accuracy.labels), len(accuracy.teacher)} != {accuracy.rows}:
        return [f"accuracy.rows is {accuracy.rows}, {len(accuracy.predicted)} rows were predicted"]
    right = sum(a == b for a, b in zip(accuracy.predicted, accuracy.labels, strict=True))
    agreed = sum(a == b for a, b in zip(accuracy.predicted, accuracy.teacher, strict=True))
    wanted = {"right": right, "value": right / accuracy.rows, "agreement": agreed / accuracy.rows}
    return [
        f"accuracy.{name} is {getattr(accuracy, name)}, the predicted rows give {want}"
        for name, want in wanted.items()
        if not math.isclose(getattr(accuracy, name), want, rel_tol=SAME)
    ]
