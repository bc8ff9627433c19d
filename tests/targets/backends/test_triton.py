"""The Triton folder beside an engine, read as Triton reads it, against the inputs and outputs of the graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from edgepress import targets
from tests.targets.tiny import Exported, make_model

pytest.importorskip("tensorrt_rtx")
Export = Callable[..., Exported]
# What our file uses of Triton's model_config.proto (triton-inference-server/common, protobuf/model_config.proto):
# a name or type that is not there is refused by the parser, as the server would.
TYPES = ("INVALID", "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32",
         "FP64", "STRING", "BF16")  # fmt: skip
KINDS = ("KIND_AUTO", "KIND_GPU", "KIND_CPU", "KIND_MODEL")
TENSOR = (("name", "TYPE_STRING", ""), ("data_type", "TYPE_ENUM", "DataType"), ("dims", "TYPE_INT64", "*"))
MESSAGES: dict[str, tuple[tuple[str, str, str], ...]] = {
    "ModelInput": TENSOR,
    "ModelOutput": TENSOR,
    "ModelInstanceGroup": (("kind", "TYPE_ENUM", "Kind"), ("count", "TYPE_INT32", "")),
    "ModelConfig": (
        ("name", "TYPE_STRING", ""), ("platform", "TYPE_STRING", ""), ("max_batch_size", "TYPE_INT32", ""),
        ("input", "TYPE_MESSAGE", "*ModelInput"), ("output", "TYPE_MESSAGE", "*ModelOutput"),
        ("instance_group", "TYPE_MESSAGE", "*ModelInstanceGroup"),
    ),
}  # fmt: skip
ONNX_TYPES = {onnx.TensorProto.INT64: "INT64", onnx.TensorProto.FLOAT: "FP32"}


@pytest.fixture(scope="module")
def config_type() -> Any:
    """The message class ModelConfig."""
    file = descriptor_pb2.FileDescriptorProto(name="model_config.proto", package="inference", syntax="proto3")
    for name, values in (("DataType", [f"TYPE_{kind}" for kind in TYPES]), ("Kind", KINDS)):
        enum = file.enum_type.add(name=name)
        for number, value in enumerate(values):
            enum.value.add(name=value, number=number)
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, (field, kind, of) in enumerate(fields, start=1):
            added = message.field.add(
                name=field, number=number, type=getattr(descriptor_pb2.FieldDescriptorProto, kind)
            )
            added.label = 3 if of.startswith("*") else 1
            if of.strip("*"):
                added.type_name = f".inference.{of.strip('*')}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("inference.ModelConfig"))


def test_a_name_that_triton_does_not_know_is_refused(config_type: Any) -> None:
    with pytest.raises(text_format.ParseError):
        text_format.Parse('input { name: "x" data_type: TYPE_FLOAT dims: [ 3 ] }', config_type())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bert", "resnet"])
def test_the_configuration_says_what_the_graph_takes_and_gives(kind: str, exported: Export, config_type: Any) -> None:
    target = targets.load("tensorrt-gpu")
    case = exported(target.name, kind, target.candidates(make_model(kind), "int8")[0])
    config = text_format.Parse((case.folder / "triton/model/config.pbtxt").read_text(), config_type())
    assert (config.platform, config.max_batch_size) == ("tensorrt_plan", 6)
    assert [group.kind for group in config.instance_group] == [KINDS.index("KIND_GPU")]
    graph = onnx.load(case.folder / "model.onnx").graph
    assert len(graph.input) == len(case.model.signature.inputs)
    for told, real in ((config.input, graph.input), (config.output, graph.output)):
        assert [(each.name, TYPES[each.data_type], list(each.dims)) for each in told] == [
            (each.name, ONNX_TYPES[each.type.tensor_type.elem_type], sizes_behind_the_batch(each)) for each in real
        ]


def sizes_behind_the_batch(value: onnx.ValueInfoProto) -> list[int]:
    """-1 where a size varies; Triton adds the first, the batch, by itself."""
    first, *others = value.type.tensor_type.shape.dim
    assert first.dim_param == "batch"
    return [-1 if size.dim_param else size.dim_value for size in others]
