"""The published terms: hand-computed values, what they do not depend on, and a real distillation with all of them."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch

from edgepress.compress.methods.distill.objective import DistillationObjective, needs_every_layer, needs_layers
from edgepress.compress.methods.distill.options import Distill
from edgepress.compress.methods.distill.terms import TERMS
from edgepress.compress.methods.distill.terms.base import Compared
from edgepress.compress.methods.distill.terms.cosine import cosine_distance
from edgepress.compress.methods.distill.terms.decoupled import other_classes_divergence, target_class_divergence
from edgepress.compress.methods.distill.terms.relational import angles_of, distances_of
from edgepress.compress.methods.distill.terms.soft_targets import distillation_loss
from edgepress.compress.methods.distill.terms.token_relations import log_relations, relation_divergence

OF_THE_LAST_LAYER = ("cosine", "token_relations", "distances", "angles")
ONE_PAIR = Compared([(1, 1)], [(2, 4)])


def objective(name: str, compared: Compared = ONE_PAIR) -> DistillationObjective:
    return DistillationObjective(Distill(alpha=0.0, terms={name: 1.0}), compared)


def loss_of(name: str, state: torch.Tensor, wanted: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """The term alone: two even logits cost ln 2."""
    compared = Compared([(1, 1)], [(state.shape[-1], wanted.shape[-1])])
    rows = len(state)
    output = SimpleNamespace(logits=torch.zeros(rows, 2), hidden_states=(None, state))
    teacher = {"logits": torch.zeros(rows, 2), "hidden": [torch.zeros(rows, 1, 9), wanted]}
    labels = torch.zeros(rows, dtype=torch.long)
    loss: torch.Tensor = objective(name, compared)(output, labels, teacher, mask)
    return loss - math.log(2)


def test_tokens_that_point_to_the_same_side_have_no_cosine_distance_whatever_their_size() -> None:
    state = torch.tensor([[[3.0, 4.0], [1.0, 0.0]]])
    assert cosine_distance(state, 7 * state, None).item() == pytest.approx(0, abs=1e-6)
    # (3, 4) and (1, 0): cos = 3 / 5; (1, 0) and (0, 1): cos = 0. Mean of 0.4 and 1.
    other = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    assert cosine_distance(state, other, None).item() == pytest.approx(0.7)
    assert cosine_distance(state, other, torch.tensor([[1, 0]])).item() == pytest.approx(0.4)


def test_distances_do_not_depend_on_scale_place_or_rotation() -> None:
    rows = torch.randn(5, 3, dtype=torch.double)
    turn, _ = torch.linalg.qr(torch.randn(3, 3, dtype=torch.double))
    assert torch.allclose(distances_of(rows), distances_of(4 * rows @ turn + 1))
    assert torch.allclose(angles_of(rows), angles_of(4 * rows @ turn + 1))
    # 0, 3 and 7 on a line: distances 3, 7, 4, their mean 14 / 3.
    told = distances_of(torch.tensor([[0.0], [3.0], [7.0]]))
    assert told[0].tolist() == pytest.approx([0, 9 / 14, 21 / 14]) and told[1, 2].item() == pytest.approx(12 / 14)


def test_equal_rows_have_a_gradient_that_is_a_number() -> None:
    for relation in (distances_of, angles_of):
        rows = torch.ones(3, 2, requires_grad=True)
        relation(rows).sum().backward()
        assert rows.grad is not None and torch.isfinite(rows.grad).all()


@pytest.mark.parametrize("name", OF_THE_LAST_LAYER)
def test_a_term_of_the_last_layer_sees_that_layer_alone_and_no_padding(name: str) -> None:
    generator = torch.Generator().manual_seed(1)
    state, wanted = torch.randn(3, 4, 6, generator=generator), torch.randn(3, 4, 6, generator=generator)
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0], [1, 1, 1, 1]])
    changed = torch.where(mask[:, :, None] == 0, 100.0, state)
    loss = loss_of(name, state, wanted, mask)
    assert loss.item() > 1e-3
    assert loss_of(name, changed, wanted, mask).item() == pytest.approx(loss.item(), rel=1e-5)
    assert loss_of(name, wanted, wanted, mask).item() == pytest.approx(0, abs=1e-6)
    assert needs_layers(Distill(terms={name: 1.0})) and not needs_every_layer(Distill(terms={name: 1.0}))
    assert needs_every_layer(Distill(terms={name: 1.0}, hidden=1.0))


@pytest.mark.parametrize("name", ["token_relations", "distances", "angles"])
def test_relations_need_no_equal_widths_and_no_projection(name: str) -> None:
    state, wanted = torch.randn(3, 4, 2), torch.randn(3, 4, 6)
    assert math.isfinite(loss_of(name, state, wanted).item())
    assert not list(objective(name).parameters())


def test_a_relation_of_two_tokens_is_the_one_computed_by_hand() -> None:
    # One head of width 1: products 1, 2 / 2, 4; from the first token softmax(1, 2) = .2689, .7311.
    logs = log_relations(torch.tensor([[[1.0], [2.0]]]), 1, None)
    assert logs.exp()[0, 0, 0].tolist() == pytest.approx([0.268941, 0.731059], abs=1e-5)
    # The student's tokens are both 0: even. KL = sum p ln 2p, of the second token softmax(2, 4) = .1192, .8808.
    even = log_relations(torch.zeros(1, 2, 1), 1, None)
    by_hand = [sum(p * math.log(2 * p) for p in (q, 1 - q)) for q in (1 / (1 + math.e), 1 / (1 + math.e**2))]
    assert relation_divergence(even, logs, None).item() == pytest.approx(sum(by_hand) / 2, abs=1e-6)


def test_the_decoupled_parts_add_up_to_the_soft_loss() -> None:
    """KL = TCKD + (1 - p) NCKD, row by row (arXiv 2203.08679, equation 6)."""
    student, teacher, labels = torch.randn(1, 5), torch.randn(1, 5), torch.tensor([3])
    for temperature in (1.0, 4.0):
        whole = distillation_loss(student, teacher, labels, temperature, 1.0)
        right = (teacher / temperature).softmax(-1)[0, 3]
        parts = [f(student, teacher, labels, temperature) for f in (target_class_divergence, other_classes_divergence)]
        assert (parts[0] + (1 - right) * parts[1]).item() == pytest.approx(whole.item(), rel=1e-4)


def test_a_teacher_that_is_very_sure_gives_numbers() -> None:
    student, teacher, labels = torch.randn(2, 3), torch.tensor([[200.0, 0, 0], [0, 0, 300.0]]), torch.tensor([0, 1])
    for part in (target_class_divergence, other_classes_divergence):
        assert torch.isfinite(part(student, teacher, labels, 1.0))
    two = other_classes_divergence(student[:, :2], teacher[:, :2], labels, 1.0)
    assert two.item() == 0


def test_every_term_says_which_paper_it_is_from() -> None:
    from importlib import import_module

    for name, place in TERMS.items():
        module, _, attribute = place.partition(":")
        found = import_module(module)
        assert "arXiv" in (found.__doc__ or "") and getattr(found, attribute).__doc__, name
