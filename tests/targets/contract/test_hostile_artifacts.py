"""Artifacts of somebody else: whatever their files hold, opening them runs none of it."""

from __future__ import annotations

import io
import json
import pickle
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from edgepress import targets
from edgepress.targets.errors import ArtifactError
from edgepress.targets.graph.torch_operations import operation
from edgepress.targets.records import Artifact, Candidate, FileEntry
from tests.targets.tiny import Exported

FP32 = Candidate(name="fp32", precision="fp32")
Export = Callable[..., Exported]
Entries = dict[str, bytes]


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.marker,)


def pickled(marker: Path) -> bytes:
    file = io.BytesIO()
    torch.save({"w": Payload(marker)}, file)
    return file.getvalue()


def opaque_constant(entries: Entries, marker: Path) -> None:
    """A constant whose name alone says that it is unpickled."""
    weights = json.loads(entries["data/weights/model_weights_config.json"])["config"]
    payload = next(iter(weights.values())) | {"path_name": "opaque_obj_0", "is_param": False}
    entries["data/constants/model_constants_config.json"] = json.dumps({"config": {"c": payload}}).encode()
    code = pickle.dumps(Payload(marker))
    entries["data/constants/opaque_obj_0"] = code + b"\0" * (-len(code) % 4)  # whole float32 numbers


def legacy_weights(entries: Entries, marker: Path) -> None:
    entries["data/weights/model.pt"] = pickled(marker)


def legacy_constants(entries: Entries, marker: Path) -> None:
    entries["data/constants/model.pt"] = pickled(marker)


def expression(entries: Entries, marker: Path) -> None:
    """A size as an expression, which sympy evaluates as Python."""
    code = json.dumps(f"__import__('pathlib').Path({str(marker)!r}).touch() or 1")
    text = entries["models/model.json"].decode()
    entries["models/model.json"] = re.sub(r'("expr_str": )"[^"]+"', lambda found: found[1] + code, text).encode()


def shared_object(entries: Entries, marker: Path) -> None:
    entries["data/aotinductor/model/model.so"] = b"\x7fELF"


def pickled_weight(entries: Entries, marker: Path) -> None:
    config = json.loads(entries["data/weights/model_weights_config.json"])
    first = next(iter(config["config"].values()))
    first["use_pickle"] = True
    entries["data/weights/model_weights_config.json"] = json.dumps(config).encode()
    entries[f"data/weights/{first['path_name']}"] = pickled(marker)


def extra_entries(entries: Entries, marker: Path) -> None:
    entries["extra/hook.py"] = b"raise SystemExit"
    entries["data/sample_inputs/model.pt"] = pickled(marker)


VARIANTS = (
    *(opaque_constant, legacy_weights, legacy_constants, expression, shared_object, pickled_weight, extra_entries),
)


def archive(folder: Path, change: Callable[[Entries, Path], None], marker: Path) -> Path:
    """A torch.export archive, as older releases of this project wrote them, changed."""
    batch = torch.export.Dim("batch", min=1, max=6)
    program = torch.export.export(
        nn.Sequential(nn.Linear(4, 3)), (torch.ones(2, 4),), dynamic_shapes=({0: batch},), strict=False
    )  # fmt: skip
    torch.export.save(program, folder / "whole.pt2")
    with zipfile.ZipFile(folder / "whole.pt2") as old:
        root = old.namelist()[0].split("/")[0]
        entries = {name.split("/", 1)[1]: old.read(name) for name in old.namelist()}
    (folder / "whole.pt2").unlink()
    change(entries, marker)
    with zipfile.ZipFile(folder / "model.pt2", "w") as new:
        for name, data in entries.items():
            new.writestr(f"{root}/{name}", data)
    return folder / "model.pt2"


def resealed(artifact: Artifact, folder: Path) -> Artifact:
    """The record with the sizes and sha256 of the files that lie there: what an attacker would do."""
    names = sorted(path.name for path in folder.iterdir() if path.name != Artifact.FILE_NAME)
    return artifact.model_copy(update={"files": tuple(FileEntry.of(folder, name) for name in names)})


