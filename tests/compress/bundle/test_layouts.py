"""Artifacts of a release in the folders that other tools expect."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from edgepress.compress.bundle.contents import read_folder
from edgepress.compress.bundle.manifest import Manifest, seal_release
from edgepress.compress.bundle.part import part_of
from edgepress.compress.bundle.readme import write_readme
from edgepress.compress.bundle.verify import verify
from edgepress.compress.layouts import LAYOUTS, check_layouts, write_layouts
from edgepress.targets.errors import EdgepressError
from edgepress.targets.records import Artifact
from tests.benchmarks.tiny_release import TARGET, entry
from tests.compress.bundles import OTHER, report_of, seal_as, tiny_bundle

PHONE = "tflite-mobile"
CONFIG = {"model_type": "resnet", "_name_or_path": "runs/x", "id2label": {"1": "do\ng", "0": "cat", "10": "cow"}}
MODEL = bytes(range(256)) * 2 + b"end"


def change(folder: Path, **fields: object) -> None:
    path = folder / "artifact.json"
    record = json.loads(path.read_text())
    files = [entry(folder, each.name) for each in sorted(folder.iterdir()) if each != path]
    path.write_text(json.dumps({**record, **fields, "files": files}))


def signature(*shape: int | str) -> dict[str, object]:
    bounds = {"batch": [1, 8]} if "batch" in shape else {}
    return {
        "inputs": [{"name": "pixels", "dtype": "float32", "shape": list(shape)}],
        "outputs": [{"name": "logits", "dtype": "float32", "shape": [shape[0], 2]}],
        "bounds": bounds,
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose second target is a phone."""
    folder = tiny_bundle(tmp_path_factory.mktemp("layouts") / "release")
    (folder / OTHER).rename(folder / PHONE)
    (folder / PHONE / "model.onnx").unlink()
    (folder / PHONE / "model.tflite").write_bytes(MODEL)
    for target in (TARGET, PHONE):
        (folder / target / "config.json").write_text(json.dumps(CONFIG))
    change(folder / TARGET)
    change(folder / PHONE, target=PHONE, programs={"main": signature("batch", 4), "image": signature(1, 4)})
    report = report_of([Artifact.read(folder / target / "artifact.json") for target in (TARGET, PHONE)], ())
    (folder / "report.json").write_text(report.model_dump_json())
    seal_as(folder, report)
    return folder


@pytest.fixture
def bundle(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "release")


def laid(bundle: Path, *layouts: str) -> Manifest:
    manifest = Manifest.read(bundle / "manifest.json")
    check_layouts(layouts, manifest.artifacts)
    write_layouts(bundle, "tiny", layouts)
    write_readme(bundle, manifest)
    return seal_release(bundle, manifest)


def test_layouts_are_of_the_release_and_of_their_target(bundle: Path, tmp_path: Path) -> None:
    manifest = laid(bundle, *LAYOUTS)
    assert verify(read_folder(bundle)).faults == ()
    assert "- `layouts/android`: assets of an app" in (bundle / "README.md").read_text(encoding="utf-8")
    part_of(bundle, manifest, TARGET, tmp_path / "part")
    assert [path.name for path in (tmp_path / "part/layouts").iterdir()] == ["transformers-js"]
    assert "layouts/android" not in (tmp_path / "part/README.md").read_text(encoding="utf-8")
    part = verify(read_folder(tmp_path / "part"))
    assert part.faults == ()
    (bundle / "layouts/android/app/src/main/assets/model.tflite").write_bytes(b"another")
    assert "is not the released file" in verify(read_folder(bundle)).faults[0]


def test_the_same_release_gives_the_same_layouts(bundle: Path) -> None:
    assert laid(bundle, *LAYOUTS).files == laid(bundle, *LAYOUTS).files


