import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from edgepress.compress.cli.console import Console
from edgepress.compress.methods.distill.objective import DistillationObjective, layer_map, needs_layers, needs_of
from edgepress.compress.methods.distill.options import Distill
from edgepress.compress.methods.distill.terms import TERMS
from edgepress.compress.methods.distill.terms.attention import attention_divergence
from edgepress.compress.methods.distill.terms.base import Batch, Compared, Term
from edgepress.compress.methods.distill.terms.hidden_states import masked_mse
from edgepress.compress.methods.distill.terms.soft_targets import distillation_loss
from edgepress.compress.recipe.sections import Training
from edgepress.compress.training.batches import TeacherOutputs
from edgepress.compress.training.fit import TrainingJob, fit
from edgepress.compress.training.teacher_cache import Wanted
from edgepress.targets.errors import StageError
from tests.compress.fakes import TokenFeatures, tiny_bert


def test_the_loss_of_one_row_is_the_one_computed_by_hand() -> None:
    student, teacher, labels = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]), torch.tensor([0])
    # T = 1: softmax(1, 0) = .7311, .2689; KL(teacher || student) = (.7311 - .2689) * 1 = .4621; CE = -ln .7311 = .3133
    assert distillation_loss(student, teacher, labels, 1.0, 1.0).item() == pytest.approx(0.462117, abs=1e-5)
    assert distillation_loss(student, teacher, labels, 1.0, 0.0).item() == pytest.approx(0.313262, abs=1e-5)
    mixed = 0.25 * 0.313262 + 0.75 * 0.462117
    assert distillation_loss(student, teacher, labels, 1.0, 0.75).item() == pytest.approx(mixed, abs=1e-5)


def test_at_high_temperature_the_soft_loss_becomes_half_the_mean_squared_difference_of_centred_logits() -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(4, 3, generator=generator), torch.randn(4, 3, generator=generator)
    centred = (student - student.mean(-1, keepdim=True)) - (teacher - teacher.mean(-1, keepdim=True))
    limit = centred.pow(2).sum(-1).mean() / (2 * 3)
    soft = distillation_loss(student.double(), teacher.double(), torch.zeros(4, dtype=torch.long), 1000.0, 1.0)
    assert soft.item() == pytest.approx(limit.item(), rel=1e-2)


def test_an_equal_student_has_no_soft_loss_and_the_order_of_rows_does_not_matter() -> None:
    logits, other = torch.randn(6, 4), torch.randn(6, 4)
    labels = torch.arange(6) % 4
    assert distillation_loss(logits, logits, labels, 3.0, 1.0).item() == pytest.approx(0, abs=1e-6)
    order = torch.tensor([5, 3, 1, 0, 2, 4])
    straight = distillation_loss(logits, other, labels, 2.0, 0.5)
    assert distillation_loss(logits[order], other[order], labels[order], 2.0, 0.5).item() == pytest.approx(
        straight.item(), rel=1e-6
    )


def test_masked_hidden_loss_equals_that_of_the_real_tokens_alone() -> None:
    student, teacher = torch.randn(2, 5, 3), torch.randn(2, 5, 3)
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 0, 0]])
    assert masked_mse(student, teacher, mask).item() == pytest.approx(
        masked_mse(student[:, :3], teacher[:, :3], None).item(), rel=1e-6
    )


def test_attention_divergence_is_zero_for_equal_maps_and_ln_2_for_a_certain_teacher() -> None:
    even, certain = torch.full((1, 1, 2), 0.5), torch.tensor([[[1.0, 0.0]]])
    assert attention_divergence(even, even, None).item() == pytest.approx(0, abs=1e-6)
    assert attention_divergence(even, certain, None).item() == pytest.approx(math.log(2), abs=1e-4)


def test_layers_meet_at_the_end_and_a_given_map_is_counted_from_zero() -> None:
    assert layer_map(2, 12, None) == ((1, 6), (2, 12))
    assert layer_map(3, 6, (1, 3, 5)) == ((1, 2), (2, 4), (3, 6))
    assert layer_map(4, 2, None)[-1] == (4, 2)
    with pytest.raises(
        StageError, match=r"distill.layer_map is \[1, 6\]; it needs 2 teacher layers .* between 0 and 5"
    ):
        layer_map(2, 6, (1, 6))


