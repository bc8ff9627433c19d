"""Several outputs of any names, for every target; and outputs that are state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydantic
import pytest
import torch
from torch import nn

from edgepress import targets
from edgepress.targets.acceptance.accept import accept
from edgepress.targets.acceptance.comparison import compare_outputs
from edgepress.targets.acceptance.reference import Reference
from edgepress.targets.errors import TargetError
from edgepress.targets.records import Description, Feeds, Signature, TensorSpec
from tests.targets.contract.test_backend import BATCHES, FP32, Rows
from tests.targets.tiny import make_calibration, make_feeds, make_model, text_signature

EXPORTING = [name for name, state in targets.probe_all().items() if state.state != "missing"]


class Two(nn.Module):
    """Scores, and the vector that they are taken from."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(3, 5), nn.Linear(5, 2)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = self.body(x).relu()
        return self.head(hidden), hidden


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPORTING)
def test_every_target_exports_several_outputs_and_gives_them_by_name(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Rows(Two(), scores=2, vector=5)
    artifact = targets.load(name).export(model, BATCHES, FP32, tmp_path / "new")
    with targets.open_numbers(artifact, tmp_path / "new") as session, torch.inference_mode():
        given = session.infer(BATCHES[0])
        wanted = model.module(torch.from_numpy(BATCHES[0]["x"]))
    assert list(given) == ["scores", "vector"]
    for got, want in zip(given.values(), wanted, strict=True):
        np.testing.assert_allclose(got, want.numpy(), atol=1e-4)


class Tagger(nn.Module):
    """A vector for each token, and scores that are read from the first one."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.mix, self.head = nn.Embedding(100, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        vectors = self.mix(self.words(ids) * mask[..., None].float()).tanh()
        return self.head(vectors[:, 0]), vectors


class Texts:
    """The tagger as targets see it."""

    description = Description()

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.module = Tagger().eval()
        scores = TensorSpec(name="scores", dtype="float32", shape=("batch", 3))
        vectors = TensorSpec(name="vectors", dtype="float32", shape=("batch", "sequence", 8))
        plain = text_signature({"batch": (1, 6), "sequence": (2, 24)})
        self.signature = plain.model_copy(update={"outputs": (scores, vectors)})


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPORTING)
def test_outputs_that_vary_with_the_sequence_come_back_as_long_as_the_feeds(name: str, tmp_path: Path) -> None:
    model = Texts()
    target = targets.load(name, {"sequences": [8]} if name == "tflite-mobile" else None)
    artifact = target.export(model, make_calibration(model.signature), FP32, tmp_path / "new")
    with targets.open_numbers(artifact, tmp_path / "new") as session, torch.inference_mode():
        for length in (3, 8, 20):
            feeds = make_feeds(model.signature, batch=2, sequence=length)
            given = session.infer(feeds)
            wanted = model.module(*map(torch.from_numpy, feeds.values()))
            for output, want in zip(("scores", "vectors"), wanted, strict=True):
                np.testing.assert_allclose(given[output], want.numpy(), atol=1e-4)


def test_a_module_may_give_its_outputs_by_name(tmp_path: Path) -> None:
    class Named(Two):
        def forward(self, x: torch.Tensor) -> Any:
            scores, hidden = super().forward(x)
            return {"vector": hidden, "scores": scores}

    target, model = targets.load("pytorch"), Rows(Named(), scores=2, vector=5)
    artifact = target.export(model, BATCHES, FP32, tmp_path / "new")
    with target.open(artifact, tmp_path / "new") as session:
        assert {name: value.shape for name, value in session.infer(BATCHES[0]).items()} == {
            "scores": (4, 2),
            "vector": (4, 5),
        }


def test_outputs_that_the_signature_does_not_name_are_refused() -> None:
    with pytest.raises(TargetError, match=r"the model gives 2 outputs, and its signature names 1: logits\. Name each"):
        Reference.of(Rows(Two()), BATCHES)


class Answers:
    """A session that gives what it was made with."""

    def __init__(self, **outputs: np.ndarray) -> None:
        self.outputs = outputs

    def infer(self, feeds: Feeds, program: str = "main") -> dict[str, np.ndarray]:
        return {name: value[: len(feeds["x"])] for name, value in self.outputs.items()}


def test_a_wrong_output_does_not_hide_behind_one_of_larger_numbers() -> None:
    """Over both, the error of `vector` is 20 of a signal of 8 million, 56 dB; of `vector` alone it is the signal."""
    large, small = np.full((4, 2), 1000, np.float32), np.full((4, 5), 1, np.float32)
    wanted = {"scores": large, "vector": small}
    signature = Rows(Two(), scores=2, vector=5).signature
    reference = Reference(BATCHES, (wanted,), (), ())
    assert accept(Answers(**wanted), reference, signature, "fp32").sqnr_db is None
    with pytest.raises(TargetError, match="differs from the torch model in output 'vector' on calibration data: SQNR"):
        accept(Answers(scores=large, vector=2 * small), reference, signature, "fp16")


def test_outputs_of_one_value_have_no_agreement() -> None:
    """The largest of one value always stands at the same place, so that a share of 1 would say nothing."""
    one, other = np.array([[1.0], [2.0]]), np.array([[5.0], [-2.0]])
    assert compare_outputs([{"value": one}], [{"value": other}]).agreement is None
    beside = {"value": one, "scores": np.eye(2)}
    assert compare_outputs([beside], [beside | {"scores": np.eye(2)[::-1]}]).agreement == 0


def test_the_output_that_agrees_least_tells_the_agreement() -> None:
    right, half = np.eye(2), np.array([[1.0, 0.0], [1.0, 0.0]])
    assert compare_outputs([{"a": right, "b": right}], [{"a": right, "b": half}]).agreement == 0.5


KEYS = TensorSpec(name="keys", dtype="float32", shape=("batch", 4, "past", 8))


def stateful(**state: str) -> Signature:
    step = TensorSpec(name="ids", dtype="int64", shape=("batch", 1))
    grown = KEYS.model_copy(update={"name": "new_keys", "shape": ("batch", 4, "total", 8)})
    other = KEYS.model_copy(update={"name": "wide", "shape": ("batch", 5, "total", 8)})
    bounds = {"batch": (1, 2), "past": (0, 7), "total": (1, 8)}
    return Signature(inputs=(step, KEYS), outputs=(grown, other), bounds=bounds, state=state)


def test_state_says_which_output_goes_into_which_input() -> None:
    assert stateful(new_keys="keys").state == {"new_keys": "keys"}


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"new_keys": "values"}, "there is no input 'values'; there are ids, keys"),
        ({"keys": "keys"}, "there is no output 'keys'; there are new_keys, wide"),
        (
            {"new_keys": "ids"},
            r"output new_keys float32\[batch, 4, total, 8\] does not fit input ids int64\[batch, 1\]",
        ),
        ({"wide": "keys"}, r"output wide float32\[batch, 5, total, 8\] does not fit input keys"),
        ({"new_keys": "keys", "wide": "keys"}, "two outputs go into one input"),
    ],
)
def test_state_that_cannot_be_fed_back_is_refused(state: dict[str, str], message: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=message):
        stateful(**state)


@pytest.mark.slow
@pytest.mark.skipif("tflite-mobile" not in EXPORTING, reason="the tflite extra is not installed")
def test_a_program_behind_main_can_be_run_by_its_name(tmp_path: Path) -> None:
    target, model = targets.load("tflite-mobile", {"sequences": [8]}), make_model("bert")
    artifact = target.export(model, make_calibration(model.signature), FP32, tmp_path / "new")
    assert {name: one.inputs[0].shape for name, one in artifact.programs.items()} == {
        "main": ("batch", "sequence"),
        "seq8": (1, 8),
        "seq24": (1, 24),
    }
    assert artifact.candidate == FP32 and artifact.options["sequences"] == [8]
    ids = np.arange(1, 9)[None]
    with target.open(artifact, tmp_path / "new") as session:
        main = session.infer({"input_ids": ids, "attention_mask": np.ones_like(ids)})
        narrow = {name: np.int32(value) for name, value in (("input_ids", ids), ("attention_mask", ids > 0))}
        np.testing.assert_array_equal(session.infer(narrow, "seq8")["logits"], main["logits"])
