"""Weights of 8 and 4 bits in blocks: codes and bytes by hand, products as ONNX Runtime has them, decoders' files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from edgepress import targets
from edgepress.targets.blockwise.blocks import Grid, fit_grid, in_blocks, quantize
from edgepress.targets.blockwise.gptq import compensated
from edgepress.targets.errors import TargetError
from edgepress.targets.onnx_graph.macs import count_macs
from edgepress.targets.onnx_graph.norms import divide_by_roots
from edgepress.targets.onnx_graph.view import reader
from edgepress.targets.onnx_graph.zeros import count_zeros
from edgepress.targets.onnxruntime_cpu.weights import WEIGHTS, WeightOptions, write_weights
from edgepress.targets.records import Artifact, Candidate, MacCount
from tests.targets.contract.test_steps import FP32, batches, decoder

make = helper.make_node


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_eight_levels_above_and_seven_below_zero_are_hit_exactly() -> None:
    """-2..5.5 in steps of 0.5 are the codes 0..15 with zero 4; two codes a byte, the first in the lower half."""
    weights = (np.arange(16, dtype=np.float32)[None] - 4) * 0.5
    blocks = quantize(weights, bits=4, block=16)
    assert blocks.codes.tolist() == [[list(range(16))]]
    assert (blocks.grid.scales.item(), blocks.grid.zeros.item()) == (0.5, 4)
    assert blocks.data.tolist() == [[[0x10, 0x32, 0x54, 0x76, 0x98, 0xBA, 0xDC, 0xFE]]]
    assert blocks.zeros is not None and blocks.zeros.tolist() == [[4]]
    assert blocks.weights.tolist() == weights.tolist()


def test_eight_bits_have_their_zero_at_128_and_say_no_zeros() -> None:
    blocks = quantize(np.array([[-12.7, 0.0, 0.1, 12.7]], np.float32), bits=8, block=16)
    assert blocks.codes[0, 0, :5].tolist() == [1, 128, 129, 255, 128]  # the fifth lies behind the last input
    assert blocks.zeros is None and blocks.data.shape == (1, 1, 16)


def test_a_scale_that_cuts_an_outlier_off_is_found_where_the_others_count_more() -> None:
    weights = np.array([[[1.0] * 15 + [1.6]]], np.float32)
    alike = fit_grid(weights, 4)
    importance = np.array([[1.0] * 15 + [0.0]], np.float32)
    uneven = fit_grid(weights, 4, importance)
    off = [float(np.abs(grid.values(grid.codes(weights)) - weights)[0, 0, 0]) for grid in (alike, uneven)]
    assert off[1] < 1e-6 < off[0]


def test_the_search_is_never_worse_than_the_whole_range() -> None:
    parts = in_blocks(normal(8, 64), 32)
    low, high = parts.min(-1), parts.max(-1)
    scales = (high - low) / 15
    plain = Grid(scales, np.rint(-low / scales).astype(np.uint8), 4)
    found = fit_grid(parts, 4)
    errors = [((grid.values(grid.codes(parts)) - parts) ** 2).sum(-1) for grid in (found, plain)]
    assert (errors[0] <= errors[1] + 1e-6).all() and errors[0].sum() < 0.97 * errors[1].sum()


def test_gptq_of_two_inputs_that_are_always_equal_makes_the_second_pay_for_the_first() -> None:
    """x1 = x2 always: what counts is the sum of their weights, 0.3 + 0.3. Steps of the block are 1 (15 fixes them), so
    the nearest codes give 0 + 0, while the second one rounds 0.6 to 1."""
    weights = np.zeros((1, 16), np.float32)
    weights[0, :3] = 0.3, 0.3, 15.0
    products = np.eye(16, dtype=np.float32) * 100
    products[:2, :2] = 100.0
    blocks = compensated(weights, 4, 16, products)
    assert blocks.weights[0, :3].round(1).tolist() == [0.0, 1.0, 15.0]
    assert quantize(weights, 4, 16).weights[0, :2].tolist() == [0.0, 0.0]


def test_gptq_is_nearer_on_correlated_inputs_keeps_zeros_and_bears_inputs_that_never_come() -> None:
    weights, inputs = normal(12, 40), normal(200, 40, seed=1) @ normal(40, 40, seed=2)
    inputs[:, 5] = 0
    products = inputs.T @ inputs
    nearest, gptq = quantize(weights, 4, 16), compensated(weights, 4, 16, products)
    errors = [np.square(inputs @ (blocks.weights - weights).T).sum() for blocks in (nearest, gptq)]
    assert errors[1] < 0.8 * errors[0] and gptq.codes.shape == nearest.codes.shape
    weights[:, ::3] = 0
    assert not compensated(weights, 4, 16, products).weights[:, ::3].any()


def graph(folder: Path, weight: np.ndarray, tied: bool = False) -> Path:
    """`x` → MatMul, and look-ups of `ids` in the same table where it is tied."""
    nodes = [make("MatMul", ["x", "w"], ["y"])]
    if tied:
        nodes = [
            make("Transpose", ["w"], ["t"], perm=[1, 0]),
            make("MatMul", ["x", "t"], ["y"]),
            make("Gather", ["w", "ids"], ["rows"]),
        ]
    value = helper.make_tensor_value_info
    inputs = [value("x", TensorProto.FLOAT, ["batch", weight.shape[1 if tied else 0]])]
    outputs = [value("y", TensorProto.FLOAT, ["batch", None])]
    if tied:
        inputs, outputs = (
            [*inputs, value("ids", TensorProto.INT64, ["n"])],
            [*outputs, value("rows", TensorProto.FLOAT, ["n", None])],
        )
    made = helper.make_graph(nodes, "g", inputs, outputs, [numpy_helper.from_array(weight, "w")])
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), folder / "m.onnx")
    return folder / "m.onnx"


def written(folder: Path, options: WeightOptions, weight: np.ndarray, tied: bool = False) -> Path:
    candidate = Candidate(name="c", precision="int8", options=options.model_dump())
    write_weights(graph(folder, weight, tied), candidate, [], folder / "out.onnx")
    return folder / "out.onnx"


@pytest.mark.parametrize(("bits", "block"), [(4, 16), (4, 32), (4, 128), (8, 32), (8, 64)])
def test_the_runtime_multiplies_by_what_the_codes_stand_for(tmp_path: Path, bits: Any, block: Any) -> None:
    """40 inputs are no whole number of blocks. Activations are int8 inside: within 1 % of the outputs' size."""
    weight = normal(40, 24)
    out = written(tmp_path, WeightOptions(bits=bits, table_bits=bits, block=block), weight)
    x = normal(3, 40, seed=1)
    y = reader(onnx.load(out), ["y"])({"x": x})["y"]
    want = x @ quantize(weight.T.copy(), bits, block).weights.T
    assert np.abs(y - want).max() < 0.01 * np.abs(want).max()
    # [3, 40] x [40, 24]; codes, scales, and zeros of 4 bits
    blocks = -(-40 // block)
    stored = 24 * blocks * block * bits // 8 + 24 * blocks * 4 + (24 * -(-blocks // 2) if bits == 4 else 0)
    assert count_macs(out, {"x": x}) == MacCount(total=3 * 40 * 24, int8=3 * 40 * 24, weight_bytes=stored)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("width", [32, 40])
def test_a_tied_table_is_stored_once_and_gives_the_rows_of_its_codes(tmp_path: Path, bits: Any, width: int) -> None:
    table = normal(64, width)
    out = written(tmp_path, WeightOptions(bits=bits, table_bits=bits), table, tied=True)
    model = onnx.load(out)
    assert sorted(tensor.name for tensor in model.graph.initializer if len(tensor.dims) == 3) == ["w_codes"]
    found = reader(model, ["rows", "y"])({"x": normal(2, width), "ids": np.array([0, 63, 7])})
    want = quantize(table, bits, 32).weights
    assert np.allclose(found["rows"], want[[0, 63, 7]], atol=1e-6)
    assert found["y"].shape == (2, 64)


def test_level_0_multiplies_floats_and_zeros_are_those_of_the_codes(tmp_path: Path) -> None:
    weight = normal(40, 24)
    weight[:10] = 0
    out = written(tmp_path, WeightOptions(bits=4, table_bits=4), weight)
    found = count_zeros(out)
    assert found.weights == 40 * 24 and 10 * 24 <= found.zeros < 20 * 24
    model = onnx.load(out)
    level = next(entry for entry in model.graph.node[0].attribute if entry.name == "accuracy_level")
    level.i = 0
    onnx.save(model, out)
    assert count_macs(out, {"x": normal(2, 40)}).int8 == 0


def test_a_graph_without_weights_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in "xy"]
    made = helper.make_graph([make("Relu", ["x"], ["y"])], "g", value[:1], value[1:])
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    candidate = Candidate(name="int8-weights", precision="int8", options=WEIGHTS["int8-weights"].model_dump())
    with pytest.raises(TargetError, match=r"'int8-weights': m.onnx has no product with weights to store. Leave it out"):
        write_weights(path, candidate, [], tmp_path / "out.onnx")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Artifact]]:
    """fp32, int8-weights and int4-weights of a tiny LLaMA."""
    folder = tmp_path_factory.mktemp("weights")
    model = decoder(folder / "model")
    for name, weight in model.network.named_parameters():
        if "norm" in name:  # those that are all 1 are left out of the graph
            torch.nn.init.uniform_(weight, 0.5, 1.5)
    target = targets.load("onnxruntime-cpu")
    offered = {one.name: one for kind in ("int8", "int4") for one in target.candidates(model, kind)}  # type: ignore[arg-type]
    wanted = [FP32, offered["int8-weights"], offered["int4-weights"]]
    made = {}
    for result in target.export_all(model, batches(), wanted, folder):
        assert isinstance(result, Artifact), result
        made[result.name] = result
    return folder, made