def test_the_objective_adds_hidden_and_attention_terms_through_a_projection() -> None:
    options = Distill(alpha=0.0, hidden=2.0, attention=3.0)
    objective = DistillationObjective(options, Compared([(1, 1)], [(2, 4)]))
    hidden = torch.randn(1, 3, 2)
    attention = torch.softmax(torch.randn(1, 2, 3, 3), -1)
    output = SimpleNamespace(logits=torch.zeros(1, 2), hidden_states=(None, hidden), attentions=(attention,))
    wanted = {"logits": torch.zeros(1, 2), "hidden": [torch.zeros(1, 3, 4)], "attention": [attention.mean(1)]}
    loss = objective(output, torch.tensor([0]), wanted, None)
    (projections,) = (term.projections for term in objective.terms if hasattr(term, "projections"))
    projected = projections[0](hidden).pow(2).mean()
    assert loss.item() == pytest.approx(math.log(2) + 2.0 * projected.item(), rel=1e-4)
    assert objective.outputs == {"output_hidden_states": True, "output_attentions": True}


class LargestLogits(Term):
    """A term from outside: how far the largest logits are apart."""

    def loss(self, student: Any, teacher: TeacherOutputs, batch: Batch) -> torch.Tensor:
        return (student.logits.max(-1).values - teacher["logits"].max(-1).values).abs().mean()


def test_a_term_from_outside_is_one_class_and_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TERMS, "largest", f"{__name__}:LargestLogits")
    options = Distill(alpha=0.0, terms={"largest": 0.5})
    objective = DistillationObjective(options, Compared())
    loss = objective(
        SimpleNamespace(logits=torch.zeros(1, 2)), torch.tensor([0]), {"logits": torch.tensor([[3.0, 1.0]])}, None
    )
    # Cross-entropy of even logits is ln 2; the largest logits are 3 apart.
    assert loss.item() == pytest.approx(math.log(2) + 0.5 * 3.0, rel=1e-6)
    assert not needs_layers(options) and needs_of(options, Compared(), "fp32") == Wanted()


class Divides(Term):
    """A term from outside that divides by nothing."""

    def loss(self, student: Any, teacher: TeacherOutputs, batch: Batch) -> torch.Tensor:
        return student.logits.pow(2).mean() / 0.0


def test_the_term_whose_loss_is_not_finite_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(TERMS, "divides", f"{__name__}:Divides")
    objective = DistillationObjective(Distill(alpha=0.0, terms={"divides": 0.5}), Compared())

    def teacher(rows: np.ndarray) -> dict[str, torch.Tensor]:
        return {"logits": torch.zeros(len(rows), 2)}

    job = TrainingJob(Training(batch_size=8), tmp_path, objective=objective, teacher=teacher)
    with pytest.raises(StageError, match=r"the loss became inf at step 1, by the term divides. Lower training.learn"):
        fit(tiny_bert(), job, TokenFeatures(16), TokenFeatures(8), Console("silent"), "distill")


def test_an_unknown_term_is_named_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="there is no other term 'relations': there are cosine, token_relations, "):
        Distill(terms={"relations": 1.0})
    with pytest.raises(ValueError, match="there is no other term 'hidden'"):
        Distill(terms={"hidden": 1.0})


def test_a_recovery_follows_the_soft_targets_alone_whatever_terms_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TERMS, "largest", "somewhere:Largest")
    options = Distill(temperature=3.0, alpha=0.7, hidden=1.0, attention=1.0, terms={"largest": 1.0}, control=True)
    assert options.weights == {"soft_targets": 1.0, "hidden": 1.0, "attention": 1.0, "largest": 1.0}
    alone = options.logits_only(Training(epochs=5))
    assert alone.weights == {"soft_targets": 1.0} and not alone.control
    assert (alone.temperature, alone.alpha, alone.training.epochs) == (3.0, 0.7, 5)


def test_the_terms_together_say_what_is_kept_of_the_teacher() -> None:
    compared = Compared([(0, 0), (1, 2)], [(4, 4), (4, 4)])
    assert needs_of(Distill(hidden=1.0, attention=1.0), compared, "bf16") == Wanted(
        hidden=(0, 2), attention=(2,), precision="bf16"
    )
    assert needs_of(Distill(), compared, "fp32") == Wanted()
