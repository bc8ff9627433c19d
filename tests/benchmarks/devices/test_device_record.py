"""Records of devices: what is refused, with which words, and what the merged report says."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgepress.benchmarks.devices.merge import add_records
from edgepress.benchmarks.devices.record import DeviceRecord, Devices, read_record
from edgepress.benchmarks.devices.release import Release
from edgepress.targets.device.record import record_sha256
from edgepress.targets.errors import ArtifactError, BenchmarkError, StoreError
from tests.benchmarks.tiny_release import seal_sums, tiny_record, tiny_release, write_sealed


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_release(tmp_path_factory.mktemp("run") / "release")


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "release").symlink_to(made)
    return tmp_path / "run"


@pytest.fixture
def sound(made: Path) -> dict[str, Any]:
    return tiny_record(made)


def latency(record: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**record, "latency": [{**record["latency"][0], **changes}]}


def accuracy(record: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**record, "accuracy": {**record["accuracy"], **changes}}


def test_records_of_several_devices_become_one_report(run: Path, sound: dict[str, Any], tmp_path: Path) -> None:
    paths = [write_sealed(tmp_path / f"{name}.json", {**sound, "device": name}) for name in ("phone", "board|1")]
    told = add_records(run, paths)
    assert told == run / "devices" / "devices.md"
    lines = told.read_text().splitlines()
    assert lines[0] == "# run: devices"
    assert [line.split(" | ")[0] for line in lines[6:8]] == ["| board\\|1", "| phone"]
    assert lines[7] == (
        "| phone | some CPU | onnxruntime-cpu | fp32 (fp32) | onnxruntime 1.2 | 0.7500 \\[0.3006, 0.9544\\] | 1.0000 "
        "| batch 1, 1 thread | 1.00 \\[1.00, 1.01\\] | needs 64, has 11 | 11 | 2 | 1 of 4 cores allowed; limited to "
        "1.5 cores' time |"
    )
    assert lines[-1] == (
        "| phone | onnxruntime-cpu | fp32 (fp32) | 120 | 2.00 | 1.50 | 1.00 kB | 41.5 → 50.0 | – | by a meter |"
    )
    assert [record.device for record in Devices.read(run / "devices" / "devices.json").records] == ["phone", "board|1"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pinned": None}, "not kept on processors of its own; "),
        ({"threads": 4, "pinned": [0]}, "4 threads shared 1 processor; "),
        ({"threads": 4, "pinned": [0, 2]}, "4 threads shared 2 processors; "),
        ({"threads": 2, "pinned": [0, 2]}, ""),
        ({"threads": None, "pinned": None}, ""),
        ({"stable": False}, "never warmed up: two windows of calls never agreed within 2 %; "),
    ],
)
def test_what_lessens_a_figure_is_remarked(
    run: Path, sound: dict[str, Any], tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    told = add_records(run, [write_sealed(tmp_path / "one.json", latency(sound, **changes))]).read_text()
    assert f"| 2 | {words}1 of 4 cores allowed; limited to 1.5 cores' time |" in told


def test_records_that_are_there_are_kept(run: Path, sound: dict[str, Any], tmp_path: Path) -> None:
    add_records(run, [write_sealed(tmp_path / "one.json", sound)])
    add_records(run, [write_sealed(tmp_path / "two.json", {**sound, "device": "other"})])
    assert [record.device for record in Devices.read(run / "devices" / "devices.json").records] == ["board", "other"]


def test_a_record_of_an_earlier_release_is_kept_with_a_remark(sound: dict[str, Any], tmp_path: Path) -> None:
    run = tmp_path / "run"
    tiny_release(run / "release")
    add_records(run, [write_sealed(tmp_path / "one.json", sound)])
    (run / "release").rename(tmp_path / "old")
    tiny_release(run / "release", scale=2.0)
    new = tiny_record(run / "release", device="new")
    lines = add_records(run, [write_sealed(tmp_path / "two.json", new)]).read_text().splitlines()
    assert "of an earlier release of this run" in lines[6] and "earlier release" not in lines[7]


def test_nothing_is_written_where_one_record_is_refused(run: Path, sound: dict[str, Any], tmp_path: Path) -> None:
    good = write_sealed(tmp_path / "good.json", sound)
    bad = write_sealed(tmp_path / "bad.json", latency(sound, p50=0.5))
    with pytest.raises(ArtifactError, match=r"bad\.json contradicts its raw values"):
        add_records(run, [good, bad])
    assert not (run / "devices").exists()


FORGED: list[tuple[Callable[[dict[str, Any]], dict[str, Any]], str]] = [
    (lambda r: latency(r, p50=0.5), r"contradicts its raw values: latency\.0\.p50 is 0\.5, 11 samples give 1\.005"),
    (lambda r: latency(r, p90=1.0), r"latency\.0\.p90 is 1\.0, 11 samples give None"),
    (lambda r: latency(r, p50=None), r"latency\.0\.p50 is None, 11 samples give 1\.005"),
    (lambda r: {**r, "latency": r["latency"] * 2}, "one shape is there twice"),
    (lambda r: accuracy(r, value=1.0), r"accuracy\.value is 1\.0, the predicted rows give 0\.75"),
    (lambda r: accuracy(r, right=4), r"accuracy\.right is 4, the predicted rows give 3"),
    (lambda r: accuracy(r, agreement=0.5), r"accuracy\.agreement is 0\.5, the predicted rows give 1\.0"),
    (lambda r: accuracy(r, rows=5), r"accuracy\.rows is 5, 4 rows were predicted"),
    (lambda r: latency(r, samples=[0.0] * 11), r"is damaged: latency\.0\.samples\.0: Input should be greater than 0"),
    (lambda r: latency(r, samples=[]), r"is damaged: latency\.0\.samples: Tuple should have at least 1 item"),
    (lambda r: {**r, "extra": 1}, r"is damaged: extra: Extra inputs are not permitted"),
    (lambda r: {**r, "schema_version": "2.0"}, r"has schema version '2\.0', this edgepress reads '1\.1'\. Package"),
    (lambda r: {**r, "schema_version": "1.0"}, r"has schema version '1\.0', this edgepress reads '1\.1'\. Package"),
    (lambda r: latency(r, sittings=[10]), r"latency\.0\.sittings are of 10 samples, there are 11"),
    (lambda r: latency(r, energy_uj=-1), r"is damaged: latency\.0\.energy_uj: Input should be greater than or"),
    (lambda r: latency(r, pinned=[]), r"is damaged: latency\.0\.pinned: Tuple should have at least 1 item"),
    (lambda r: {**r, "kind": "report"}, r"is no record of a device \(kind 'report'\)\. Give what run_benchmark\.py"),
    (lambda r: {**r, "open_ms": float("nan")}, r"is damaged: it holds NaN, which is no number\. Copy it again"),
]  # fmt: skip


@pytest.mark.parametrize(("forge", "words"), FORGED)
def test_what_was_edited_is_found_although_it_was_sealed_anew(
    sound: dict[str, Any], tmp_path: Path, forge: Callable[[dict[str, Any]], dict[str, Any]], words: str
) -> None:
    with pytest.raises(ArtifactError, match=words) as told:
        read_record(write_sealed(tmp_path / "record.json", forge(sound)))
    assert "\n" not in str(told.value)


FOREIGN: list[tuple[Callable[[dict[str, Any]], dict[str, Any]], str]] = [
    (lambda r: {**r, "target": "xla-tpu"}, "target 'xla-tpu' is not in it, it has onnxruntime-cpu"),
    (lambda r: {**r, "precision": "int8"}, "its precision is 'int8', the release has 'fp32'"),
    (lambda r: {**r, "recipe_digest": "c" * 64}, "its recipe_digest is 'ccc"),
    (
        lambda r: {**r, "files": {**r["files"], "onnxruntime-cpu/model.onnx": "0" * 64}},
        "onnxruntime-cpu/model.onnx had the sha256 0000000000000000…, the released one has ",
    ),
    (lambda r: {**r, "name": "other"}, "its name is 'other', the release has 'tiny'"),
    (lambda r: {**r, "sample_sha256": "0" * 64}, "its accuracy is on other rows than those that travel with the"),
    (lambda r: {**r, "sample_sha256": None}, "its accuracy is on other rows than those that travel with the release"),
    (lambda r: {**r, "files": {}}, "onnxruntime-cpu/artifact.json had the sha256 None…"),
    (lambda r: {**r, "files": {**r["files"], "x": "0" * 64}}, "it names x, which is no file of the artifact"),
    (
        lambda r: accuracy(r, labels=[0, 1, 0, 1], right=4, value=1.0),
        "its labels or the teacher's classes are not those of the sample",
    ),
]


@pytest.mark.parametrize(("forge", "words"), FOREIGN)
def test_what_is_of_another_release_is_refused(
    run: Path, sound: dict[str, Any], tmp_path: Path, forge: Callable[[dict[str, Any]], dict[str, Any]], words: str
) -> None:
    with pytest.raises(ArtifactError, match=f"is not of this release: {words}") as told:
        add_records(run, [write_sealed(tmp_path / "record.json", forge(sound))])
    assert str(told.value).endswith("Measure the release of this very run.")


def test_records_of_an_older_version_that_were_added_before_are_told(
    run: Path, sound: dict[str, Any], tmp_path: Path
) -> None:
    (run / "devices").mkdir()
    (run / "devices" / "devices.json").write_text('{"schema_version": "1.0", "records": []}')
    with pytest.raises(ArtifactError) as told:
        add_records(run, [write_sealed(tmp_path / "one.json", sound)])
    assert str(told.value) == (
        f"{run}/devices/devices.json holds records of schema version '1.0', this edgepress reads '1.1'. Move "
        f"{run}/devices away, package the release with this version and measure again."
    )
    (run / "devices" / "devices.json").write_text("{")
    with pytest.raises(ArtifactError, match=r"devices\.json is damaged or of another version"):
        add_records(run, [tmp_path / "one.json"])


def test_a_careless_edit_is_found_by_the_records_own_sha256(sound: dict[str, Any], tmp_path: Path) -> None:
    path = write_sealed(tmp_path / "record.json", sound)
    path.write_text(path.read_text().replace('"board"', '"my phone"'))
    with pytest.raises(ArtifactError, match=r"was changed after it was written: its content has the sha256 \w{16}…"):
        read_record(path)


@pytest.mark.parametrize("text", ["", "{", '{"kind": ', "[" * 100_000])
def test_what_is_no_json_is_damaged(text: str, tmp_path: Path) -> None:
    (tmp_path / "record.json").write_text(text)
    with pytest.raises(ArtifactError, match=r"record\.json is damaged: .*\. Copy it again from the device"):
        read_record(tmp_path / "record.json")


def test_a_missing_record_and_a_list_are_told(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"gone\.json is missing\. Give the record that run_benchmark\.py wrote"):
        read_record(tmp_path / "gone.json")
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(ArtifactError, match=r"is no record of a device \(kind None\)"):
        read_record(tmp_path / "list.json")
    with pytest.raises(ArtifactError, match=r"cannot be read \(Is a directory\)"):
        read_record(tmp_path)


def test_the_same_record_twice_is_refused(run: Path, sound: dict[str, Any], tmp_path: Path) -> None:
    one = write_sealed(tmp_path / "one.json", sound)
    with pytest.raises(BenchmarkError, match=r"one\.json is the same record again: .*one\.json was given before"):
        add_records(run, [one, one])
    add_records(run, [one])
    with pytest.raises(BenchmarkError, match=r"the same record again: .*run has it already\. Leave it out\."):
        add_records(run, [one])


def test_a_run_without_a_release_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"gone does not exist\. Give a finished run"):
        add_records(tmp_path / "gone", [])
    (tmp_path / "empty").mkdir()
    with pytest.raises(StoreError, match=r"empty has no release\. Give a finished run"):
        add_records(tmp_path / "empty", [])
    (tmp_path / "empty" / "release").mkdir()
    (tmp_path / "empty" / "release" / "manifest.json").write_text(json.dumps({"files": []}))
    with pytest.raises(ArtifactError, match=r"SHA256SUMS is missing, and nothing is opened without it\. Copy the"):
        add_records(tmp_path / "empty", [])
    seal_sums(tmp_path / "empty" / "release", [])
    with pytest.raises(ArtifactError, match=r"manifest\.json is damaged \(KeyError: 'artifacts'\)"):
        add_records(tmp_path / "empty", [])


def test_a_release_that_was_changed_takes_no_records(run: Path, sound: dict[str, Any], tmp_path: Path) -> None:
    one = write_sealed(tmp_path / "one.json", sound)
    (run / "release/stray.py").write_text("")
    with pytest.raises(ArtifactError, match=r"stray\.py is not of this release: SHA256SUMS does not name it\. Move"):
        add_records(run, [one])
    (run / "release/stray.py").unlink()
    (run / "release/sample.npz").write_bytes(b"x")
    with pytest.raises(ArtifactError, match=r"sample\.npz is not the released file: its sha256 is"):
        add_records(run, [one])


# --- the whole kind of damage and forgery ----------------------------------------------------------------------------


def leaves(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The place of every value in a record that is no list or mapping."""
    if isinstance(value, dict | list) and value:
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(inner, (*place, key))
    else:
        yield place


