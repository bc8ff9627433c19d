"""What only the TFLite target does: buckets, contiguous weights, true ranges, honest refusals."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from torch import nn

from edgepress import targets
from edgepress.targets.errors import TargetError
from edgepress.targets.process.feeds import save_feeds
from edgepress.targets.process.quiet import quiet
from edgepress.targets.records import Candidate, Description, Signature, TensorSpec
from edgepress.targets.tflite_mobile.buckets import calibration_rows, lengths_of, sequence_lengths
from edgepress.targets.tflite_mobile.metadata import attach, pack_whole
from edgepress.targets.tflite_mobile.view import View
from tests.targets.tiny import image_signature, make_calibration, make_feeds, make_model, text_signature

FP32 = Candidate(name="fp32", precision="fp32")


class Rows:
    """A module of `[batch, 8]` rows as targets see a model."""

    description = Description()

    def __init__(self, module: nn.Module) -> None:
        self.module = module.eval()
        inputs = (TensorSpec(name="x", dtype="float32", shape=("batch", 8)),)
        outputs = (TensorSpec(name="logits", dtype="float32", shape=("batch", 3)),)
        self.signature = Signature(inputs=inputs, outputs=outputs, bounds={"batch": (1, 4)})


def rows(count: int = 4) -> list[dict[str, np.ndarray]]:
    return [{"x": np.random.default_rng(0).standard_normal((count, 8)).astype(np.float32)}]


def test_lengths_double_from_32_up_to_the_bound_which_is_always_there() -> None:
    signature = text_signature({"batch": (1, 4), "sequence": (2, 128)})
    assert sequence_lengths(signature, ()) == (32, 64, 128)
    assert sequence_lengths(signature, (48,)) == (48, 128)
    with pytest.raises(TargetError, match="a sequence of 256 is outside the model's bounds, 2 to 128"):
        sequence_lengths(signature, (256,))


def test_a_model_without_a_mask_cannot_be_padded() -> None:
    signature = text_signature({"batch": (1, 4), "sequence": (2, 128)})
    bare = signature.model_copy(update={"inputs": signature.inputs[:1]})
    with pytest.raises(TargetError, match="no attention_mask to hide padding"):
        sequence_lengths(bare, ())


def test_calibration_rows_are_padded_or_cut_to_the_length() -> None:
    model = make_model("bert")
    (first, *_) = calibration_rows(model.signature, make_calibration(model.signature), 8, -1)
    assert first["input_ids"].shape == (1, 8) and first["input_ids"].dtype == np.int32
    assert (first["input_ids"][0, 5:] == 0).all()


@pytest.mark.parametrize(
    ("rows", "lengths"),
    [(64, [12] * 64), (40, [12] * 40 + [5] * 40), (16, [12] * 16 + [5] * 16 + [20] * 16)],
)
def test_a_length_is_calibrated_on_the_rows_that_it_gets_and_on_their_neighbours_where_they_are_few(
    rows: int, lengths: list[int]
) -> None:
    """Rows of 5, 12 and 20 tokens for the length 16, which gets those of 9 to 16."""
    signature = text_signature({"batch": (1, 64), "sequence": (2, 24)})
    batches = [make_feeds(signature, batch=rows, sequence=sequence) for sequence in (20, 5, 12)]
    found = list(calibration_rows(signature, batches, 16, 8))
    assert all(row["input_ids"].shape == (1, 16) for row in found)
    assert [min(int((row["input_ids"] != 0).sum()), 20) for row in found] == [min(one, 16) for one in lengths]


def write_empty_model(path: Path) -> None:
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    model, graph = schema.ModelT(), schema.SubGraphT()
    graph.operators, graph.tensors = [], []
    model.version, model.subgraphs, model.buffers, model.operatorCodes = 3, [graph], [schema.BufferT()], []
    flatbuffer_utils.write_model(model, path)


def test_labels_normalisation_and_signatures_travel_behind_the_graph(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    write_empty_model(path)
    attach(path, Description(labels=("cat", "dog"), mean=(0.5,), std=(0.25,)), image_signature({}), {"image": 0})
    with ZipFile(path) as archive:
        assert archive.read("labels.txt") == b"cat\ndog\n"
        facts = json.loads(archive.read("edgepress.json"))
    assert facts == {"mean": [0.5], "std": [0.25], "signatures": {"image": 0}}


def test_buffers_are_written_as_whole_arrays() -> None:
    buffers = [SimpleNamespace(data=data) for data in (b"\x01\xff", bytearray(b"\x02"), None, np.ones(2, np.uint8))]
    pack_whole(buffers)
    assert [None if each.data is None else (type(each.data), each.data.tolist()) for each in buffers] == [
        (np.ndarray, [1, 255]),
        (np.ndarray, [2]),
        None,
        (np.ndarray, [1, 1]),
    ]


def test_an_unknown_option_is_named() -> None:
    with pytest.raises(
        TargetError, match=r"tflite-mobile, option 'speed': Extra inputs .* tflite-mobile takes sequences"
    ):
        targets.load("tflite-mobile", {"speed": 3})


@pytest.mark.slow
def test_weights_that_are_not_contiguous_convert_right(tmp_path: Path) -> None:
    torch.manual_seed(0)
    left, _, right = torch.linalg.svd(torch.randn(3, 8), full_matrices=False)
    layers = nn.Sequential(nn.Linear(8, 3, bias=False), nn.Linear(3, 3, bias=False))
    layers[0].weight = nn.Parameter(right)
    layers[1].weight = nn.Parameter(left.T.contiguous().T)
    assert not layers[1].weight.is_contiguous()
    artifact = targets.load("tflite-mobile").export(Rows(layers), rows(), FP32, tmp_path / "new")
    assert artifact.comparison.sqnr_db is None or artifact.comparison.sqnr_db > 100


@pytest.mark.slow
def test_an_operation_that_it_lacks_is_refused_in_one_line(tmp_path: Path) -> None:
    class Eigen(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            square = x[:, :, None] * x[:, None, :]
            values: torch.Tensor = torch.linalg.eigh(square)[0][:, :3]
            return values

    with pytest.raises(TargetError, match=r"litert-torch refused the model \(in module .*Eigen\): .*eigh") as caught:
        targets.load("tflite-mobile").export(Rows(Eigen()), rows(), FP32, tmp_path / "new")
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_full_integer_has_int8_at_its_ends_and_others_have_float(tmp_path: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter

    target, model = targets.load("tflite-mobile"), make_model("resnet")
    candidates = target.candidates(model, "int8")
    kinds = {}
    for artifact in target.export_all(model, make_calibration(model.signature), candidates, tmp_path):
        interpreter = Interpreter(str(tmp_path / artifact.candidate.name / "model.tflite"))
        details = interpreter.get_signature_runner("image").get_input_details()
        kinds[artifact.candidate.name] = details["pixel_values"]["dtype"]
    assert kinds == {"int8-full": np.int8, "int8-static": np.float32, "int8-dynamic": np.float32}


def observed(kind: str, layers: str, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Ranges of an fp32 export by us, and by the library's own observer with true minimum and maximum."""
    from ai_edge_quantizer import calibrator, quantizer

    from edgepress.targets.tflite_mobile.quantize import Scheme, _calibrate, _describe, widest

    target, model = targets.load("tflite-mobile", {"sequences": [8]}), make_model(kind)
    rows = make_calibration(model.signature)
    made = target.export(model, rows, FP32, folder / "fp32")
    path = str(folder / "fp32" / "model.tflite")
    buckets = lengths_of(made.programs)
    samples = {name: list(calibration_rows(model.signature, rows, length, -1)) for name, length in buckets.items()}
    worker = quantizer.Quantizer(path)
    _describe(worker, Scheme(scales="fixed", layers=layers))  # type: ignore[arg-type]
    places = {name: save_feeds(batches, folder / name) for name, batches in samples.items()}
    with quiet():
        theirs = calibrator.Calibrator(path, num_threads=1, qsv_update_func=widest)
        theirs.calibrate(samples, worker._recipe_manager)
        return _calibrate({"model": path, "calibration": places}, worker), theirs.get_model_qsvs()


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "layers"), [("bert", "linear"), ("resnet", "all")])
def test_ranges_are_the_true_ones_of_every_tensor_that_needs_one(kind: str, layers: str, tmp_path: Path) -> None:
    ours, theirs = observed(kind, layers, tmp_path)
    assert set(ours) == set(theirs) and len(ours) > 10
    for name, both in theirs.items():
        for end in ("min", "max"):
            np.testing.assert_allclose(ours[name][end], both[end], rtol=1e-6, err_msg=name)
            assert ours[name][end].shape == both[end].shape


@pytest.mark.slow
def test_sequence_lengths_share_the_weights(tmp_path: Path) -> None:
    model = make_model("bert")
    kept = {}
    for lengths in ((24,), (6, 12, 24)):
        folder = tmp_path / str(len(lengths))
        target = targets.load("tflite-mobile", {"sequences": lengths})
        target.export(model, make_calibration(model.signature), FP32, folder)
        file = View.of(folder / "model.tflite").model
        assert len(file.subgraphs) == len(lengths)
        kept[len(lengths)] = sum(len(buffer.data) for buffer in file.buffers if buffer.data is not None)
    # Three lengths have a few small constants of their own, such as the numbers of their positions.
    assert 4 * 0.9 * model.parameters < kept[1] <= kept[3] < 1.1 * kept[1]
