"""OpenVINO: the precision is that which was asked for, int8 what the runtime computes, and lengths change no answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgepress import targets
from edgepress.targets.errors import ArtifactError, TargetError, TargetUnavailable
from edgepress.targets.records import Candidate, Signature, TensorSpec
from edgepress.targets.runtime import opened
from tests.targets.tiny import Exported, make_calibration, make_feeds, make_model

if targets.load("openvino").probe().state == "missing":
    pytest.skip("the extra openvino is not installed", allow_module_level=True)

Export = Callable[..., Exported]
FP32 = Candidate(name="fp32", precision="fp32")


def candidate(kind: str, name: str) -> Candidate:
    target, model = targets.load("openvino"), make_model(kind)
    offered = (*target.candidates(model, "bf16"), *target.candidates(model, "int8"))
    found = [one for one in offered if one.name == name]
    if not found:
        pytest.skip(f"this CPU offers no {name}: it has no units for it")
    return found[0]


def infer(case: Exported, feeds: dict[str, np.ndarray], **settings: Any) -> np.ndarray:
    artifact = case.artifact.model_copy(update={"settings": {**case.artifact.settings, **settings}})
    with targets.of(artifact).open(artifact, case.folder) as session:
        return session.infer(feeds)["logits"]


def sqnr(want: np.ndarray, got: np.ndarray) -> float:
    return float(10 * np.log10((want**2).sum() / max(((want - got) ** 2).sum(), 1e-30)))


def test_fp32_is_fp32_also_where_the_processor_would_rather_take_bf16(exported: Export) -> None:
    case = exported("openvino", "bert", FP32)
    feeds = make_feeds(case.model.signature, batch=2, sequence=9)
    with torch.inference_mode():
        want = case.model.module(*map(torch.from_numpy, feeds.values())).numpy()
    assert sqnr(want, infer(case, feeds)) > 90
    candidate("bert", "bf16")
    assert sqnr(want, infer(case, feeds, precision="bf16")) < 70


def test_rows_of_fixed_lengths_get_the_answers_of_any_length(exported: Export) -> None:
    case = exported("openvino", "bert", candidate("bert", "int8-lengths"))
    assert tuple(case.artifact.settings["lengths"]) == (24,)
    for batch, sequence in ((1, 5), (1, 24), (3, 7)):
        feeds = make_feeds(case.model.signature, seed=sequence, batch=batch, sequence=sequence)
        assert sqnr(infer(case, feeds, lengths=()), infer(case, feeds)) > 50


def test_an_option_gives_the_lengths(tmp_path: Path) -> None:
    model = make_model("bert")
    target = targets.load("openvino", {"lengths": [8, 16]})
    artifact = target.export(
        model, make_calibration(model.signature), candidate("bert", "int8-lengths"), tmp_path / "a"
    )
    assert tuple(artifact.settings["lengths"]) == (8, 16, 24)


@pytest.mark.parametrize(
    ("kind", "lengths", "told"),
    [
        ("bert", [64], "openvino: a length of 64 is outside the model's bounds, 2 to 24"),
        ("resnet", [8], "openvino, option 'lengths': the model has no sequence with an attention_mask. Leave it out."),
    ],
)
def test_lengths_that_do_not_fit_are_refused(kind: str, lengths: list[int], told: str, tmp_path: Path) -> None:
    model = make_model(kind)
    with pytest.raises(TargetError) as caught:
        targets.load("openvino", {"lengths": lengths}).export(
            model, make_calibration(model.signature), FP32, tmp_path / "a"
        )
    assert str(caught.value) == told


def test_a_device_that_there_is_not_is_told_with_those_there_are(exported: Export) -> None:
    case = exported("openvino", "resnet", FP32)
    artifact = case.artifact.model_copy(update={"options": {**case.artifact.options, "device": "NPU"}})
    with (
        pytest.raises(TargetUnavailable, match=r"^OpenVINO has no NPU here, but CPU\.$"),
        targets.of(artifact).open(artifact, case.folder),
    ):
        pass
    facts = {"settings": {"device": "NPU"}, "programs": {}, "files": []}
    told = r"^the artifact is for OpenVINO's device NPU, and this machine has CPU\. Install the driver"
    with pytest.raises(TargetUnavailable, match=told), opened("openvino", case.folder, facts):
        pass


def test_a_device_that_openvino_does_not_know_is_an_option_that_is_wrong() -> None:
    with pytest.raises(TargetError, match=r"openvino, option 'device': Input should be 'CPU', 'GPU' or 'NPU'"):
        targets.load("openvino", {"device": "TPU"})


def test_a_device_that_is_not_here_is_built_for_and_its_numbers_are_this_cpus(tmp_path: Path) -> None:
    model = make_model("resnet")
    target = targets.load("openvino", {"device": "NPU"})
    state = target.probe()
    assert state.state == "built-only" and state.remedy == "measure where there is a NPU"
    artifact = target.export(model, make_calibration(model.signature), FP32, tmp_path / "a")
    assert artifact.settings["device"] == "NPU"
    with targets.open_numbers(artifact, tmp_path / "a") as session:
        assert session.infer(make_feeds(model.signature, batch=2))["logits"].shape == (2, 3)


class Both(nn.Module):
    """One convolution of 8 channels and one linear layer; x `[batch, 1, 8, 8]`, logits `[batch, 3]`."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolution, self.linear = nn.Conv2d(1, 8, 3, padding=1), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(self.convolution(x).relu().mean((2, 3)))


