"""What outputs say, by the configuration beside the model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgepress.targets.errors import ArtifactError
from edgepress.targets.inference.answers import Answer, reading_of

NAMES = {"0": "bad", "1": "good"}


def answer(outputs: list[float], **config: Any) -> Answer:
    return reading_of({"id2label": NAMES, **config}, len(outputs), "config.json").answers(np.array([outputs]))[0]


def test_classes_have_probabilities_that_sum_to_one() -> None:
    found = answer([0.0, np.log(3.0)])
    assert (found.labels, found.label) == (("good",), "good")
    assert found.scores == pytest.approx({"bad": 0.25, "good": 0.75})


def test_several_labels_have_each_a_probability() -> None:
    found = answer([np.log(3.0), -np.log(3.0)], problem_type="multi_label_classification")
    assert found.labels == ("bad",) and found.scores == pytest.approx({"bad": 0.75, "good": 0.25})
    assert answer([-1.0, -2.0], problem_type="multi_label_classification").labels == ()


def test_numbers_are_as_they_are() -> None:
    assert answer([3.5, -1.0], problem_type="regression") == Answer((), {"bad": 3.5, "good": -1.0})
    assert answer([3.5], id2label={"0": "score"}) == Answer((), {"score": 3.5})


def test_vectors_are_as_they_are_and_have_no_label() -> None:
    found = answer([0.6, -0.8], output_kind="vectors", id2label={})
    assert found == Answer((), {}, (0.6, -0.8)) and found.label == ""
    with pytest.raises(
        ArtifactError, match=r"config.json has the output_kind 'mask', which is not known. Fetch the release"
    ):
        answer([0.6, -0.8], output_kind="mask")


def test_a_configuration_without_names_counts() -> None:
    assert reading_of({}, 2, "config.json").names == ("0", "1")


@pytest.mark.parametrize(
    "config",
    [
        {"id2label": {"0": "a"}},
        {"id2label": {"0": "a", "1": "a"}},
        {"id2label": {"0": "a", "1": "b", "2": "c"}},
        {"id2label": ["a", "b"]},
        {"problem_type": "guessing"},
    ],
)
def test_what_does_not_name_the_outputs_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ArtifactError, match=r"config.json does not name the 2 outputs of the model once each, or has"):
        reading_of(config, 2, "config.json")
