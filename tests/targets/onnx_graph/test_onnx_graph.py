from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from edgepress.targets.errors import SignatureError, TargetError
from edgepress.targets.graph.export import resized
from edgepress.targets.onnx_graph.export import export_onnx
from edgepress.targets.records import Signature, TensorSpec
from tests.targets.tiny import make_feeds, make_model, text_signature


def exportable(module: nn.Module, bounds: dict[str, tuple[int, int]]) -> Any:
    """`module` with one input x `[batch, 4]` and logits `[batch, 4]`."""
    x = TensorSpec(name="x", dtype="float32", shape=("batch", 4))
    logits = TensorSpec(name="logits", dtype="float32", shape=("batch", 4))
    return SimpleNamespace(module=module.eval(), signature=Signature(inputs=(x,), outputs=(logits,), bounds=bounds))


def example(batch: int = 2) -> dict[str, np.ndarray]:
    return {"x": np.ones((batch, 4), np.float32)}


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> onnx.ModelProto:
    model = make_model("bert")
    path = tmp_path_factory.mktemp("bert") / "model.onnx"
    export_onnx(model, make_feeds(model.signature, batch=1, sequence=5), path)
    assert [file.name for file in path.parent.iterdir()] == ["model.onnx"]
    return onnx.load(path)


def test_inputs_and_dimensions_have_the_names_of_the_signature(bert: onnx.ModelProto) -> None:
    dims = {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim] for value in bert.graph.input
    }
    assert dims == {"input_ids": ["batch", "sequence"], "attention_mask": ["batch", "sequence"]}
    (logits,) = bert.graph.output
    assert [d.dim_param or d.dim_value for d in logits.type.tensor_type.shape.dim] == ["batch", 3]


def test_gelu_and_layer_norm_are_one_node_each(bert: onnx.ModelProto) -> None:
    count = Counter(node.op_type for node in bert.graph.node)
    assert (count["Gelu"], count["LayerNormalization"], count["Erf"]) == (2, 5, 0)
    assert bert.opset_import[0].version == 20


def test_nothing_of_the_exporting_machine_is_in_the_file(bert: onnx.ModelProto) -> None:
    assert not any(node.metadata_props or node.doc_string for node in bert.graph.node)
    assert b"site-packages" not in bert.SerializeToString()


def test_equal_bounds_make_a_fixed_dimension(tmp_path: Path) -> None:
    export_onnx(exportable(nn.Linear(4, 4), {"batch": (1, 1)}), example(1), tmp_path / "fixed.onnx")
    graph = onnx.load(tmp_path / "fixed.onnx").graph
    assert [d.dim_value for d in graph.input[0].type.tensor_type.shape.dim] == [1, 4]


def test_an_example_of_one_row_still_gives_a_batch_that_varies(tmp_path: Path) -> None:
    export_onnx(exportable(nn.Linear(4, 4), {"batch": (1, 8)}), example(1), tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    assert [session.run(None, example(batch))[0].shape for batch in (1, 8)] == [(1, 4), (8, 4)]


def test_weights_beyond_the_limit_of_protobuf_lie_beside_the_graph(tmp_path: Path) -> None:
    module = nn.Linear(4, 4)
    export_onnx(exportable(module, {"batch": (1, 8)}), example(), tmp_path / "model.onnx", limit=0)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model.onnx", "model.onnx.data"]
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    np.testing.assert_allclose(session.run(None, example())[0], module(torch.ones(2, 4)).detach(), rtol=1e-5)


def test_a_bound_that_the_model_cannot_hold_is_named(tmp_path: Path) -> None:
    model = make_model("bert")
    wide = SimpleNamespace(module=model.module, signature=text_signature({"batch": (1, 4), "sequence": (2, 33)}))
    with pytest.raises(TargetError, match=r"cannot take every sequence from 2 to 33; torch\.export suggests .*max=32"):
        export_onnx(wide, make_feeds(wide.signature, batch=2, sequence=5), tmp_path / "model.onnx")  # type: ignore[arg-type]


class Bessel(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.special.bessel_j0(x)


class Moody(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


def test_an_operation_that_onnx_lacks_is_named_with_its_module(tmp_path: Path) -> None:
    model = exportable(nn.Sequential(nn.Linear(4, 4), Bessel()), {"batch": (1, 8)})
    with pytest.raises(TargetError, match=r"no form of prims\.bessel_j0 \(in module '1', Bessel\)"):
        export_onnx(model, example(), tmp_path / "model.onnx")


def test_control_flow_that_reads_values_is_named_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(
        TargetError, match=r"torch\.export refused the model \(in module '', Moody\): .*data-dependent.* \(at forward, "
    ):
        export_onnx(exportable(Moody(), {"batch": (1, 8)}), example(), tmp_path / "model.onnx")


def test_an_example_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SignatureError, match="batch is 9, and this model takes 1 to 8"):
        export_onnx(exportable(nn.Linear(4, 4), {"batch": (1, 8)}), example(9), tmp_path / "model.onnx")


def test_inputs_are_cycled_and_cut_to_the_wanted_sizes() -> None:
    signature = text_signature({"batch": (1, 4), "sequence": (1, 8)})
    feeds = {"input_ids": np.array([[1, 2, 3]]), "attention_mask": np.array([[1, 1, 0]])}
    arrays = resized(feeds, signature, {"batch": 2, "sequence": 5})
    np.testing.assert_array_equal(arrays["input_ids"], [[1, 2, 3, 1, 2]] * 2)
    assert resized(feeds, signature, {"sequence": 2})["attention_mask"].tolist() == [[1, 1]]


class Pooled(nn.Module):
    """Pads by `value`, then pools; x `[batch, 4]` as one picture of 2 x 2."""

    def __init__(self, value: float, pool: nn.Module) -> None:
        super().__init__()
        self.value, self.pool = value, pool

    def forward(self, x: Tensor) -> Tensor:
        padded = nn.functional.pad(x.reshape(-1, 1, 2, 2), (1, 1, 1, 1), value=self.value)
        return self.pool(padded).flatten(1)


@pytest.mark.parametrize("limit", [0, 1 << 20], ids=["weights beside", "one file"])
@pytest.mark.parametrize(
    ("value", "pool", "corner"),
    [
        (0.0, nn.MaxPool2d(2, 2), 0.0),  # three zeros and a negative number
        (-7.0, nn.MaxPool2d(2, 2), -1.0),
        (0.5, nn.MaxPool2d(2, 2), 0.5),
        (0.0, nn.AvgPool2d(2, 2), -0.25),
        (0.5, nn.AvgPool2d(2, 2), 0.125),
    ],
)
def test_what_is_padded_before_a_pooling_takes_part_in_it(
    value: float, pool: nn.Module, corner: float, limit: int, tmp_path: Path
) -> None:
    """ONNX Runtime makes padding by zeros that of a max pooling, which never wins: of -1 and zeros -1 would be left."""
    export_onnx(exportable(Pooled(value, pool), {"batch": (1, 8)}), example(), tmp_path / "model.onnx", limit=limit)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    assert session.run(None, {"x": -np.ones((2, 4), np.float32)})[0] == pytest.approx(np.full((2, 4), corner))