def other(value: Any) -> Any:
    """Another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return ("1" if value[:1] == "0" else "0") + value[1:]
    return ["1"] if value == [] else 1 if value is None else value + 1


def with_other(record: dict[str, Any], place: tuple[Any, ...]) -> dict[str, Any]:
    changed: Any = json.loads(json.dumps(record))
    inner = changed
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = other(inner[place[-1]])
    return dict(changed)


# What nobody but the device itself can know, and nothing else in the record or the release contradicts.
ITS_WORD = {
    *("runner_sha256", "device", "open_ms", "first_inference_ms", "cold_start_ms", "energy_note", "created"),
    *("peak_memory_bytes", "runtime.name", "runtime.version", "remarks"),
    *(f"environment.{name}" for name in ("cpu", "usable_cores", "logical_cores", "cpu_quota", "governor")),
    *(f"environment.temperature_{when}_c" for when in ("before", "after")),
    *(f"latency.0.{name}" for name in ("batch", "sequence", "threads", "pinned.0", "warmup_rounds", "stable")),
    "latency.0.energy_uj",
}


def test_every_value_of_a_record_that_is_changed_is_found_and_forged_where_anything_contradicts_it(
    tmp_path: Path,
) -> None:
    """Changed: by the record's own sha256. Sealed anew: by its raw values or the release; the rest is the device's
    word, for which a signature is."""
    believed = set()
    sound = tiny_record(tiny_release(tmp_path / "release"))
    release = Release(tmp_path / "release")
    for place in leaves(sound):
        forged = with_other(sound, place)
        careless = tmp_path / "careless.json"
        careless.write_text(json.dumps({**forged, "record_sha256": record_sha256(sound)}))
        with pytest.raises(ArtifactError):
            read_record(careless)
        path = write_sealed(tmp_path / "forged.json", forged)
        try:
            release.check(path, read_record(path))
        except ArtifactError as fault:
            assert "\n" not in str(fault)
        else:
            believed.add(".".join(map(str, place)))
    samples = {f"latency.0.samples.{number}" for number in range(11)}
    # One sample may be another as long as the median stays: those above it may grow.
    assert believed - ITS_WORD <= samples and believed >= ITS_WORD
    assert {f"latency.0.samples.{number}" for number in range(5)} & believed == set()


def test_a_flipped_bit_of_a_record_is_found(
    sound: dict[str, Any], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    path = write_sealed(tmp_path / "record.json", sound)
    content = path.read_bytes()
    count = int(request.config.getoption("--tamper"))
    for number in range(count):
        damaged, bit = bytearray(content), number * 8 * len(content) // count
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        try:  # white space that became other white space says the same
            assert read_record(path).model_dump_json() == reference(content), bit
        except ArtifactError as fault:
            assert "\n" not in str(fault)


def reference(content: bytes) -> str:
    return DeviceRecord.model_validate_json(content).model_dump_json()


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_record_that_was_cut_is_damaged(sound: dict[str, Any], tmp_path: Path, share: float) -> None:
    path = write_sealed(tmp_path / "record.json", sound)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ArtifactError, match=r"record\.json is damaged: .*\. Copy it again from the device"):
        read_record(path)