@pytest.mark.parametrize(
    ("precision", "file", "dtype"),
    [("fp32", "model.onnx", "fp32"), ("int8", "model_quantized.onnx", "q8"), ("fp16", "model_fp16.onnx", "fp16")],
)
def test_transformers_js_finds_the_model_by_its_precision(bundle: Path, precision: str, file: str, dtype: str) -> None:
    change(bundle / TARGET, precision=precision)
    write_layouts(bundle, "tiny", ["transformers-js"])
    place = bundle / "layouts/transformers-js"
    assert (place / "onnx" / file).read_bytes() == (bundle / TARGET / "model.onnx").read_bytes()
    config = json.loads((place / "config.json").read_text(encoding="utf-8"))
    assert config["transformers.js_config"] == {"dtype": dtype}
    assert config["model_type"] == "resnet" and "_name_or_path" not in config


def test_a_model_that_transformers_does_not_know_has_no_such_layout(bundle: Path) -> None:
    (bundle / TARGET / "config.json").unlink()
    change(bundle / TARGET)
    with pytest.raises(
        EdgepressError, match=r"needs model\.onnx in one file and config\.json of transformers, and tiny"
    ):
        write_layouts(bundle, "tiny", ["transformers-js"])


def test_android_gets_assets_labels_in_order_and_the_signatures_of_the_file(bundle: Path) -> None:
    write_layouts(bundle, "tiny", ["android"])
    main = bundle / "layouts/android/app/src/main"
    assert (main / "assets/model.tflite").read_bytes() == MODEL
    assert (main / "assets/labels.txt").read_text() == "cat\ndo g\ncow\n"
    code = (main / "java/edgepress/EdgepressModel.kt").read_text(encoding="utf-8")
    assert "     * `image`: pixels float32[1, 4] to logits float32[1, 2]\n" in code
    assert 'signature: String = "image"' in code and "@" not in code and "`main`" not in code
    assert code.count("{") == code.count("}") and code.count("(") == code.count(")")


def test_a_microcontroller_gets_the_very_bytes_as_a_c_array(bundle: Path, tmp_path: Path) -> None:
    write_layouts(bundle, "tiny", ["tflite-micro"])
    place = bundle / "layouts/tflite-micro"
    source = (place / "edgepress_model.cc").read_text()
    body = source.partition("{")[2].partition("}")[0]
    assert bytes(int(word, 16) for word in body.split(",") if word.strip()) == MODEL
    assert f"edgepress_model_size = {len(MODEL)};" in source
    if shutil.which("g++") is None:
        pytest.skip("g++ is missing: the array was read, not compiled")
    program = "int main() { fwrite(edgepress_model, 1, edgepress_model_size, stdout); }"
    program = f'#include "edgepress_model.h"\n#include <cstdio>\n{program}\n'
    (tmp_path / "main.cc").write_text(program)
    command = ["g++", "-Wall", "-Werror", f"-I{place}", str(tmp_path / "main.cc"), str(place / "edgepress_model.cc")]
    subprocess.run([*command, "-o", str(tmp_path / "main")], check=True, timeout=60)
    assert subprocess.run([str(tmp_path / "main")], capture_output=True, check=True).stdout == MODEL


def test_a_model_too_large_for_a_microcontroller_or_of_several_signatures_is_refused(bundle: Path) -> None:
    change(bundle / PHONE, programs={"main": signature("batch", 4), "seq8": signature(1, 8), "seq9": signature(1, 9)})
    with pytest.raises(EdgepressError, match=r"one signature and at most 4194304 bytes, and tiny has 2 \(seq8, seq9\)"):
        write_layouts(bundle, "tiny", ["tflite-micro"])


@pytest.mark.parametrize(
    ("layout", "words"),
    [
        ("androi", "unknown layout 'androi'; there are transformers-js, android, tflite-micro. Name one with --layout"),
        ("android", "the layout android is made of tflite-mobile, and the release has xla-tpu. Add tflite-mobile to"),
    ],
)
def test_a_layout_that_cannot_be_is_told(layout: str, words: str) -> None:
    with pytest.raises(EdgepressError, match=words):
        check_layouts([layout], {"xla-tpu": "fp32"})
