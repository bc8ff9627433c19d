from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgepress.targets.acceptance.accept import accept
from edgepress.targets.acceptance.reference import Reference, corner_feeds
from edgepress.targets.acceptance.seal import calibration_digest
from edgepress.targets.errors import TargetError
from edgepress.targets.records import Feeds, Signature, TensorSpec

X = TensorSpec(name="x", dtype="float32", shape=("batch", "length"))
LOGITS = TensorSpec(name="logits", dtype="float32", shape=("batch", 2))
SIGNATURE = Signature(inputs=(X,), outputs=(LOGITS,), bounds={"batch": (1, 64), "length": (2, 5)})


class Double(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :2] * 2


class Fake:
    """A session that answers 2x plus an error of its own."""

    def __init__(self, error: float = 0.0, longest: int = 5) -> None:
        self.error, self.longest = error, longest

    def infer(self, feeds: Feeds, program: str = "main") -> dict[str, np.ndarray]:
        if feeds["x"].shape[1] > self.longest:
            raise ValueError("buffer too small")
        return {"logits": feeds["x"][:, :2] * np.float32(2 + self.error)}


def reference(module: nn.Module | None = None) -> Reference:
    model: Any = SimpleNamespace(module=module or Double(), signature=SIGNATURE)
    return Reference.of(model, [{"x": np.ones((2, 3), np.float32)}])


def test_corners_are_the_smallest_input_and_each_dimension_at_its_largest() -> None:
    shapes = [feeds["x"].shape for feeds in corner_feeds(SIGNATURE, {"x": np.ones((2, 3), np.float32)})]
    assert shapes == [(1, 2), (8, 2), (1, 5)]


def test_the_same_outputs_are_accepted() -> None:
    comparison = accept(Fake(), reference(), SIGNATURE, "fp32")
    assert (comparison.samples, comparison.max_abs_diff, comparison.sqnr_db) == (2, 0.0, None)


def test_an_error_of_a_hundredth_is_40_db_fine_for_int8_and_wrong_for_fp32() -> None:
    assert accept(Fake(0.02), reference(), SIGNATURE, "int8").sqnr_db == pytest.approx(40, abs=0.01)
    with pytest.raises(TargetError, match=r"calibration data: SQNR 40\.0 dB, wanted at least 60 dB; largest .* 0\.02"):
        accept(Fake(0.02), reference(), SIGNATURE, "fp32")


def test_outputs_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(TargetError, match="the exported model gives NaN or infinity for inputs of batch 2, length 3"):
        accept(Fake(float("nan")), reference(), SIGNATURE, "int8")


def test_a_size_within_the_bounds_that_fails_is_named() -> None:
    with pytest.raises(
        TargetError, match="the exported model fails at batch 1, length 5: ValueError: buffer too small"
    ):
        accept(Fake(longest=4), reference(), SIGNATURE, "int8")


@pytest.mark.parametrize(("value", "word"), [(float("nan"), "NaN"), (float("inf"), "infinity")])
def test_weights_that_are_no_numbers_are_named(value: float, word: str) -> None:
    module = nn.Sequential(Double(), nn.Linear(2, 2))
    module[1].bias.data[0] = value  # type: ignore[union-attr]
    with pytest.raises(TargetError, match=rf"weight '1\.bias' holds {word}\. Nothing was exported"):
        reference(module)


def test_weights_of_half_precision_are_refused_since_the_file_would_not_be_fp32() -> None:
    with pytest.raises(TargetError, match=r"weight '1\.weight' is float16, exports start from float32"):
        reference(nn.Sequential(Double(), nn.Linear(2, 2).half()))


def test_the_digest_follows_names_shapes_and_values() -> None:
    feeds = {"x": np.zeros((2, 3), np.float32)}
    others = [{"y": feeds["x"]}, {"x": feeds["x"].reshape(3, 2)}, {"x": feeds["x"] + 1}]
    assert calibration_digest([feeds]) == calibration_digest([{"x": feeds["x"].copy()}])
    assert len({calibration_digest([one]) for one in (feeds, *others)}) == 4