def test_decoders_alone_are_offered_weights(exported: Any) -> None:
    _, made = exported
    assert [(name, one.precision) for name, one in made.items()] == [
        ("fp32", "fp32"), ("int8-weights", "int8"), ("int4-weights", "int4"),
    ]  # fmt: skip
    assert made["int8-weights"].notes[1] == (
        "embedding table network.lm_head.weight [16, 16], which is the head too and in the file once, has 8 bits"
    )


def test_greedy_decoding_of_eight_bits_is_near_and_most_products_are_int8(exported: Any) -> None:
    from edgepress.targets.inference.generation import Generation, Sampling

    folder, made = exported
    texts = {}
    for name in ("fp32", "int8-weights"):
        with targets.of(made[name]).open(made[name], folder / name) as session:
            signature = made[name].programs["step"]
            texts[name] = list(Generation(session, signature, np.array([1, 4, 5]), Sampling(12), frozenset()))
    same = np.mean([a == b for a, b in zip(texts["fp32"], texts["int8-weights"], strict=True)])
    assert len(texts["fp32"]) == 12 and same >= 0.75
    assert 0.5 < made["int4-weights"].int8_mac_share < 1


def test_an_rms_normalisation_is_one_kernel_and_gives_the_same(tmp_path: Path, exported: Any) -> None:
    """Two layers have five of them: two each, and the last one."""
    import onnxruntime

    folder, _ = exported
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    onnxruntime.InferenceSession(str(folder / "fp32" / "model.onnx"), options, providers=["CPUExecutionProvider"])
    kinds = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]
    assert sum(kind.endswith("SimplifiedLayerNormalization") for kind in kinds) == 5
    # two factors, and a reciprocal that is an output too and so stays
    nodes = [make("Sqrt", ["x"], ["r"]), make("Reciprocal", ["r"], ["i"]), make("Mul", ["i", "x"], ["y"])]
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in "xyi"]
    model = helper.make_model(helper.make_graph(nodes, "g", value[:1], value[1:]), ir_version=10)
    before = reader(model, ["y", "i"])({"x": np.array([4.0, 9.0], np.float32)})
    assert divide_by_roots(model) == 1 and [node.op_type for node in model.graph.node] == ["Sqrt", "Reciprocal", "Div"]
    after = reader(model, ["y", "i"])({"x": np.array([4.0, 9.0], np.float32)})
    assert after["y"].tolist() == before["y"].tolist() == [2.0, 3.0]
