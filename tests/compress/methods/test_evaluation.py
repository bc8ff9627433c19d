from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from edgepress.benchmarks.records.figures import Figure
from edgepress.benchmarks.records.report import Figures, LatencyRow
from edgepress.compress.methods.base import Promise, method_of
from edgepress.compress.methods.distill.options import Distill
from edgepress.compress.methods.prune.options import Prune
from edgepress.compress.methods.transform import transform
from edgepress.compress.methods.verdict import check_contract, complaints, fingerprint, verdict_of
from edgepress.compress.pipeline.stages.method import new_steps
from edgepress.compress.recipe.sections import StageOptions, Training
from edgepress.targets.errors import StageError
from tests.benchmarks.quality import quality
from tests.compress.fakes import TokenFeatures, tiny_bert

PRUNE = Prune(heads=0.5, max_drop=0.02)


def promised(options: StageOptions) -> Promise:
    return method_of(options).promise(options)


def figures(accuracy: float = 0.9, macs: int = 100, parameters: int = 1000, p50: float = 1.0) -> Figures:
    latency = LatencyRow(batch=1, sequence=32, threads=1, p50=p50, p90=p50, samples=100, speedup=None)
    return Figures(
        metrics=quality(accuracy, 1.0), parameters=parameters, macs=macs, bytes=10, latency=(latency,)
    )  # fmt: skip


def test_a_pass_that_is_smaller_faster_and_as_good_has_no_complaint() -> None:
    assert complaints(promised(PRUNE), figures(), figures(accuracy=0.89, macs=50, parameters=600, p50=0.7)) == ()


def test_a_slower_pass_is_called_so_with_its_shape_and_factor() -> None:
    (found,) = complaints(promised(PRUNE), figures(), figures(macs=50, p50=1.25))
    assert found == "slower at batch 1, sequence 32: 1.000 -> 1.250 ms (1.25x)"


def test_a_difference_within_the_noise_is_not_called_slower() -> None:
    assert complaints(promised(PRUNE), figures(), figures(macs=50, p50=1.019)) == ()


def test_accuracy_beyond_the_allowed_drop_and_work_that_did_not_fall_are_told() -> None:
    found = complaints(promised(PRUNE), figures(), figures(accuracy=0.85))
    assert found[0] == "accuracy fell by 0.0500 (from 0.9000), allowed is 0.02"
    assert found[1] == "neither MACs (100) nor parameters (1,000) fell"


def test_distillation_promises_that_accuracy_does_not_fall_and_nothing_about_speed() -> None:
    assert complaints(promised(Distill()), figures(0.5), figures(0.9, p50=3.0)) == ()
    assert complaints(promised(Distill()), figures(0.9), figures(0.8)) == (
        "accuracy fell from 0.9000 to 0.8000; training promised more",
    )


def test_a_promise_is_judged_by_what_it_names_and_by_nothing_else() -> None:
    """A sparse model multiplies as often and as fast as before; its file alone is smaller."""
    sparse = Promise(max_drop=0.01, falls=("bytes",))
    before = figures()
    assert complaints(sparse, before, figures(p50=9.0).model_copy(update={"bytes": 5})) == ()
    assert complaints(sparse, before, before) == ("bytes (10) did not fall",)
    assert complaints(Promise(max_drop=1.0), before, figures(accuracy=0.1, macs=999, p50=9.0)) == ()


def test_where_less_is_better_more_is_the_loss() -> None:
    rate = Figure(key="wer", name="word error rate", unit="share", value=0.1, higher_is_better=False, primary=True)
    before = figures().model_copy(update={"metrics": (rate,)})
    after = figures(macs=50).model_copy(update={"metrics": (rate.model_copy(update={"value": 0.15}),)})
    told = "word error rate rose by 0.0500 (from 0.1000), allowed is 0.02"
    assert complaints(Promise(max_drop=0.02), before, after) == (told,)
    assert complaints(Promise(max_drop=None), after, before) == ()


def test_a_no_op_fails_and_an_auto_no_op_is_dropped_with_the_reason() -> None:
    with pytest.raises(StageError, match=r"stage 'prune' changed nothing: .* or mark it 'auto: true'"):
        verdict_of("prune", PRUNE, False, ())
    auto = PRUNE.model_copy(update={"auto": True})
    assert verdict_of("prune", auto, False, ()) == ("dropped", ("it changed nothing",))


def test_a_pass_that_did_not_pay_is_dropped_only_where_the_recipe_says_auto() -> None:
    assert verdict_of("prune", PRUNE, True, ("slower",)) == ("kept although it did not pay", ("slower",))
    assert verdict_of("prune", PRUNE.model_copy(update={"auto": True}), True, ("slower",)) == ("dropped", ("slower",))


def test_the_fingerprint_sees_one_changed_weight() -> None:
    model = tiny_bert()
    changed = model.copy()
    assert fingerprint(model) == fingerprint(changed)
    with torch.no_grad():
        changed.network.classifier.weight[0, 0] += 1e-3
    assert fingerprint(model) != fingerprint(changed)


def test_a_stage_that_breaks_its_contract_is_named_with_those_before_it() -> None:
    model = tiny_bert()
    broken = model.copy()
    with torch.no_grad():
        broken.network.classifier.weight[0, 0] = float("nan")
    with pytest.raises(
        StageError, match=r"'prune' \(after teacher, distill\) left NaN or infinite .*classifier.weight"
    ):
        check_contract("prune", model, broken, ("teacher", "distill"))
    with pytest.raises(StageError, match="changed its input instead of making a new model"):
        check_contract("prune", model, model, ())


def test_a_prune_that_removes_nothing_is_a_no_op_even_with_recovery_training() -> None:
    """One head of two is not a tenth of them: nothing goes, and training must not hide it."""
    model = tiny_bert()
    data: Any = SimpleNamespace(calibration_batches=lambda _: feeds(), calibration_labels=list)
    run: Any = None
    outcome = transform(model, Prune(heads=0.1, recover=Training(epochs=1)), Distill(), data, run)
    assert fingerprint(outcome.model) == fingerprint(model)
    assert outcome.model.network is not model.network
    assert "recovery" not in outcome.details and "heads 4 -> 4" in str(outcome.details["plan"])


def feeds() -> list[dict[str, np.ndarray]]:
    return [TokenFeatures(8).batch(range(8))]


def test_the_steps_of_a_stage_are_those_it_added() -> None:
    model = tiny_bert().after("teacher", "loaded")
    pruned = model.after("prune", "half")
    assert [step.summary for step in new_steps(model, pruned)] == ["half"]
    assert [step.summary for step in new_steps(model, tiny_bert().after("student", "other"))] == ["other"]