@pytest.fixture
def copied(exported: Export, tmp_path: Path) -> tuple[Artifact, Path]:
    """An artifact of the target pytorch, in a folder of its own."""
    case = exported("pytorch", "resnet", FP32)
    shutil.copytree(case.folder, tmp_path / "copy")
    return case.artifact, tmp_path / "copy"


def refused(artifact: Artifact, folder: Path) -> str:
    with pytest.raises(ArtifactError) as caught, targets.load("pytorch").open(resealed(artifact, folder), folder):
        pass
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("change", VARIANTS)
@pytest.mark.parametrize("beside", [False, True], ids=["instead", "beside"])
def test_an_archive_of_torch_export_is_never_opened(
    copied: tuple[Artifact, Path], tmp_path: Path, change: Callable[[Entries, Path], None], beside: bool
) -> None:
    artifact, folder = copied
    archive(folder, change, tmp_path / "marker")
    if beside:  # the sound files are there, too: they are what is opened
        with targets.load("pytorch").open(resealed(artifact, folder), folder):
            pass
    else:
        (folder / "graph.json").unlink()
        assert "does not name graph.json" in refused(artifact, folder)
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize(
    "name",
    [
        *("os.system", "builtins.exec", "torch.load", "torch.hub.load", "operator.attrgetter", "operator.call"),
        *("aten.from_file.default", "aten.save.default", "aten.__class__.mro", "aten.linear.__class__", "aten.linear"),
        *("torchvision.write_file.default", "inductor.accumulate_grad_.default", "prims.empty_permuted.default", ""),
    ],
)
def test_an_operation_that_is_none_of_tensors_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is no operation that is loaded from a file"):
        operation(name)


def changed_graph(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    graph = json.loads((folder / "graph.json").read_text())
    change(graph)
    (folder / "graph.json").write_text(json.dumps(graph))


CODE = "\"); __import__('os').abort() #"
CHANGES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "operation": (lambda graph: graph["calls"][0].update(operation="os.system"), "'os.system' is no operation"),
    "word": (lambda graph: graph["calls"][0]["args"].append(CODE), "is no word that an operation takes"),
    "path": (lambda graph: graph["calls"][0]["args"].append("/etc/passwd"), "'/etc/passwd' is no word"),
    "keyword": (lambda graph: graph["calls"][0]["kwargs"].update({f"a{CODE}": 1}), "has no argument"),
    "dtype": (lambda graph: graph["calls"][0]["args"].append({"dtype": "load"}), "is no argument"),
    "forward": (lambda graph: graph["calls"][0]["args"].append({"call": 0}), "is no argument"),
    "negative": (lambda graph: graph["calls"][1]["args"].append({"call": -1}), "is no argument"),
    "object": (lambda graph: graph["calls"][0]["args"].append({"call": 0, "weight": 0}), "one is wanted"),
    "weight": (lambda graph: graph["weights"].append("none"), "lacks the weight 'none'"),
    "version": (lambda graph: graph.update(format=99), "graph.json cannot be opened by torch"),
    "field": (lambda graph: graph.update(hook="os.system"), "Extra inputs are not permitted"),
}


@pytest.mark.parametrize(("change", "told"), CHANGES.values(), ids=CHANGES)
def test_a_graph_holds_nothing_but_operations_numbers_and_words(
    copied: tuple[Artifact, Path], change: Callable[[dict[str, Any]], object], told: str
) -> None:
    artifact, folder = copied
    changed_graph(folder, change)
    assert told in refused(artifact, folder)


def test_a_graph_that_nests_without_end_is_one_line(copied: tuple[Artifact, Path]) -> None:
    artifact, folder = copied
    (folder / "graph.json").write_text("[" * 100_000)
    assert refused(artifact, folder).startswith(f"{folder / 'graph.json'} cannot be opened by torch")


