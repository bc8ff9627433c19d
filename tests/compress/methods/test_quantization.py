from dataclasses import replace
from pathlib import Path

import pytest

from edgepress.benchmarks.records.figures import Figure
from edgepress.benchmarks.records.report import Measurement, Shape
from edgepress.compress.methods.quantize.choice import Measured, Selection, choose_candidate
from edgepress.compress.methods.quantize.export import Exported
from edgepress.compress.methods.quantize.options import Quantize
from edgepress.targets.errors import StageError
from edgepress.targets.records import Artifact, Candidate, Comparison, FileEntry, HardwareBuild, Precision, Signature
from tests.benchmarks.quality import quality

SHAPE = Shape(batch=1, sequence=32, threads=1)
OPTIONS = Quantize(max_drop=0.01, min_int8_share=0.5)


def measured(name: str, accuracy: float, ms: float, share: float = 0.9, failure: str = "") -> Measured:
    precision: Precision = "fp32" if name == "fp32" else "bf16" if name == "bf16" else "int8"
    candidate = Candidate(name=name, precision=precision)
    artifact = Artifact(
        name=name, target="t", candidate=candidate, precision=candidate.precision, files=(),
        signature=Signature(inputs=(), outputs=(), bounds={}), parameters=1, int8_mac_share=share,
        comparison=Comparison(samples=1, max_abs_diff=0, agreement=1, sqnr_db=None),
    )  # fmt: skip
    samples = Measurement(metric="latency", unit="ms", samples=(ms,) * 11, shape=SHAPE)
    exported = Exported("t", candidate, Path("x"), None if failure else artifact, failure)
    return Measured(
        exported, () if failure else quality(accuracy, accuracy), () if failure else (samples,), failure
    )  # fmt: skip


def pick(*candidates: Measured) -> Selection:
    return choose_candidate("t", [measured("fp32", 0.90, 2.0, share=0.0), *candidates], OPTIONS)


def test_the_fastest_candidate_within_the_gate_is_chosen() -> None:
    selection = pick(measured("a", 0.895, 1.5), measured("b", 0.893, 1.0), measured("c", 0.80, 0.5))
    assert (selection.chosen, selection.holds, selection.reasons) == ("b", True, ())
    assert [result.status for result in selection.results] == ["eligible", "eligible", "eligible", "rejected"]
    assert selection.results[3].reason == "validation accuracy is 0.1000 below fp32, allowed is 0.01"


def test_among_candidates_that_tie_in_speed_the_most_accurate_is_chosen() -> None:
    assert pick(measured("a", 0.891, 1.00), measured("b", 0.899, 1.015)).chosen == "b"
    assert pick(measured("a", 0.891, 1.00), measured("b", 0.899, 1.03)).chosen == "a"


def test_the_choice_goes_by_the_primary_metric_and_less_may_be_better() -> None:
    """`worse` has the better agreement, and a log loss 0.1 above fp32's."""

    def scored(name: str, loss: float, ms: float, agreement: float) -> Measured:
        figure = Figure(key="log-loss", name="log loss", unit="nats", value=loss, higher_is_better=False, primary=True)
        return replace(measured(name, 0.9, ms), metrics=(figure, quality(0.9, agreement)[1]))

    fp32 = scored("fp32", 0.30, 2.0, 1.0)
    found = choose_candidate("t", [fp32, scored("worse", 0.40, 0.5, 1.0), scored("a", 0.309, 1.0, 0.9)], OPTIONS)
    assert (found.chosen, found.holds) == ("a", True)
    assert found.results[1].reason == "validation log loss is 0.1000 above fp32, allowed is 0.01"
    tied = [scored("a", 0.309, 1.0, 0.9), scored("b", 0.301, 1.01, 0.9)]
    assert choose_candidate("t", [fp32, *tied], OPTIONS).chosen == "b"
    none = choose_candidate("t", [fp32, scored("a", 0.5, 1.0, 0.9), scored("b", 0.4, 1.0, 0.9)], OPTIONS)
    assert none.reasons == ("no int8 candidate is within 0.01 of fp32's log loss; b is closest",)


def test_an_int8_model_that_is_float_inside_fails() -> None:
    selection = pick(measured("fake", 0.90, 0.1, share=0.2), measured("real", 0.90, 1.0))
    assert selection.chosen == "real"
    assert selection.results[1].status == "failed"
    assert selection.results[1].reason == "declared int8, but only 20.0% of its MACs are int8; the recipe asks 50%"


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


def built(name: str, accuracy: float, size: int, estimated_ms: float | None = None) -> Measured:
    """A candidate whose hardware is not here: its size, and the compiler's estimate if there is one."""
    plain = measured(name, accuracy, 1.0)
    products = {"int8_products": 1, "half_products": 0, "float_products": 0}
    build = HardwareBuild(hardware="TPU v5e", source="libtpu", estimated_ms=estimated_ms, **products)
    assert plain.exported.artifact is not None
    changes = {"builds": (build,), "files": (FileEntry(path="m", bytes=size, sha256=""),)}
    artifact = plain.exported.artifact.model_copy(update=changes)
    return replace(plain, exported=replace(plain.exported, artifact=artifact), measurements=())


def test_without_the_hardware_the_compilers_estimate_decides_and_bf16_may_beat_int8() -> None:
    selection = choose_candidate(
        "t", [built("fp32", 0.9, 400, 2.0), built("int8", 0.9, 100, 1.3), built("bf16", 0.9, 200, 1.0)], OPTIONS
    )
    assert (selection.chosen, selection.holds) == ("bf16", True)
    told = "bf16 is chosen before int8: 1.000 ms (compiler estimate) against 1.300 ms (compiler estimate) of int8"
    assert selection.reasons == (told,)


def test_without_hardware_and_estimate_the_smallest_candidate_is_chosen_and_that_is_told() -> None:
    selection = choose_candidate(
        "t", [built("fp32", 0.9, 400), built("int8", 0.9, 100), built("bf16", 0.9, 200)], OPTIONS
    )
    assert (selection.chosen, selection.holds) == ("int8", True)
    told = "int8 is chosen by size: there is neither this hardware nor an estimate of its speed here"
    assert selection.reasons == (told,)
