from pathlib import Path

import pytest

from benchmarks.records import Measurement, Shape
from compress.exporting import Exported
from compress.quantization import Measured, Selection, choose
from compress.recipe import Quantize
from targets.base import Artifact, Candidate, Comparison, Signature
from targets.errors import StageError

SHAPE = Shape(batch=1, sequence=32, threads=1)
OPTIONS = Quantize(max_drop=0.01, min_int8_share=0.5)


def measured(name: str, accuracy: float, ms: float, share: float = 0.9, failure: str = "") -> Measured:
    candidate = Candidate(name=name, precision="fp32" if name == "fp32" else "int8")
    artifact = Artifact(
        name=name, target="t", candidate=candidate, precision=candidate.precision, files=(),
        signature=Signature(inputs=(), outputs=(), bounds={}), parameters=1, int8_mac_share=share,
        comparison=Comparison(samples=1, max_abs_diff=0, agreement=1, sqnr_db=None),
    )  # fmt: skip
    samples = Measurement(metric="latency", unit="ms", samples=(ms,) * 11, shape=SHAPE)
    exported = Exported("t", candidate, Path("x"), None if failure else artifact, failure)
    return Measured(exported, None if failure else accuracy, accuracy, () if failure else (samples,), failure)


def pick(*candidates: Measured) -> Selection:
    return choose("t", [measured("fp32", 0.90, 2.0, share=0.0), *candidates], OPTIONS)


def test_the_fastest_candidate_within_the_gate_is_chosen() -> None:
    selection = pick(measured("a", 0.895, 1.5), measured("b", 0.893, 1.0), measured("c", 0.80, 0.5))
    assert (selection.chosen, selection.holds, selection.reasons) == ("b", True, ())
    assert [trial.status for trial in selection.trials] == ["eligible", "eligible", "eligible", "rejected"]
    assert selection.trials[3].reason == "validation accuracy is 0.1000 below fp32, allowed is 0.01"


def test_among_candidates_that_tie_in_speed_the_most_accurate_is_chosen() -> None:
    assert pick(measured("a", 0.891, 1.00), measured("b", 0.899, 1.015)).chosen == "b"
    assert pick(measured("a", 0.891, 1.00), measured("b", 0.899, 1.03)).chosen == "a"


def test_an_int8_model_that_is_float_inside_fails() -> None:
    selection = pick(measured("fake", 0.90, 0.1, share=0.2), measured("real", 0.90, 1.0))
    assert selection.chosen == "real"
    assert selection.trials[1].status == "failed"
    assert selection.trials[1].reason == "declared int8, but only 20.0% of its MACs are int8; the recipe asks 50%"


def test_no_real_int8_candidate_at_all_is_an_error_that_lists_them() -> None:
    with pytest.raises(StageError, match=r"t: no int8 candidate stands. fake: declared int8, .*; other: op X refused"):
        pick(measured("fake", 0.9, 0.1, share=0.0), measured("other", 0.9, 0.1, failure="op X refused"))


def test_where_none_holds_the_most_accurate_stands_and_the_reason_is_told() -> None:
    selection = pick(measured("a", 0.80, 0.5), measured("b", 0.85, 0.9))
    assert (selection.chosen, selection.holds) == ("b", False)
    assert selection.reasons == ("no int8 candidate is within 0.01 of fp32's accuracy; b is closest",)


def test_int8_that_is_slower_than_fp32_is_called_so() -> None:
    selection = pick(measured("a", 0.90, 3.0))
    assert selection.chosen == "a" and not selection.holds
    assert selection.reasons == ("a takes 3.000 ms, fp32 2.000 ms: int8 is slower here",)
