"""The TensorRT target beyond the contract: refused graphs, counted products, profiles."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgepress import targets
from edgepress.targets.errors import TargetError, TargetUnavailable
from edgepress.targets.records import Candidate
from edgepress.targets.tensorrt_gpu.build import build
from edgepress.targets.tensorrt_gpu.plan import count_planned
from edgepress.targets.tensorrt_gpu.target import TensorRtGpu, check_counts, shape_profile
from edgepress.targets.tensorrt_gpu.tools import triton_config, trtexec_script
from tests.targets.tiny import Exported, make_model, text_signature

pytest.importorskip("tensorrt_rtx")
Export = Callable[..., Exported]


def _request(tmp_path: Path, capabilities: list[int]) -> dict[str, object]:
    shapes = [[1, 8]] * 3
    return {
        "package": "tensorrt_rtx",
        "onnx": str(tmp_path / "model.onnx"),
        "out": str(tmp_path / "model.engine"),
        "capabilities": capabilities,
        "sparse": False,
        "profile": {"x": shapes},
    }


def _write_quantized(path: Path, kind: int, zero: int) -> None:
    """x -> QuantizeLinear -> DequantizeLinear -> y, with 8-bit integers of `kind` around `zero`."""
    zero_point = helper.make_tensor("zero", kind, [], [zero])
    scale = numpy_helper.from_array(np.array(0.1, np.float32), "scale")
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"], name="to_int"),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"], name="to_float"),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 8]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], [scale, zero_point])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)


@pytest.mark.parametrize(("kind", "zero"), [(TensorProto.UINT8, 128), (TensorProto.INT8, 3)])
def test_asymmetric_activations_are_refused_by_the_node(tmp_path: Path, kind: int, zero: int) -> None:
    _write_quantized(tmp_path / "model.onnx", kind, zero)
    with pytest.raises(TargetError, match=r"refuses node '\w+' \((Dequantize|Quantize)Linear\): ") as caught:
        build(_request(tmp_path, [86]))
    assert "\n" not in str(caught.value)


def _quantized_layer(tmp_path: Path, kind: str) -> None:
    """A linear layer by ONNX Runtime's own quantizer with its defaults: int32 bias, or QOperator form."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.rows = iter([{"x": np.ones((1, 8), np.float32)}])

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.rows, None)

    weights = [numpy_helper.from_array(np.ones((8, 3), np.float32), "w"),
               numpy_helper.from_array(np.ones(3, np.float32), "b")]  # fmt: skip
    values = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 8]),
              helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])]  # fmt: skip
    node = helper.make_node("Gemm", ["x", "w", "b"], ["y"], name="layer")
    graph = helper.make_graph([node], "g", values[:1], values[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    form = QuantFormat.QOperator if kind == "QOperator" else QuantFormat.QDQ
    quantize_static(
        model,
        tmp_path / "model.onnx",
        Reader(),
        quant_format=form,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        extra_options={"ActivationSymmetric": True},
    )


@pytest.mark.parametrize("kind", ["int32 bias", "QOperator"])
def test_forms_of_int8_that_tensorrt_lacks_are_refused_by_the_node(tmp_path: Path, kind: str) -> None:
    _quantized_layer(tmp_path, kind)
    with pytest.raises(TargetError, match=r"refuses node '\w+' \(\w+\): ") as caught:
        build(_request(tmp_path, [86]))
    assert "\n" not in str(caught.value)


def test_a_capability_that_cannot_be_built_is_named(tmp_path: Path) -> None:
    _write_quantized(tmp_path / "model.onnx", TensorProto.INT8, 0)
    with pytest.raises(TargetError, match="cannot build for compute capability 90"):
        build(_request(tmp_path, [86, 90]))


def test_an_unknown_option_is_named() -> None:
    with pytest.raises(TargetError, match=r"option 'speed'.*takes capabilities"):
        targets.load("tensorrt-gpu", {"speed": 1})


@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_an_engine_without_the_products_of_its_name_is_refused(precision: str) -> None:
    candidate = Candidate.model_validate({"name": precision, "precision": precision})
    none, some = {"int8": 0, "half": 0, "float": 4}, {"int8": 4, "half": 4, "float": 0}
    with pytest.raises(TargetError, match=f"is called {precision}, yet no product in it is"):
        check_counts(candidate, none, {})
    with pytest.raises(TargetError, match=f"is called {precision}, yet TensorRT kept no .* product for sm_86. Leave"):
        check_counts(candidate, some, {"sm_80": some, "sm_86": none})
    check_counts(candidate, some, {"sm_80": some, "the GPU here": {}})


def test_products_of_a_plan_are_counted_for_each_gpu_it_is_for() -> None:
    tensors = [f'  tensor={{ dims={{ 1 }} name="{name}" offset=0 type={kind} }}' for name, kind in
               (("a", "int8"), ("b", "int8"), ("c", "half"), ("d", "float"))]  # fmt: skip
    products = [
        '  fully_connected={ name="x" output={"d" } input={"a" "b" "alpha" } }',
        '  corrltn={ name="y" output={"d" } input={"c" "c" } }',
        '  fully_connected={ name="z" output={"d" } input={"a" "d" } }',
    ]
    first = "\n".join(["accelerators={sm80 sm86 }", *tensors, *products])
    second = "\n".join(["accelerators={sm120 }", *tensors, products[1]])
    both = {"int8": 1, "half": 1, "float": 1}
    plans = count_planned(b"\x00\xff" + f"{first}\n{second}".encode())
    assert plans == {"sm_80": both, "sm_86": both, "sm_120": {"int8": 0, "half": 1, "float": 0}}
    with pytest.raises(TargetError, match="holds no plan that can be read"):
        count_planned(b"engine")


def test_a_plan_for_every_gpu_is_part_of_what_each_one_runs() -> None:
    plan = 'tensor={ name="a" type=half }\n fully_connected={ name="x" input={"a" "a" } }'
    half = {"int8": 0, "half": 1, "float": 0}
    assert count_planned(f"accelerators={{*}}\n{plan}".encode()) == {"any GPU": half}
    assert count_planned(f"accelerators={{sm80 }}\n{plan}\naccelerators={{*}}\n{plan}".encode()) == {
        "sm_80": half | {"half": 2}
    }


def test_the_profile_and_the_script_follow_the_bounds() -> None:
    profile = shape_profile(text_signature({"batch": (1, 6), "sequence": (2, 24)}))
    assert profile["input_ids"] == [[1, 2], [1, 24], [6, 24]]
    script = trtexec_script("model.onnx", profile)
    assert "--minShapes=input_ids:1x2,attention_mask:1x2" in script
    assert "--sparsity" not in script and "--sparsity=enable" in trtexec_script("model.onnx", profile, sparse=True)
    assert "--stronglyTyped" in script and "--saveEngine=triton/model/1/model.plan" in script


def test_triton_batches_where_a_single_sample_may_come() -> None:
    config = triton_config(text_signature({"batch": (1, 6), "sequence": (2, 24)}))
    assert "max_batch_size: 6" in config
    assert 'input { name: "input_ids" data_type: TYPE_INT64 dims: [ -1 ] }' in config
    assert 'output { name: "logits" data_type: TYPE_FP32 dims: [ 3 ] }' in config
    fixed = triton_config(text_signature({"batch": (4, 4), "sequence": (8, 8)}))
    assert "max_batch_size: 0" in fixed and "dims: [ 4, 8 ]" in fixed


# What builder and session call, in both packages; and what they call in TensorRT for RTX alone.
CALLED = {
    "": "Builder Logger ILogger Runtime OnnxParser NetworkDefinitionCreationFlag LayerType DataType",
    "ILogger": "ERROR INTERNAL_ERROR log",
    "Builder": "create_network create_builder_config create_optimization_profile build_serialized_network",
    "NetworkDefinitionCreationFlag": "STRONGLY_TYPED",
    "INetworkDefinition": "num_layers get_layer",
    "ILayer": "type num_inputs num_outputs get_input get_output",
    "ITensor": "name dtype",
    "LayerType": "SHUFFLE CAST IDENTITY SQUEEZE UNSQUEEZE MATRIX_MULTIPLY CONVOLUTION DECONVOLUTION DEQUANTIZE",
    "DataType": "INT8 HALF BF16",
    "OnnxParser": "parse_from_file num_errors get_error",
    "ParserError": "desc node_name node_operator",
    "IBuilderConfig": "add_optimization_profile",
    "IOptimizationProfile": "set_shape",
    "Runtime": "deserialize_cuda_engine",
    "ICudaEngine": "create_execution_context",
    "IExecutionContext": "set_input_shape set_tensor_address get_tensor_shape execute_async_v3",
}
CALLED_OF_RTX = {
    "": "CudaGraphStrategy ComputeCapability",
    "IBuilderConfig": "num_compute_capabilities set_compute_capability",
    "ComputeCapability": "SM80 SM86 SM89 SM120",
    "ICudaEngine": "create_runtime_config",
    "IRuntimeConfig": "cuda_graph_strategy create_runtime_cache set_runtime_cache get_runtime_cache",
    "IRuntimeCache": "serialize deserialize",
    "CudaGraphStrategy": "WHOLE_GRAPH_CAPTURE",
}


@pytest.mark.parametrize(
    ("package", "called"), [("tensorrt_rtx", CALLED), ("tensorrt_rtx", CALLED_OF_RTX), ("tensorrt", CALLED)]
)
def test_what_builder_and_session_call_is_there_in_the_real_package(package: str, called: dict[str, str]) -> None:
    trt = pytest.importorskip(package, reason=f"{package} is not installed", exc_type=ImportError)
    for owner, names in called.items():
        there = getattr(trt, owner) if owner else trt
        assert [name for name in names.split() if not hasattr(there, name)] == [], owner


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bert", "resnet"])
def test_the_graph_passes_the_tools_of_nvidia(exported: Export, kind: str) -> None:
    target = TensorRtGpu()
    case = exported(target.name, kind, target.candidates(make_model(kind), "int8")[0])
    for command in (["check", "lint"], ["inspect", "model"]):
        tool = Path(sys.executable).with_name("polygraphy")
        call = [str(tool), *command, str(case.folder / "model.onnx")]
        told = subprocess.run(call, capture_output=True, text=True, timeout=120)
        assert told.returncode == 0, told.stdout[-2000:] + told.stderr[-2000:]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "layers"), [("bert", 14), ("resnet", 7)])
def test_every_layer_with_weights_multiplies_in_int8(exported: Export, kind: str, layers: int) -> None:
    target = TensorRtGpu()
    case = exported(target.name, kind, target.candidates(make_model(kind), "int8")[0])
    assert [build.hardware for build in case.artifact.builds] == ["sm_80", "sm_86", "sm_89", "sm_120"]
    assert {build.int8_products for build in case.artifact.builds} == {layers}
    assert {build.float_products for build in case.artifact.builds} == {0}
    assert all("left in the engine's plan after fusion: " in build.notes[0] for build in case.artifact.builds)


def test_without_a_driver_an_engine_is_built_and_not_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("edgepress.targets.tensorrt_gpu.target.gpus", lambda: 0)
    assert TensorRtGpu().probe().state == "built-only"
    with pytest.raises(TargetUnavailable, match="no NVIDIA driver here"), TensorRtGpu().open(None, tmp_path):  # type: ignore[arg-type]
        pass
