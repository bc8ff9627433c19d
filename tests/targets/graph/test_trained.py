"""Trained ranges are found again in converted graphs, by the weights that they belong to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgepress.targets.calibration.statistics import Range
from edgepress.targets.errors import TargetError
from edgepress.targets.exportable import TrainedInput, trained_inputs_of
from edgepress.targets.graph.trained import load_trained, save_trained, trained_note, trained_ranges
from tests.targets.tiny import make_model

RANDOM = np.random.default_rng(0)
CONV = RANDOM.standard_normal((4, 3, 5, 5)).astype(np.float32)
DENSE = RANDOM.standard_normal((4, 8)).astype(np.float32)


def test_a_weight_is_known_however_a_converter_turned_it() -> None:
    trained = [TrainedInput(CONV, 0.0, 6.0), TrainedInput(DENSE, -1.0, 2.0)]
    turned = {"conv": CONV.transpose(0, 2, 3, 1), "dense": DENSE.T, "other": DENSE.T + 0.01}
    assert trained_ranges(turned, trained) == {"conv": Range(0.0, 6.0), "dense": Range(-1.0, 2.0)}


def test_the_last_bits_of_a_folded_norm_do_not_matter_and_a_step_of_8_bits_does() -> None:
    trained = [TrainedInput(DENSE, -1.0, 1.0)]
    assert trained_ranges({"dense": DENSE * np.float32(1 + 2e-7)}, trained) == {"dense": Range(-1.0, 1.0)}
    moved = DENSE.copy()
    moved[0, 0] += np.abs(DENSE).max() / 127
    assert trained_ranges({"dense": moved}, trained) == {}


def test_layers_of_the_very_same_weights_share_the_range_that_holds_both() -> None:
    trained = [TrainedInput(DENSE, -1.0, 1.0), TrainedInput(DENSE.copy(), 0.0, 3.0)]
    assert trained_ranges({"dense": DENSE}, trained) == {"dense": Range(-1.0, 3.0)}


def test_they_go_to_another_process_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "trained.npz"
    save_trained([TrainedInput(CONV, 0.1, 6.0), TrainedInput(DENSE, -1.0, 2.0)], path)
    found = load_trained(str(path))
    assert [(one.low, one.high) for one in found] == [(0.1, 6.0), (-1.0, 2.0)]
    assert np.array_equal(found[0].weight, CONV) and np.array_equal(found[1].weight, DENSE)
    save_trained([], path)
    assert load_trained(str(path)) == ()


def test_a_graph_without_any_of_the_layers_is_refused() -> None:
    assert trained_note("int8-qat", 2, 3) == "2 of 3 layers have the ranges that the model was trained with"
    with pytest.raises(
        TargetError, match="candidate 'int8-qat': none of the 3 layers was found by its trained weights"
    ):
        trained_note("int8-qat", 0, 3)


def test_a_model_without_a_training_of_that_kind_has_none() -> None:
    assert trained_inputs_of(make_model("bert")) == ()
