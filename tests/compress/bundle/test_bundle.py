"""`edgepress verify`: whatever was changed in a bundle is found, without torch and without opening anything."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from edgepress.benchmarks.records.report import Report
from edgepress.compress.bundle.contents import Contents, read_folder
from edgepress.compress.bundle.difference import changes, read_side
from edgepress.compress.bundle.manifest import SHIPPED, Manifest, manifest_schema, schema_text
from edgepress.compress.bundle.verify import told_faults, verify
from edgepress.compress.cli.app import app
from edgepress.targets.records import Artifact
from edgepress.targets.text import visible
from tests.benchmarks.quality import quality
from tests.benchmarks.tiny_release import TARGET
from tests.compress.bundles import MISSED, OTHER, flip, seal_as, tiny_bundle
from tests.conftest import ROOT

HEAVY = (
    "torch",
    "onnxruntime",
    "onnx",
    "transformers",
    "jax",
    "ai_edge_litert",
    "tensorrt",
    "datasets",
    "cryptography",
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("bundle") / "release")


@pytest.fixture
def bundle(made: Path, tmp_path: Path) -> Path:
    """A bundle of its own."""
    return shutil.copytree(made, tmp_path / "release")


def edgepress(*arguments: object) -> tuple[int, str]:
    told = CliRunner().invoke(app, [str(word) for word in arguments], env={"COLUMNS": "200"})
    return told.exit_code, told.output


def faults(bundle: Path) -> tuple[str, ...]:
    return verify(read_folder(bundle)).faults


def test_a_bundle_as_it_was_released_verifies(bundle: Path) -> None:
    count = len([path for path in bundle.rglob("*") if path.is_file()])
    code, told = edgepress("verify", bundle)
    assert code == 0
    assert f"release is tiny as released: {count} files, " in told
    assert "bytes, onnxruntime-cpu fp32, xla-tpu fp32; 1 of 1 gates held" in told


def test_verifying_needs_neither_torch_nor_a_backend(bundle: Path) -> None:
    block = f"import sys\nfor name in {HEAVY!r}:\n    sys.modules[name] = None\n"
    start = f"sys.argv = ['edgepress', 'verify', {str(bundle)!r}]\nfrom edgepress.compress.cli.app import main\nmain()"
    done = subprocess.run([sys.executable, "-c", block + start], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "") and "as released" in done.stdout


def test_every_flipped_bit_is_found(bundle: Path, request: pytest.FixtureRequest) -> None:
    """A position of each file first, then anywhere, every file as often as any other."""
    count, numbers = int(request.config.getoption("--tamper")), np.random.default_rng(0)
    paths = sorted(path for path in bundle.rglob("*") if path.is_file() and path.stat().st_size)
    missed = []
    for number in range(max(count, len(paths))):
        path = paths[number % len(paths)]
        before, bit = path.read_bytes(), int(numbers.integers(path.stat().st_size * 8))
        flip(path, bit)
        if not faults(bundle):
            missed.append((path.name, bit))
        path.write_bytes(before)
    assert missed == [] and faults(bundle) == ()


def add(bundle: Path) -> None:
    (bundle / TARGET / "extra.bin").write_bytes(b"x")


def add_under_git(bundle: Path) -> None:
    (bundle / ".git/hooks").mkdir(parents=True)
    (bundle / ".git/hooks/post-checkout").write_text("#!/bin/sh")


def add_bytecode(bundle: Path) -> None:
    (bundle / "edgepress_device/__pycache__").mkdir()
    (bundle / "edgepress_device/__pycache__/errors.cpython-311.pyc").write_bytes(b"x")


def add_record(bundle: Path) -> None:
    (bundle / "record.json").write_text('{"kind": "edgepress-device-record"}')


def remove(bundle: Path) -> None:
    (bundle / TARGET / "model.onnx").unlink()


def remove_sums(bundle: Path) -> None:
    (bundle / "SHA256SUMS").unlink()


def remove_manifest(bundle: Path) -> None:
    (bundle / "manifest.json").unlink()


def remove_report(bundle: Path) -> None:
    (bundle / "report.json").unlink()


def rename(bundle: Path) -> None:
    (bundle / TARGET / "model.onnx").rename(bundle / TARGET / "model2.onnx")


def swap(bundle: Path) -> None:
    one, two = bundle / TARGET / "artifact.json", bundle / OTHER / "artifact.json"
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)


def link(bundle: Path) -> None:
    place = bundle / TARGET / "model.onnx"
    place.rename(bundle.parent / "model.onnx")
    place.symlink_to(bundle.parent / "model.onnx")


def link_inside(bundle: Path) -> None:
    (bundle / TARGET / "model.onnx").unlink()
    (bundle / TARGET / "model.onnx").symlink_to(f"../{OTHER}/model.onnx")


def link_folder(bundle: Path) -> None:
    shutil.move(bundle / TARGET, bundle.parent / "moved")
    (bundle / TARGET).symlink_to(bundle.parent / "moved")


def broken_link(bundle: Path) -> None:
    (bundle / "notes").symlink_to("nowhere")


def pipe(bundle: Path) -> None:
    os.mkfifo(bundle / "pipe")


def pipe_in_place(bundle: Path) -> None:
    (bundle / "manifest.json").unlink()
    os.mkfifo(bundle / "manifest.json")


def empty_folder(bundle: Path) -> None:
    (bundle / "empty").mkdir()


def cut(bundle: Path) -> None:
    os.truncate(bundle / TARGET / "model.onnx", 10)


def lengthen(bundle: Path) -> None:
    with (bundle / "SHA256SUMS").open("a") as file:
        file.write("\n")


def blow_up(bundle: Path) -> None:
    os.truncate(bundle / "report.json", 40 << 20)  # sparse: nothing is written


def odd_names(bundle: Path) -> None:
    (bundle / "a\nb\x1b[2J").symlink_to("x")
    (bundle / os.fsdecode(b"\xff")).write_text("x")


def folder_in_place(bundle: Path) -> None:
    (bundle / "report.json").unlink()
    (bundle / "report.json").mkdir()
    (bundle / "report.json/x").touch()


HARMS: list[tuple[Callable[[Path], object], str]] = [
    (add, "'onnxruntime-cpu/extra.bin' is not of the release"),
    (add_under_git, "'.git/hooks/post-checkout' is not of the release"),
    (add_bytecode, "'edgepress_device/__pycache__/errors.cpython-311.pyc' is not of the release"),
    (add_record, "'record.json' is not of the release"),
    (remove, "onnxruntime-cpu/model.onnx is missing"),
    (remove_sums, "SHA256SUMS is missing, or no plain file"),
    (remove_manifest, "manifest.json is missing, or no plain file"),
    (remove_report, "report.json is missing"),
    (rename, "onnxruntime-cpu/model.onnx is missing"),
    (swap, "onnxruntime-cpu/artifact.json is not the released file ("),
    (link, "onnxruntime-cpu/model.onnx is a link"),
    (link_inside, "onnxruntime-cpu/model.onnx is a link"),
    (link_folder, "onnxruntime-cpu is a link"),
    (broken_link, "notes is a link"),
    (pipe, "pipe is no plain file"),
    (pipe_in_place, "manifest.json is no plain file"),
    (empty_folder, "empty is an empty folder"),
    (cut, "onnxruntime-cpu/model.onnx is not the released file (10 bytes, "),
    (lengthen, "SHA256SUMS, line"),
    (blow_up, "report.json has 41943040 bytes, at most 33554432 are read"),
    (folder_in_place, "report.json is missing"),
    (odd_names, "'a\\nb\\x1b[2J' is a link"),
    (odd_names, "'\\udcff' is not of the release"),
]


@pytest.mark.parametrize(
    ("harm", "words"), HARMS, ids=[f"{number}-{harm.__name__}" for number, (harm, _) in enumerate(HARMS)]
)
def test_whatever_is_done_to_the_files_is_found(bundle: Path, harm: Callable[[Path], object], words: str) -> None:
    harm(bundle)
    assert any(words in fault for fault in faults(bundle)), faults(bundle)
    code, told = edgepress("verify", bundle)
    assert code == 1
    assert told.startswith(f"error: {bundle} is not as it was released: ") and told.count("\n") == 1


def change_report(**changes: Any) -> Callable[[Path], None]:
    def change(bundle: Path) -> None:
        report = Report.read(bundle / "report.json")
        (bundle / "report.json").write_text(report.model_copy(update=changes).model_dump_json())

    return change


def change_bytes(bundle: Path) -> None:
    report = Report.read(bundle / "report.json")
    rows = (report.candidates[0].model_copy(update={"bytes": 1}), *report.candidates[1:])
    change_report(candidates=rows)(bundle)


def choose_less(bundle: Path) -> None:
    report = Report.read(bundle / "report.json")
    change_report(candidates=report.candidates[:1])(bundle)


def leave_out_a_file(bundle: Path) -> None:
    record = json.loads((bundle / TARGET / "artifact.json").read_text())
    (bundle / TARGET / "artifact.json").write_text(json.dumps(record | {"files": []}))


def swap_names(bundle: Path) -> None:
    record = json.loads((bundle / TARGET / "artifact.json").read_text())
    (bundle / TARGET / "artifact.json").write_text(json.dumps(record | {"name": "int8"}))


RESEALED: list[tuple[Callable[[Path], object], str]] = [
    (change_report(name="other"), "report.json is of another run: 'other', not 'tiny'"),
    (change_report(recipe_digest="c" * 64), "report.json is of another run"),
    (change_report(gates=()), "manifest.json has other gates than report.json"),
    (change_bytes, "report.json has 1 bytes of onnxruntime-cpu fp32, the release has"),
    (choose_less, "report.json chose onnxruntime-cpu fp32, the release holds onnxruntime-cpu fp32, xla-tpu fp32"),
    (leave_out_a_file, "onnxruntime-cpu/model.onnx is not as onnxruntime-cpu/artifact.json has it"),
    (swap_names, "onnxruntime-cpu holds 'int8' of 'onnxruntime-cpu', not 'fp32'"),
    (lambda bundle: (bundle / "report.json").write_text("[" * 100_000), "report.json is damaged"),
]


@pytest.mark.parametrize(("harm", "words"), RESEALED)
def test_records_that_contradict_one_another_are_found_in_a_sealed_bundle(
    bundle: Path, harm: Callable[[Path], object], words: str
) -> None:
    report = Report.read(bundle / "report.json")
    harm(bundle)
    seal_as(bundle, report)
    assert any(words in fault for fault in faults(bundle)), faults(bundle)


def test_names_that_differ_in_case_alone_are_found(bundle: Path) -> None:
    (bundle / TARGET / "MODEL.onnx").write_bytes(b"x")
    record = json.loads((bundle / TARGET / "artifact.json").read_text())
    entry = record["files"][0] | {"path": "MODEL.onnx", "bytes": 1}
    (bundle / TARGET / "artifact.json").write_text(json.dumps(record | {"files": [*record["files"], entry]}))
    seal_as(bundle, Report.read(bundle / "report.json"))
    assert any("'onnxruntime-cpu/model.onnx' that differ in case alone" in fault for fault in faults(bundle))


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x", "C:x", "a\\b", "", "manifest.json"])
def test_a_manifest_that_names_what_is_not_its_own_is_refused(bundle: Path, path: str) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["files"][0]["path"] = path
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    assert faults(bundle) != ()
    assert edgepress("verify", bundle)[0] == 1


def test_a_missed_gate_is_told_and_has_an_exit_code_of_its_own(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "release", [MISSED])
    code, told = edgepress("verify", bundle)
    assert code == 4
    assert told == (
        f"error: {bundle} is as it was released, but the chosen artifacts miss 1 of 1 gates: min_shrink of "
        f"onnxruntime-cpu is 8, measured 2. Take it all the same with --allow-failed-gates\n"
    )
    code, told = edgepress("verify", bundle, "--allow-failed-gates")
    assert code == 0 and "; 0 of 1 gates held\n" in told


def test_a_bundle_that_is_not_there_is_wrong_usage(tmp_path: Path) -> None:
    assert edgepress("verify", tmp_path / "gone") == (
        2,
        f"error: {tmp_path / 'gone'} does not exist. Give a release: its folder, or the archive NAME.tar.zst\n",
    )


def test_a_manifest_fits_the_schema_that_is_shipped(bundle: Path) -> None:
    assert SHIPPED.read_text(encoding="utf-8") == schema_text(), "python -m edgepress.compress.bundle.manifest"
    Draft202012Validator.check_schema(manifest_schema())
    validator = Draft202012Validator(json.loads(SHIPPED.read_text(encoding="utf-8")))
    content = json.loads((bundle / "manifest.json").read_text())
    assert list(validator.iter_errors(content)) == []
    for change in ({"format": 2}, {"files": [{"path": "x"}]}, {"gates": 1}, {"more": 1}, {"artifacts": {"a": 1}}):
        assert list(validator.iter_errors(content | change)) != []
        with pytest.raises(ValueError):
            Manifest.model_validate(content | change)


def test_artifact_records_are_read_from_the_bytes_that_were_hashed(bundle: Path) -> None:
    contents = read_folder(bundle)
    (bundle / TARGET / "artifact.json").write_text("changed after it was read")
    assert verify(contents).faults == ()
    assert Artifact.parsed(contents.records[f"{TARGET}/artifact.json"], "x").name == "fp32"


def test_two_releases_are_told_apart(bundle: Path, tmp_path: Path) -> None:
    other = shutil.copytree(bundle, tmp_path / "other")
    assert edgepress("diff", bundle, other) == (
        0,
        f"{bundle} and {other} are the same release: {len(read_folder(bundle).files)} files\n",
    )
    report = Report.read(other / "report.json")
    figure = quality(0.75, None)[0]
    rows = (report.candidates[0].model_copy(update={"metrics": (figure,)}), *report.candidates[1:])
    changed = report.model_copy(update={"candidates": rows, "data": {"train": "b.csv"}})
    (other / "report.json").write_text(changed.model_dump_json())
    record = json.loads((other / TARGET / "artifact.json").read_text())
    record["programs"]["main"]["bounds"]["batch"] = [1, 16]
    (other / TARGET / "artifact.json").write_text(json.dumps(record))
    seal_as(other, changed)
    sides = [read_side(contents, verify(contents).manifest) for contents in map(read_folder, (bundle, other))]  # type: ignore[arg-type]
    found = changes(*sides)
    assert [change[:2] for change in found if change.where == "files"] == [
        ("files", "onnxruntime-cpu/artifact.json"),
        ("files", "report.json"),
    ]
    assert [change for change in found if change.where != "files"] == [
        ("", "data: train", "–", "b.csv"),
        (TARGET, "input pixels", "float32[batch 1..8, 4]", "float32[batch 1..16, 4]"),
        (TARGET, "output logits", "float32[batch 1..8, 2]", "float32[batch 1..16, 2]"),
        (TARGET, figure.name, "–", "0.75"),
    ]
    code, told = edgepress("diff", bundle, other)
    assert code == 0 and "6 differences" in told and "b.csv" in told
    flip(other / "report.json", 5)
    code, told = edgepress("diff", bundle, other)
    assert code == 1 and told.startswith(f"error: {other} is not as it was released")


VALUES: list[Any] = [
    None, True, -1, 0, 1e308, 10**30, "", "..", "/x", "a" * 5000, "\ud800", "\x1b[2J", [], {}, [None], {"a": 1},
    [[]] * 9,
]  # fmt: skip


def places(value: Any, before: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where something stands in a JSON value, by its keys."""
    pairs = list(value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ())
    return [(*before, key) for key, _ in pairs] + [
        place for key, inner in pairs for place in places(inner, (*before, key))
    ]