def test_weights_that_are_a_pickle_are_refused_and_not_read(copied: tuple[Artifact, Path], tmp_path: Path) -> None:
    artifact, folder = copied
    (folder / "weights.safetensors").write_bytes(pickled(tmp_path / "marker"))
    refused(artifact, folder)
    assert not (tmp_path / "marker").exists()


def test_a_weight_of_another_shape_is_found_by_the_first_call_at_the_latest(copied: tuple[Artifact, Path]) -> None:
    artifact, folder = copied
    weights = load_file(folder / "weights.safetensors")
    save_file({name: value.flatten()[:1].clone() for name, value in weights.items()}, folder / "weights.safetensors")
    feeds = {"pixel_values": torch.zeros(1, 1, 16, 16).numpy()}
    with (
        targets.load("pytorch").open(resealed(artifact, folder), folder) as session,
        pytest.raises(RuntimeError),
    ):
        session.infer(feeds)


CALLBACK = "xla_ffi_python_cpu_callback"
NO_SIGNATURE = {"programs": {"main": {"inputs": [], "outputs": []}}}


@pytest.fixture(scope="module")
def calling(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a jax.export program that enters Python, by the number of a function."""
    jax = pytest.importorskip("jax", reason="the target xla-tpu is not installed")
    jax.config.update("jax_platforms", "cpu")
    import jax.export

    shape = jax.ShapeDtypeStruct((4,), "float32")
    allowed = [jax.export.DisabledSafetyCheck.custom_call(CALLBACK)]
    function = jax.jit(lambda weights, x: jax.ffi.ffi_call(CALLBACK, shape)(x, index=0))
    program = jax.export.export(function, disabled_checks=allowed)({}, shape)
    folder: Path = tmp_path_factory.mktemp("calling")
    (folder / "program.jax").write_bytes(program.serialize())
    save_file({}, folder / "weights.safetensors")
    return folder


def test_a_program_of_xla_that_enters_python_is_refused(calling: Path) -> None:
    from edgepress.targets.xla_tpu.session import XlaSession

    told = f"program.jax cannot be opened by jax .*: it calls {CALLBACK}, which is no operation of a model"
    with pytest.raises(ArtifactError, match=told):
        XlaSession(calling, NO_SIGNATURE, cpu=True)


def test_the_runner_on_a_device_refuses_it_too(calling: Path) -> None:
    from edgepress.targets.runtime import opened

    told = f"it calls {CALLBACK}, which is no operation of a model"
    with pytest.raises(ArtifactError, match=told), opened("xla-tpu", calling, {"settings": {}, **NO_SIGNATURE}):
        pass


@pytest.mark.parametrize("location", ["../secret.bin", "{secret}", "link.bin"])
def test_an_onnx_file_reads_no_weights_from_elsewhere(tmp_path: Path, location: str) -> None:
    onnx = pytest.importorskip("onnx", reason="the target onnxruntime-cpu is not installed")
    from edgepress.targets.onnx_graph.session import OrtSession

    (tmp_path / "a").mkdir()
    (tmp_path / "secret.bin").write_bytes(b"\0" * 16)
    (tmp_path / "a/link.bin").symlink_to(tmp_path / "secret.bin")
    weight = onnx.TensorProto(name="w", data_type=1, dims=[4], data_location=onnx.TensorProto.EXTERNAL)
    weight.external_data.add(key="location", value=location.format(secret=tmp_path / "secret.bin"))
    x, y = (onnx.helper.make_tensor_value_info(name, 1, [4]) for name in "xy")
    graph = onnx.helper.make_graph([onnx.helper.make_node("Add", ["x", "w"], ["y"])], "g", [x], [y], [weight])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)
    (tmp_path / "a/model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ArtifactError, match="External data path validation failed"):
        OrtSession(tmp_path / "a/model.onnx", {}, {}, 1)
