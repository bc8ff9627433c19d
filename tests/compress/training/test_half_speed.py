from __future__ import annotations

import pytest

from edgepress.compress.methods.distill.options import Distill
from edgepress.compress.methods.prune.options import Prune
from edgepress.compress.methods.quantize.options import Quantize
from edgepress.compress.recipe.recipe import Teacher
from edgepress.compress.recipe.sections import Training
from edgepress.compress.training import precision as half_speed
from edgepress.compress.training.precision import bf16_cost, bf16_warning, trainings, with_precision

BF16, FP32 = Training(precision="bf16"), Training()


def test_trainings_are_found_in_teachers_distillations_and_recoveries() -> None:
    teacher = Teacher(config={"model_type": "resnet"}, training=BF16)
    sections = [teacher, None, Distill(training=FP32), Prune(ffn=0.5, recover=BF16), Prune(ffn=0.5), Quantize()]
    assert [one.precision for one in trainings(sections)] == ["bf16", "fp32", "bf16"]


def test_a_processor_that_is_slow_at_bf16_is_told_before_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(half_speed, "bf16_cost", lambda: 9.04)
    told = bf16_warning([Distill(training=BF16)])
    assert told is not None and "takes 9.0 times as long for it as for fp32" in told
    assert "Set precision: auto or fp32 in the training" in told
    assert bf16_warning([Distill(training=FP32)]) is None
    monkeypatch.setattr(half_speed, "bf16_cost", lambda: 0.6)
    assert bf16_warning([Distill(training=BF16)]) is None


def test_a_gpu_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert bf16_warning([Distill(training=BF16)]) is None


def test_the_cost_of_bf16_is_a_ratio_of_two_times() -> None:
    assert 0.01 < bf16_cost() < 1000


@pytest.mark.parametrize(("cost", "taken"), [(0.5, "bf16"), (0.95, "fp32"), (9.0, "fp32")])
def test_auto_takes_bf16_only_where_it_is_clearly_faster(
    cost: float, taken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(half_speed, "bf16_cost", lambda: cost)
    assert with_precision(Training(precision="auto")).precision == taken
    assert with_precision(BF16).precision == "bf16" and with_precision(FP32).precision == "fp32"


def test_auto_asks_a_gpu_what_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda: False)
    assert with_precision(Training(precision="auto")).precision == "fp32"