def both(zeros: int = 0) -> Any:
    x = TensorSpec(name="x", dtype="float32", shape=("batch", 1, 8, 8))
    logits = TensorSpec(name="logits", dtype="float32", shape=("batch", 3))
    module = Both().eval()
    with torch.no_grad():
        module.linear.weight.view(-1)[:zeros] = 0
    return SimpleNamespace(module=module, signature=Signature(inputs=(x,), outputs=(logits,), bounds={"batch": (1, 4)}))


def batches() -> list[dict[str, np.ndarray]]:
    return [{"x": np.random.default_rng(seed).standard_normal((4, 1, 8, 8)).astype(np.float32)} for seed in range(4)]


def test_macs_are_those_of_the_layers_and_int8_those_that_the_runtime_computes(tmp_path: Path) -> None:
    target = targets.load("openvino")
    int8 = target.candidates(both(), "int8")[0]
    convolution, linear = 2 * 8 * 64 * 9, 2 * 3 * 8
    for one, share in ((FP32, 0), (int8, 1)):
        artifact = target.export(both(), batches(), one, tmp_path / one.name)
        counted = target.macs(artifact, tmp_path / one.name, {"x": np.zeros((2, 1, 8, 8), np.float32)})
        assert counted is not None
        assert (counted.total, counted.int8) == (convolution + linear, share * (convolution + linear))
        assert counted.weight_bytes == (72 + 24) * (1 if share else 4)


def test_zeros_are_counted_in_the_file(tmp_path: Path) -> None:
    target = targets.load("openvino")
    for one in (FP32, target.candidates(both(), "int8")[0]):
        artifact = target.export(both(zeros=10), batches(), one, tmp_path / one.name)
        counted = target.zeros(artifact, tmp_path / one.name)
        assert counted is not None and counted.weights == 72 + 24
        assert counted.zeros >= 10 and (one.precision == "int8" or counted.zeros == 10)


def test_weights_get_smaller(exported: Export) -> None:
    sizes = {
        one.name: (exported("openvino", "bert", one).folder / "model.bin").stat().st_size
        for one in (FP32, candidate("bert", "int8"))
    }
    assert sizes["int8"] < 0.4 * sizes["fp32"]


def test_what_nncf_refuses_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise RuntimeError("no statistics\nfor node 7")

    monkeypatch.setattr("nncf.quantize", refuse)
    model = make_model("resnet")
    with pytest.raises(TargetError, match=r"^int8 could not be made: RuntimeError: no statistics for node 7$"):
        targets.load("openvino").export(
            model, make_calibration(model.signature), candidate("resnet", "int8"), tmp_path / "a"
        )


def test_a_damaged_graph_is_one_line(exported: Export, tmp_path: Path) -> None:
    case = exported("openvino", "resnet", FP32)
    (tmp_path / "model.xml").write_text(
        '<?xml version="1.0"?><!DOCTYPE net [<!ENTITY e SYSTEM "/etc/passwd">]><net>&e;'
    )
    (tmp_path / "model.bin").write_bytes(b"")
    facts = {"settings": {}, "programs": {"main": case.artifact.programs["main"].model_dump(mode="json")}, "files": []}
    with pytest.raises(ArtifactError) as caught, opened("openvino", tmp_path, facts):
        pass
    assert str(caught.value).startswith(f"{tmp_path / 'model.xml'} cannot be opened by openvino 20")
    assert "\n" not in str(caught.value)


def test_int8_weights_take_half_their_range_so_that_no_processor_overflows(exported: Export) -> None:
    """Pairs of products are added in 16 bits where there is no VNNI: 2 * 255 * 127 overflows, 2 * 255 * 64 does not."""
    import openvino

    case = exported("openvino", "bert", candidate("bert", "int8"))
    graph = openvino.Core().read_model(case.folder / "model.xml")
    products = [node for node in graph.get_ordered_ops() if node.get_type_name() == "MatMul"]
    weights = [values for node in products if (values := int8_weights(node)) is not None]
    assert len(weights) > 4
    assert max(int(abs(values.astype(int)).max()) for values in weights) <= 64


def int8_weights(product: Any) -> np.ndarray | None:
    """The int8 constant behind the conversion and scale of a product's second input; None where there is none."""
    node = product.input_value(1).get_node()
    while node.get_type_name() in ("Multiply", "Convert"):
        node = node.input_value(0).get_node()
    if node.get_type_name() != "Constant":
        return None  # the product of two activations
    return node.get_data() if str(node.get_element_type()) == "<Type: 'int8_t'>" else None
