"""int8 graphs: what becomes int8, what stays float, and how near the outputs stay."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from edgepress.targets.acceptance.comparison import compare
from edgepress.targets.errors import TargetError
from edgepress.targets.onnx_graph.embedding import quantize_embeddings, quantize_rows
from edgepress.targets.onnx_graph.export import export_onnx
from edgepress.targets.onnx_graph.int8 import write_dynamic
from edgepress.targets.onnx_graph.session import KEEP_SUMS
from edgepress.targets.onnx_graph.smooth import smoothing_factors
from edgepress.targets.onnx_graph.sums import cuts_sums
from edgepress.targets.onnx_graph.view import View, name_nodes, weighted_nodes
from edgepress.targets.onnxruntime_cpu import int8 as onnx_int8
from edgepress.targets.onnxruntime_cpu.int8 import float_layers, int8_candidates, smooth, split_gemms, write_int8
from edgepress.targets.records import Candidate, Feeds
from tests.targets.tiny import make_calibration, make_model

make = helper.make_node
Graph = tuple[Path, list[Feeds]]


def exported(kind: str, folder: Path) -> Graph:
    model = make_model(kind)
    if kind == "bert":
        outlier_channels(model.network)
    calibration = make_calibration(model.signature)
    export_onnx(model, calibration[0], folder / f"{kind}.onnx")
    return folder / f"{kind}.onnx", calibration


def outlier_channels(network: nn.Module) -> None:
    """One channel twelve times as large as the others at the input of each FFN, as trained encoders have."""
    for name, parameter in network.named_parameters():
        if name.endswith("attention.output.LayerNorm.weight"):
            parameter.data[5] *= 12


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    return exported("bert", tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def resnet(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    return exported("resnet", tmp_path_factory.mktemp("resnet"))


def candidate(kind: str, name: str) -> Candidate:
    return next(found for found in int8_candidates(make_model(kind).module) if found.name == name)


def logits(model: Path | onnx.ModelProto, batches: list[Feeds]) -> list[np.ndarray]:
    source = model.SerializeToString() if isinstance(model, onnx.ModelProto) else str(model)
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry(KEEP_SUMS, "1" if cuts_sums() else "0")  # as our own sessions are opened
    session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    return [session.run(None, dict(feeds))[0] for feeds in batches]


def graph(nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray], **inputs: np.ndarray) -> onnx.ModelProto:
    """A graph from `inputs` to `y`."""
    given = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in inputs.items()
    ]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    tensors = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    body = helper.make_graph(nodes, "test", given, [output], tensors)
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def sqnr(source: Graph, out: Path) -> float:
    found = compare(logits(*source), logits(out, source[1])).sqnr_db
    assert found is not None
    return found


def test_transformers_and_convolutional_networks_get_candidates_of_their_own() -> None:
    text = [found.name for found in int8_candidates(make_model("bert").module)]
    image = [found.name for found in int8_candidates(make_model("resnet").module)]
    assert text[0] == "int8-dynamic"
    assert image[0] == "int8-static"
    assert len({*text}) == len(text)
    assert "int8-dynamic" not in image
    assert [found.name for found in int8_candidates(make_model("vit").module)] == text


def test_a_module_without_layers_to_quantize_is_refused() -> None:
    with pytest.raises(TargetError, match="ReLU has no linear or convolution layer to quantize"):
        int8_candidates(nn.ReLU())


@pytest.mark.parametrize("name", list(onnx_int8.TRANSFORMER))
def test_every_candidate_of_a_transformer_keeps_20_db(bert: Graph, tmp_path: Path, name: str) -> None:
    write_int8(bert[0], candidate("bert", name), bert[1], tmp_path / "out.onnx")
    assert sqnr(bert, tmp_path / "out.onnx") >= 20


@pytest.mark.parametrize("name", [name for name in onnx_int8.CONVOLUTIONAL if name != "int8-static-entropy"])
def test_every_candidate_of_a_convolutional_network_keeps_20_db(resnet: Graph, tmp_path: Path, name: str) -> None:
    write_int8(resnet[0], candidate("resnet", name), resnet[1], tmp_path / "out.onnx")
    assert sqnr(resnet, tmp_path / "out.onnx") >= 20


def test_dynamic_products_are_u8_by_s8_with_a_scale_for_each_output(bert: Graph, tmp_path: Path) -> None:
    notes = write_int8(bert[0], candidate("bert", "int8-dynamic"), bert[1], tmp_path / "out.onnx")
    model = onnx.load(tmp_path / "out.onnx")
    view = View.of(model)
    products = [node for node in model.graph.node if node.op_type == "MatMulInteger"]
    assert notes[0] == f"{len(products)} of {len(products)} layers with weights are int8"
    for node in products:
        assert view.producers[node.input[0]].op_type == "DynamicQuantizeLinear"  # gives uint8
        weight = view.initializers[node.input[1]]
        assert weight.data_type == TensorProto.INT8
        assert list(view.initializers[node.input[3]].dims) == [weight.dims[1]]


def test_static_transformers_quantize_inputs_and_weights_and_no_output(bert: Graph, tmp_path: Path) -> None:
    write_int8(bert[0], candidate("bert", "int8-static"), bert[1], tmp_path / "out.onnx")
    model = onnx.load(tmp_path / "out.onnx")
    view = View.of(model)
    quantized = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    assert quantized
    for node in quantized:
        assert view.initializers[node.input[2]].data_type == TensorProto.UINT8
        assert {reader.op_type for reader in view.consumers[node.output[0]]} == {"DequantizeLinear"}
        producer = view.producers[node.input[0]].op_type
        assert producer not in ("MatMul", "Add")


@pytest.mark.parametrize("name", ["int8-dynamic", "int8-static"])
def test_activation_by_activation_products_stay_float(bert: Graph, tmp_path: Path, name: str) -> None:
    write_int8(bert[0], candidate("bert", name), bert[1], tmp_path / "out.onnx")
    model = onnx.load(tmp_path / "out.onnx")
    view = View.of(model)
    left = [node for node in model.graph.node if node.op_type == "MatMul"]
    float_products = [
        node
        for node in left
        if not any(
            view.producers[tensor].op_type == "DequantizeLinear" for tensor in node.input if tensor in view.producers
        )
    ]
    assert len(float_products) == 4  # scores and context of two layers


def test_convolutions_are_fused_to_integer_kernels_and_logits_stay_float(resnet: Graph, tmp_path: Path) -> None:
    write_int8(resnet[0], candidate("resnet", "int8-static"), resnet[1], tmp_path / "out.onnx")
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3  # it warns that an optimised graph fits this machine only
    onnxruntime.InferenceSession(str(tmp_path / "out.onnx"), options, providers=["CPUExecutionProvider"])
    kinds = Counter(node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node)
    convolutions = sum(node.op_type == "Conv" for node in weighted_nodes(onnx.load(resnet[0])))
    assert kinds["QLinearConv"] == convolutions
    assert kinds["Conv"] == kinds["FusedConv"] == 0
    written = onnx.load(tmp_path / "out.onnx")
    assert View.of(written).producers["logits"].op_type == "Gemm"


def test_quantizing_twice_gives_the_same_bytes(bert: Graph, tmp_path: Path) -> None:
    for name in ("int8-dynamic-smooth-0.7", "int8-static"):
        first, second = tmp_path / "first.onnx", tmp_path / "second.onnx"
        write_int8(bert[0], candidate("bert", name), bert[1], first)
        write_int8(bert[0], candidate("bert", name), bert[1], second)
        assert first.read_bytes() == second.read_bytes()


def test_rows_of_an_embedding_have_scales_of_their_own() -> None:
    table = np.array([[1.27, -0.5, 0.0], [0.0, 0.0, 0.0], [-254.0, 2.0, 127.0]], np.float32)
    values, scales = quantize_rows(table)
    assert values.tolist() == [[127, -50, 0], [0, 0, 0], [-127, 1, 64]]
    np.testing.assert_allclose(scales[:, 0], [0.01, 1.0, 2.0], rtol=1e-6)


def test_an_int8_embedding_takes_a_quarter_and_errs_by_half_a_step() -> None:
    table = np.random.default_rng(0).standard_normal((512, 64)).astype(np.float32)
    ids = np.arange(512).reshape(2, 256)
    model = graph([make("Gather", ["table", "ids"], ["y"], axis=0)], {"table": table}, ids=ids)
    want = table[ids]
    notes = quantize_embeddings(model)
    got = logits(model, [{"ids": ids}])[0]
    steps = np.abs(want).max(-1, keepdims=True) / 127
    assert (np.abs(got - want) <= steps * 0.501).all()
    assert notes == ("embedding table table [512, 64] is int8 with a scale for each row",)
    assert sum(numpy_helper.to_array(tensor).nbytes for tensor in model.graph.initializer) == 512 * (64 + 4)


def test_a_low_rank_embedding_whose_rows_go_into_a_product_quantizes_in_every_way(tmp_path: Path) -> None:
    """ONNX Runtime's quantizer names the scale of a product's input after it: our own must not bear that name."""
    random = np.random.default_rng(0)
    weights = {name: random.standard_normal(shape).astype(np.float32) for name, shape in SHAPES.items()}
    ids = np.arange(512).reshape(2, 256)
    nodes = [make("Gather", ["table", "ids"], ["embedding"], axis=0), make("MatMul", ["embedding", "weight"], ["y"])]
    source = tmp_path / "fp32.onnx"
    onnx.save(graph(nodes, weights, ids=ids), source)
    for name in ("int8-dynamic", "int8-static", "int8-dynamic-smooth-0.7"):
        out = tmp_path / f"{name}.onnx"
        write_int8(source, candidate("bert", name), [{"ids": ids}], out)
        assert sqnr((source, [{"ids": ids}]), out) > 30


SHAPES = {"table": (512, 64), "weight": (64, 32)}


def test_small_tables_stay_float(bert: Graph) -> None:
    assert quantize_embeddings(onnx.load(bert[0])) == ()


def test_smoothing_factors_balance_activation_and_weight() -> None:
    factors = smoothing_factors(np.array([16.0, 8.0, 0.0], np.float32), np.array([4.0, 0.5, 1.0], np.float32), 0.5)
    assert factors.tolist() == [2.0, 4.0, 1.0]


def test_smoothing_leaves_the_float_outputs_unchanged(bert: Graph) -> None:
    model = onnx.load(bert[0])
    name_nodes(model)
    split_gemms(model)
    smooth(model, tuple(node.name for node in weighted_nodes(model)), bert[1], 0.7)
    # At least the inputs of the two FFNs, which have the outliers.
    assert sum(node.name.endswith("_smooth") for node in model.graph.node) >= 2
    for want, got in zip(logits(bert[0], bert[1]), logits(model, bert[1]), strict=True):
        np.testing.assert_allclose(got, want, atol=1e-5)


def test_smoothing_evens_out_the_channels_of_an_outlier(bert: Graph) -> None:
    model = onnx.load(bert[0])
    name_nodes(model)
    split_gemms(model)
    smooth(model, tuple(node.name for node in weighted_nodes(model)), bert[1], 1.0)
    view = View.of(model)
    smoothed = [node for node in model.graph.node if node.name.endswith("_smooth")]
    inverse = view.constant(smoothed[0].input[1])
    assert inverse is not None
    # alpha = 1: every channel's peak becomes 1, so the factor of channel 5 is by far the smallest.
    assert int(inverse.argmin()) == 5


def test_smoothing_goes_into_a_normalisation_that_nothing_else_reads() -> None:
    random = np.random.default_rng(0)
    x = random.standard_normal((6, 8)).astype(np.float32)
    scale = np.array([1, 1, 50, 1, 1, 1, 1, 1], np.float32)
    weights = {"scale": scale, "w": random.standard_normal((8, 4)).astype(np.float32)}
    nodes = [
        make("LayerNormalization", ["x", "scale"], ["n"], name="norm"),
        make("MatMul", ["n", "w"], ["y"], name="m"),
    ]
    model = graph(nodes, weights, x=x)
    want = logits(model, [{"x": x}])[0]
    note = smooth(model, ("m",), [{"x": x}], 0.7)
    assert note == "1 activations are smoothed with alpha 0.7, 1 of them inside a LayerNormalization"
    assert [node.op_type for node in model.graph.node] == ["LayerNormalization", "MatMul"]
    np.testing.assert_allclose(logits(model, [{"x": x}])[0], want, rtol=1e-5, atol=1e-5)


def test_smoothing_without_outliers_says_so(tmp_path: Path) -> None:
    path, calibration = exported("distilbert", tmp_path)
    notes = write_int8(path, candidate("distilbert", "int8-dynamic-smooth-0.7"), calibration, tmp_path / "out.onnx")
    assert "no activation has outlier channels: nothing to smooth" in notes[-1]


def test_float_ends_are_the_first_projections_and_the_classifier(bert: Graph) -> None:
    model = onnx.load(bert[0])
    name_nodes(model)
    layers = weighted_nodes(model)
    kept = float_layers(model, "ends")
    assert kept == {*(node.name for node in layers[:3]), layers[-1].name}


def test_float_ffn_in_keeps_one_product_of_each_layer(bert: Graph) -> None:
    model = onnx.load(bert[0])
    name_nodes(model)
    split_gemms(model)
    view = View.of(model)
    kept = float_layers(model, "ffn-in")
    widths = {view.initializers[node.input[1]].dims[1] for node in weighted_nodes(model) if node.name in kept}
    assert len(kept) == 2
    assert widths == {64}


def test_layers_kept_float_are_float_in_the_file_and_named_in_the_notes(resnet: Graph, tmp_path: Path) -> None:
    notes = write_int8(resnet[0], candidate("resnet", "int8-static-float-ends"), resnet[1], tmp_path / "out.onnx")
    float_weights = [node.name for node in weighted_nodes(onnx.load(tmp_path / "out.onnx"))]
    assert len(float_weights) == 2
    assert {f"{name} stays float" for name in float_weights} <= set(notes)


def test_fixed_ranges_without_calibration_are_refused(bert: Graph, tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="no calibration batches were given"):
        write_int8(bert[0], candidate("bert", "int8-static"), [], tmp_path / "out.onnx")


def test_a_wrong_option_is_named(bert: Graph, tmp_path: Path) -> None:
    wrong = Candidate(name="mine", precision="int8", options={"scales": "run-time", "alpha": 3})
    with pytest.raises(TargetError, match="candidate 'mine', option 'alpha': Input should be less than or equal to 1"):
        write_int8(bert[0], wrong, bert[1], tmp_path / "out.onnx")


def test_a_layer_the_quantizer_passes_over_is_an_error(bert: Graph, tmp_path: Path) -> None:
    chosen = ("MatMul_that_is_not_there",)
    model = onnx.load(bert[0])
    with pytest.raises(TargetError, match="left 1 layers float, first MatMul_that_is_not_there"):
        write_dynamic(model, chosen, tmp_path / "out.onnx")


def test_a_graph_beyond_a_protobuf_is_refused(bert: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_int8, "LARGEST", 100)
    with pytest.raises(TargetError, match=r"graphs above 100 cannot be made int8 here\. Prune or factorize first"):
        write_int8(bert[0], candidate("bert", "int8-dynamic"), bert[1], tmp_path / "out.onnx")
