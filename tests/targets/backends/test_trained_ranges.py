"""The ranges that a model was trained with are those of its int8 artifacts: their answers are the fake-quantized
model's, where calibration would give others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgepress import targets
from edgepress.compress.methods.qat.apply import plain
from edgepress.compress.methods.qat.options import Learned, Observed, QuantizationAware
from edgepress.compress.methods.qat.plan import plan_qat, prepared
from edgepress.compress.model.fake_layers import faked
from edgepress.compress.model.model import Model
from edgepress.targets.graph.trained import QAT
from edgepress.targets.records import Feeds
from tests.targets.tiny import make_calibration, make_model

OPTIONS: dict[str, dict[str, Any]] = {"tensorrt-gpu": {"capabilities": [86]}, "xla-tpu": {"topologies": []}}
PACKAGES = {"tensorrt-gpu": "tensorrt_rtx", "xla-tpu": "jax", "tflite-mobile": "litert_torch"}


def as_if_trained(model: Model, options: QuantizationAware) -> tuple[Model, Model]:
    """The fake-quantized model with ranges that no calibration would find, and what is left of it for targets."""
    batches = make_calibration(model.signature)
    plan = plan_qat(model, options, batches)
    start = prepared(model, plan, batches)
    for found in {layer.input_range for _, layer in faked(start.network)}:
        low, high = found.ends()
        found.start(0.75 * low, 0.7 * high)
    return start, plain(start, plan.summary)


def answers(model: Model, feeds: Feeds) -> np.ndarray:
    with torch.no_grad():
        found: np.ndarray = model.module(
            *(torch.from_numpy(feeds[spec.name]) for spec in model.signature.inputs)
        ).numpy()
    return found


def exported(target: Any, model: Model, folder: Path) -> tuple[list[np.ndarray], tuple[str, ...]]:
    """What the artifact with trained ranges answers to each batch, and its notes."""
    batches = make_calibration(model.signature)
    candidate = target.candidates(model, "int8")[0]
    assert candidate.name == QAT
    artifact = target.export(model, batches, candidate, folder)
    with target.open_stand_in(artifact, folder) as session:
        return [session.infer(feeds)["logits"] for feeds in batches], artifact.notes


@pytest.mark.parametrize("kind, options", [("bert", Observed()), ("vit", Learned())], ids=["bert", "vit"])
def test_onnx_runtime_gives_the_very_answers_of_a_fake_quantized_transformer(
    kind: str, options: Any, tmp_path: Path
) -> None:
    fake, model = as_if_trained(make_model(kind), options)
    found, notes = exported(targets.load("onnxruntime-cpu"), model, tmp_path)
    for feeds, logits in zip(make_calibration(model.signature), found, strict=True):
        np.testing.assert_allclose(logits, answers(fake, feeds), atol=1e-5)
        assert np.abs(answers(fake, feeds) - answers(model, feeds)).max() > 1e-2  # rounding shows
    layers = len(model.ranges)
    assert f"{layers} of {layers} layers have the ranges that the model was trained with" in notes


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, kind, options",
    [
        ("onnxruntime-cpu", "resnet", Observed()),
        ("tflite-mobile", "resnet", Learned()),
        ("tflite-mobile", "bert", Observed()),
        ("tensorrt-gpu", "resnet", Learned(activations="symmetric")),
        ("xla-tpu", "resnet", Observed(activations="symmetric")),
    ],
    ids=lambda one: str(getattr(one, "method", one)),
)
def test_each_target_comes_closer_to_the_fake_quantized_model_than_to_the_float_one(
    name: str, kind: str, options: Any, tmp_path: Path
) -> None:
    if name in PACKAGES:
        pytest.importorskip(PACKAGES[name])
    fake, model = as_if_trained(make_model(kind), options)
    found, notes = exported(targets.load(name, OPTIONS.get(name)), model, tmp_path)
    batches = make_calibration(model.signature)
    to_fake, to_float = (
        np.sqrt(
            np.mean(
                [np.square(logits - answers(one, feeds)).mean() for feeds, logits in zip(batches, found, strict=True)]
            )
        )
        for one in (fake, model)
    )
    # Adds between layers, fp16 and bf16 round on their own.
    assert to_fake < 0.4 * to_float
    layers = len(model.ranges)
    assert any(f"{layers} of {layers} layers have the ranges that the model was trained with" in note for note in notes)


def test_without_trained_ranges_there_is_no_such_candidate() -> None:
    model = make_model("resnet")
    for name in ("onnxruntime-cpu", "tensorrt-gpu", "tflite-mobile", "xla-tpu"):
        found = [one.name for one in targets.load(name).candidates(model, "int8")]
        assert found and QAT not in found