def mutated(content: Any, numbers: np.random.Generator) -> None:
    """Replace or remove one value somewhere in it."""
    found = places(content)
    *before, last = found[int(numbers.integers(len(found)))]
    for key in before:
        content = content[key]
    if numbers.random() < 0.2:
        del content[last]
    elif numbers.random() < 0.1 and isinstance(content, dict):
        content["a\nb\x1b[2J"] = 1
    else:
        content[last] = VALUES[int(numbers.integers(len(VALUES)))]


def test_records_of_any_content_are_compared_without_a_fault_of_ours(bundle: Path) -> None:
    """One record is changed anywhere, and every sha256 is made to fit again, as a forger would."""
    numbers, good = np.random.default_rng(0), read_folder(bundle)
    records = ["manifest.json", "report.json", f"{TARGET}/artifact.json"]
    whole, refused = read_side(good, Manifest.parsed(good.records["manifest.json"], "x")), 0
    for number in range(600):
        contents = Contents("x", dict(good.files), dict(good.records))
        path = records[number % 3]
        content = json.loads(good.records[path])
        mutated(content, numbers)
        for name, value in ((path, content), ("manifest.json", None)):
            if value is None and path != name:
                value = json.loads(good.records[name])
                (entry,) = [one for one in value["files"] if one["path"] == path]
                entry.update(bytes=len(contents.records[path]), sha256=contents.files[path].sha256)
            if value is not None:
                text = json.dumps(value).encode()
                contents.take(name, len(text), io.BytesIO(text).read)
        files = json.loads(contents.records["manifest.json"]).get("files")
        if isinstance(files, list) and all(isinstance(one, dict) and {"sha256", "path"} <= set(one) for one in files):
            lines = [f"{one['sha256']}  {one['path']}" for one in files]
            text = "\n".join([*lines, f"{contents.files['manifest.json'].sha256}  manifest.json\n"])
            sums = text.encode("utf-8", "replace")
            contents.take("SHA256SUMS", len(sums), io.BytesIO(sums).read)
        found = verify(contents)
        refused += bool(found.faults)
        if not found.faults and found.manifest is not None:
            changes(read_side(contents, found.manifest), whole)  # empty where a value was put in its own place
        told = visible(told_faults(found.faults))
        assert told.isprintable() and len(told) < 1300
    assert refused > 300
