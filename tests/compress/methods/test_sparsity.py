"""Sparsity: which weights become zero, that they stay zero, and what the promise says of them."""

from __future__ import annotations

import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from edgepress.benchmarks.records.report import Figures
from edgepress.compress.cli.console import Console
from edgepress.compress.methods import transform as recovering
from edgepress.compress.methods.base import Promise, method_of
from edgepress.compress.methods.data import Run
from edgepress.compress.methods.distill.options import Distill
from edgepress.compress.methods.factorize.options import Factorize
from edgepress.compress.methods.factorize.svd import apply_ranks, plan_ranks
from edgepress.compress.methods.prune.options import Prune
from edgepress.compress.methods.prune.sparse import apply as made
from edgepress.compress.methods.prune.sparse.hooks import Evolving, Gradual, Moving, Schedule, starting
from edgepress.compress.methods.prune.sparse.masks import (
    by_layer,
    cosine,
    cubic,
    erdos_renyi,
    largest,
    masks_of,
    moved,
    n_of_m,
    together,
    zeros_of,
)
from edgepress.compress.methods.prune.sparse.options import Magnitude, Movement, NOfM, RigL, Set, SparseOptions
from edgepress.compress.methods.prune.sparse.plan import (
    layers_of,
    masked,
    plan_dynamic,
    plan_magnitude,
    plan_n_of_m,
)
from edgepress.compress.methods.prune.structured import apply_pruning, plan_pruning
from edgepress.compress.methods.verdict import complaints
from edgepress.compress.methods.zeros import lost_zeros
from edgepress.compress.model.edits import Edit, apply_edits
from edgepress.compress.model.model import Model
from edgepress.compress.model.sparsity import count_zeros, sparse_weights
from edgepress.compress.recipe.sections import Training
from edgepress.compress.training.fit import TrainingJob, fit
from edgepress.compress.training.hooks import HoldZeros, Hook, hooks_for
from edgepress.targets.errors import ModelError, StageError
from edgepress.targets.records import WeightCount
from tests.compress.fakes import TokenFeatures, tiny_bert, write_artifact

SILENT = Console("silent")
QUICK = Training(epochs=2, batch_size=8, learning_rate=1e-3)
RUN = Run("prune", 0, Path("scratch"), SILENT)


def share_of_zeros(model: Model) -> list[float]:
    weights = sparse_weights(model.network, model.sparse_modules).values()
    return [float((weight == 0).double().mean()) for weight in weights]


def sparse(model: Model, options: Magnitude) -> Model:
    return made.magnitude(model, plan_magnitude(model, options)).model


# --- which weights --------------------------------------------------------------------------------------------------


def test_each_layer_loses_its_own_smallest_weights() -> None:
    scores = {"a": torch.tensor([[4.0, 1.0], [2.0, 3.0]]), "b": torch.tensor([[40.0, 10.0]])}
    masks = by_layer(scores, 0.5)
    assert masks["a"].tolist() == [[True, False], [False, True]] and masks["b"].tolist() == [[True, False]]


def test_together_the_smallest_of_all_are_lost_and_each_layer_keeps_its_best() -> None:
    scores = {"a": torch.tensor([[1.0, 2.0, 3.0]]), "b": torch.tensor([[4.0, 5.0, 6.0]])}
    masks = together(scores, 0.5)
    # By size alone layer `a` would be empty: its best one stays, in the place of the smallest of `b`.
    assert masks["a"].tolist() == [[False, False, True]] and masks["b"].tolist() == [[False, True, True]]


def test_ties_change_no_count() -> None:
    assert int(largest(torch.ones(3, 5), 7).sum()) == 7


def test_two_of_four_are_chosen_along_the_inputs_of_linear_layers_and_convolutions() -> None:
    rows = torch.tensor([[1.0, -4.0, 3.0, 2.0, 0.1, 0.2, -0.4, 0.3], [5.0, 6.0, 7.0, 8.0, 8.0, 7.0, 6.0, 5.0]])
    wanted = [[0, 1, 1, 0, 0, 0, 1, 1], [0, 0, 1, 1, 1, 1, 0, 0]]
    assert n_of_m(rows, 2, 4).int().tolist() == wanted
    kernel = torch.stack([rows, rows.flip(1)], -1).unsqueeze(-1)  # [out 2, in 8, 2, 1]
    mask = n_of_m(kernel, 2, 4).int()
    assert mask[..., 0, 0].tolist() == wanted and mask[..., 1, 0].flip(1).tolist() == wanted


def test_the_cubic_schedule_gives_the_papers_numbers() -> None:
    # s = 0.9 - 0.9 (1 - t/10)^3 from step 2 to 12: half way 0.9 * 7/8.
    found = [cubic(step, 2, 12, 0.0, 0.9) for step in (0, 2, 7, 12, 99)]
    assert found == pytest.approx([0.0, 0.0, 0.7875, 0.9, 0.9])
    assert [cosine(step, 10, 0.4) for step in (0, 5, 10, 20)] == pytest.approx([0.4, 0.2, 0.0, 0.0])


def test_erdos_renyi_densities_go_by_the_sum_of_the_sides_over_their_product() -> None:
    # Sums 20 and 40, products 100 and 400, 100 of 500 weights stay: epsilon = 100 / 60.
    assert erdos_renyi([(10, 10), (20, 20)], 0.8) == pytest.approx([20 / 100 * 100 / 60, 40 / 400 * 100 / 60])
    # A layer of 4 weights would have a density above 1: it stays dense, and the other one makes up for it.
    assert erdos_renyi([(2, 2), (14, 14)], 0.5) == pytest.approx([1.0, 96 / 196])


def test_the_scope_erdos_renyi_gives_each_layer_its_density() -> None:
    # As above: densities 1/3 and 1/6 of 100 and 400 weights.
    masks = masks_of({"a": torch.rand(10, 10), "b": torch.rand(20, 20)}, 0.8, "erdos-renyi")
    assert [int(mask.sum()) for mask in masks.values()] == [33, 67]


def test_a_round_drops_the_smallest_and_grows_the_best_of_those_that_are_not_there() -> None:
    weight = torch.tensor([0.1, -0.5, 0.3, 0.0, 0.0, 0.0])
    mask = torch.tensor([True, True, True, False, False, False])
    growth = torch.tensor([9.0, 9.0, 9.0, 1.0, 3.0, 2.0])
    assert moved(weight, mask, growth, 0.34).tolist() == [False, True, True, False, True, False]
    assert moved(weight, mask, growth, 0.1) is mask  # less than one weight moves


def test_never_are_all_weights_of_a_layer_zero() -> None:
    assert zeros_of(0.99, 4) == 3


# --- the methods ----------------------------------------------------------------------------------------------------


def test_one_shot_pruning_leaves_exact_zeros_and_an_edit_for_each_layer() -> None:
    model = tiny_bert()
    pruned = sparse(model, Magnitude(sparsity=0.75, exclude=("classifier",)))
    assert share_of_zeros(pruned) == pytest.approx([0.75] * 13) and not model.sparse_modules
    assert pruned.edits[0] == Edit(
        kind="sparse", module="bert.encoder.layer.0.attention.self.query", sizes={"kept": 256, "of": 1024}
    )
    assert pruned.lineage[-1].summary == "75.0% of 15360 weights zero, by magnitude in each layer by itself, at once"
    assert count_zeros(pruned.network).zeros - count_zeros(model.network).zeros == 0.75 * 15360


def test_global_pruning_takes_more_where_weights_are_smaller() -> None:
    model = tiny_bert()
    with torch.no_grad():
        model.network.bert.encoder.layer[0].intermediate.dense.weight.mul_(0.01)  # type: ignore[union-attr,index,operator]
    plan = plan_magnitude(model, Magnitude(sparsity=0.5, scope="global", exclude=("classifier",)))
    shares = {layer.module: layer.zeros / layer.weights for layer in plan.layers}
    assert shares["bert.encoder.layer.0.intermediate.dense"] > 0.99 > 0.5 > shares["bert.pooler.dense"]
    assert sum(layer.zeros for layer in plan.layers) == 7680


def test_layers_are_those_of_the_kinds_asked_for_without_small_and_excluded_ones() -> None:
    model = tiny_bert()
    large = tiny_bert(hidden=256)
    assert "classifier" not in layers_of(large, Magnitude(sparsity=0.5))  # 512 of 639,488 weights
    assert len(layers_of(model, Magnitude(sparsity=0.5, layers=("embedding",)))) == 3
    names = layers_of(model, Magnitude(sparsity=0.5, exclude=("pooler", "layer.0", "classifier")))
    assert not any("pooler" in name or "layer.0" in name for name in names) and len(names) == 6
    with pytest.raises(
        StageError, match="BertForSequenceClassification has no layer left of kind conv \\(0 excluded\\)"
    ):
        layers_of(model, Magnitude(sparsity=0.5, layers=("conv",)))


def test_two_of_four_leaves_layers_dense_that_four_does_not_divide_and_says_so() -> None:
    model = tiny_bert(hidden=30)
    plan = plan_n_of_m(model, NOfM())
    assert plan.modules == tuple(f"bert.encoder.layer.{number}.output.dense" for number in range(2))
    assert plan.notes[0].startswith(
        "dense, their inputs are no multiple of 4: bert.encoder.layer.0.attention.self.query (30), "
    )
    assert share_of_zeros(made.groups(model, plan, RUN).model) == [0.5, 0.5]
    with pytest.raises(StageError) as caught:
        plan_n_of_m(model, NOfM(n=2, m=7))
    assert str(caught.value) == (
        "prune: 2:7 needs inputs that 7 divides, and no layer has them; bert.encoder.layer.0.attention.self.query has "
        "30. Use another 'm', or the method magnitude."
    )


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"method": "magnitude", "schedule": "cubic", "sparsity": 0.5}, "magnitude works while the model trains: give"),
        ({"method": "rigl", "sparsity": 0.5}, "rigl works while the model trains: give 'recover' with a training"),
        ({"method": "movement", "sparsity": 0.5}, "movement works while the model trains"),
        ({"method": "n_of_m", "n": 4}, "'n' of each 'm' weights stay, so n must be below m, got n 4 and m 4"),
        ({"method": "magnitude", "sparsity": 0.5, "begin": 0.8}, "ends before it begins: 'begin' is 0.8, 'end' 0.5"),
    ],
)  # fmt: skip
def test_options_that_cannot_be_meant_are_refused(options: dict[str, Any], told: str) -> None:
    from edgepress.compress.recipe.methods import parse_stage

    with pytest.raises(ValueError, match=told):
        parse_stage({"prune": options})


def test_sparse_models_go_on_to_other_methods_and_come_back_from_their_folders(tmp_path: Path) -> None:
    pruned = sparse(tiny_bert(), Magnitude(sparsity=0.5))
    feeds = [{"input_ids": np.full((2, 5), 7), "attention_mask": np.ones((2, 5), np.int64)}]
    cut = apply_pruning(pruned, plan_pruning(pruned, Prune(ffn=0.5, importance="magnitude"), feeds, ()))
    thin = apply_ranks(cut, plan_ranks(cut, Factorize(rank=4, exclude=("attention",), activation_aware=False), ()))
    thin.save(tmp_path)
    loaded = Model.load(tmp_path)
    # Factors are dense: the layers that were factorized are no longer sparse, the others still are.
    assert loaded.sparse_modules == thin.sparse_modules and 0 < len(loaded.sparse_modules) < len(pruned.sparse_modules)
    assert share_of_zeros(loaded) == share_of_zeros(thin)


def test_an_edit_with_other_sizes_is_refused() -> None:
    with pytest.raises(ModelError, match="edit 'sparse' of 'classifier' names size 'rank', which Linear lacks"):
        apply_edits(tiny_bert().network, (Edit(kind="sparse", module="classifier", sizes={"rank": 3}),))


# --- inside a training ----------------------------------------------------------------------------------------------


def trained(model: Model, tmp_path: Path, *hooks: Hook, **more: Any) -> Model:
    options = QUICK.model_copy(update=more)
    job = TrainingJob(options, tmp_path / "job", hooks=hooks)
    return fit(model, job, TokenFeatures(64), TokenFeatures(16, seed=1), SILENT, "train")[0]


def test_zeros_stay_through_any_later_training_and_through_the_folder(tmp_path: Path) -> None:
    pruned = sparse(tiny_bert(), Magnitude(sparsity=0.6, exclude=("classifier",)))
    pruned.save(tmp_path / "model")
    loaded = Model.load(tmp_path / "model")
    after = trained(loaded, tmp_path)
    assert after.sparse_modules == pruned.sparse_modules and len(after.sparse_modules) == 13
    for name, weight in sparse_weights(after.network, after.sparse_modules).items():
        was = sparse_weights(pruned.network, [name])[name]
        assert torch.equal(weight == 0, was == 0) and not torch.equal(weight, was)


def test_a_method_answers_for_its_own_layers_and_the_others_zeros_are_held() -> None:
    pruned = sparse(tiny_bert(), Magnitude(sparsity=0.6))
    first, *rest = pruned.sparse_modules
    mine = Gradual((first,), Magnitude(sparsity=0.8))
    held = hooks_for(pruned, (mine,))
    assert held[0] is mine and isinstance(held[1], HoldZeros) and held[1].modules == tuple(rest)
    assert hooks_for(tiny_bert(), (mine,)) == (mine,)


def test_gradual_pruning_reaches_its_sparsity_and_keeps_an_epoch_from_after_it(tmp_path: Path) -> None:
    options = Magnitude(sparsity=0.8, schedule="cubic", end=0.5, every=2, recover=QUICK, exclude=("classifier",))
    model = tiny_bert()
    plan = plan_magnitude(model, options)
    found = made.magnitude(model, plan)
    assert found.model is model and found.finish is not None
    job = TrainingJob(QUICK, tmp_path, hooks=found.hooks)
    network, history = fit(model, job, TokenFeatures(64), TokenFeatures(16, seed=1), SILENT, "train")
    assert [epoch.counts for epoch in history.epochs] == [True, True]  # 8 steps an epoch, done after 8 of 16
    finished = found.finish(network).model
    assert share_of_zeros(finished) == pytest.approx([0.8] * 13, abs=1e-3)
    late = Gradual((), options.model_copy(update={"end": 0.9}))
    assert not late.counts(8, 16) and late.counts(14, 16)


def test_an_epoch_before_the_last_sparsity_is_never_the_best_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgepress.compress.training import epochs

    scores = iter([0.9, 0.5, 0.6])
    monkeypatch.setattr(epochs, "metric_of", lambda *_: next(scores))
    options = Magnitude(sparsity=0.8, schedule="cubic", end=0.6, every=1, recover=QUICK)
    hook = Gradual(plan_magnitude(tiny_bert(), options).modules, options)
    job = TrainingJob(QUICK.model_copy(update={"epochs": 3}), tmp_path, hooks=(hook,))
    _, history = fit(tiny_bert(), job, TokenFeatures(64), TokenFeatures(16), SILENT, "train")
    assert [epoch.counts for epoch in history.epochs] == [False, True, True] and history.best == 0.6


def step(hook: Any, network: nn.Module, number: int, steps: int, lr: float = 0.1) -> None:
    """One step of plain gradient descent, with the hook's events about it as the Trainer has them."""
    state = SimpleNamespace(global_step=number, max_steps=steps)
    if number == 0:
        hook.on_train_begin(None, state, None, model=SimpleNamespace(network=network))
    hook.on_pre_optimizer_step(None, state, None)
    with torch.no_grad():
        for weight in network.parameters():
            weight -= lr * weight.grad  # type: ignore[operator]
    hook.on_optimizer_step(None, state, None)


def layer(*values: float) -> nn.Module:
    network = nn.Module()
    network.layer = nn.Linear(len(values), 1, bias=False)
    network.layer.weight = nn.Parameter(torch.tensor([values]))
    return network


def test_movement_keeps_what_grows_and_drops_what_shrinks_whatever_its_size() -> None:
    network = layer(5.0, 0.2, -3.0, -0.1)
    hook = Moving(("layer",), Movement(sparsity=0.5, end=0.99, every=1, recover=QUICK))
    network.layer.weight.grad = torch.tensor([[1.0, -1.0, -1.0, 1.0]])
    step(hook, network, 0, 2)
    # S = -gradient * weight: -5, 0.2, -3, 0.1: the large ones move towards zero, the small ones away from it.
    assert hook.scores["layer"].tolist() == [pytest.approx([-5.0, 0.2, -3.0, 0.1])]
    assert network.layer.weight.tolist() == [pytest.approx([0.0, 0.3, 0.0, -0.2])]


def test_a_weight_that_movement_took_comes_back_with_its_value() -> None:
    network = layer(1.0, 2.0)
    hook = Moving(("layer",), Movement(sparsity=0.5, end=0.99, every=1, recover=QUICK))
    hook.masks, hook.weights = {"layer": torch.tensor([[True, False]])}, {"layer": network.layer.weight}
    hook.values, hook.scores = {"layer": torch.tensor([[1.0, 2.0]])}, {"layer": torch.tensor([[0.1, 0.0]])}
    network.layer.weight.grad = torch.tensor([[0.0, -1.0]])  # of the masked weight: straight through
    step(hook, network, 1, 3)
    assert hook.scores["layer"].tolist() == [pytest.approx([0.1, 2.0])]
    assert network.layer.weight.tolist() == [[0.0, 2.0]]


def test_rigl_grows_where_the_gradient_is_largest_from_zero() -> None:
    network = layer(3.0, 0.5, 0.0, 0.0)
    hook = Evolving(("layer",), RigL(sparsity=0.5, drop=0.6, every=1, end=0.9, recover=QUICK), seed=0)
    network.layer.weight.grad = torch.tensor([[0.1, 0.1, 0.2, -0.9]])
    # At step 1 of the 9 that move, 0.6 / 2 (1 + cos(π / 9)) = 0.58 of two weights: one.
    step(hook, network, 0, 10)
    assert network.layer.weight.tolist() == [pytest.approx([2.99, 0.0, 0.0, 0.09])]


def test_set_grows_at_random_and_the_same_for_the_same_seed_and_step() -> None:
    def grown(seed: int) -> torch.Tensor:
        network = layer(*[1.0 + i for i in range(8)], *[0.0] * 24)
        hook = Evolving(("layer",), Set(sparsity=0.75, drop=0.6, every=1, end=0.9, recover=QUICK), seed)
        network.layer.weight.grad = torch.full((1, 32), -1.0)
        step(hook, network, 0, 10)
        assert int((network.layer.weight != 0).sum()) == 8 and not network.layer.weight[0, :4].any()
        return network.layer.weight.detach() != 0

    assert torch.equal(grown(0), grown(0)) and not torch.equal(grown(0), grown(1))


@pytest.mark.parametrize("kind", [Set, RigL])
def test_dynamic_training_is_as_sparse_at_its_end_as_at_its_beginning(kind: Any, tmp_path: Path) -> None:
    options = kind(sparsity=0.7, every=2, recover=QUICK)
    model = tiny_bert()
    plan = plan_dynamic(model, options)
    found = made.dynamic(model, plan, RUN)
    assert found.finish is not None
    done = found.finish(trained(found.model, tmp_path, *found.hooks)).model
    weights = sparse_weights(done.network, done.sparse_modules)
    there = {layer.module: layer.weights - layer.zeros for layer in plan.layers}
    # A grown weight whose gradient is exactly zero stays zero: there may be fewer, never more.
    assert all(int((weight != 0).sum()) <= there[name] for name, weight in weights.items())
    assert sum(int((weight != 0).sum()) for weight in weights.values()) > 0.97 * sum(there.values())
    first = sparse_weights(found.model.network, done.sparse_modules)
    assert any(not torch.equal(weight != 0, first[name] != 0) for name, weight in weights.items())


@pytest.mark.parametrize("method", ["movement", "magnitude", "rigl"])
def test_a_training_that_was_cut_off_goes_on_to_the_same_zeros(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgepress.compress.training import fit as training

    def hook() -> Hook:
        if method == "rigl":
            return Evolving(modules, RigL(sparsity=0.6, every=3, recover=QUICK), 0)
        options = {"sparsity": 0.6, "every": 3, "end": 0.8, "recover": QUICK}
        return Moving(modules, Movement(**options)) if method == "movement" else Gradual(modules, Magnitude(**options))  # type: ignore[arg-type]

    model, rows = tiny_bert(), (TokenFeatures(64), TokenFeatures(16, seed=1))
    weights = layers_of(model, Magnitude(sparsity=0.6))
    modules = tuple(weights)
    if method == "rigl":
        model = masked(
            model, starting(weights, {name: weight.numel() // 2 for name, weight in weights.items()}, "magnitude", 0)
        )
    whole, _ = fit(model, TrainingJob(QUICK, tmp_path / "whole", hooks=(hook(),)), *rows, SILENT, "train")
    calls = 0

    class Cut(training.Collator):
        def __call__(self, rows: list[int]) -> dict[str, Any]:
            nonlocal calls
            calls += 1
            if calls == 13:
                raise KeyboardInterrupt
            return super().__call__(rows)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training, "Collator", Cut)
        fit(model, TrainingJob(QUICK, tmp_path / "cut", hooks=(hook(),)), *rows, SILENT, "train")
    resumed, history = fit(model, TrainingJob(QUICK, tmp_path / "cut", hooks=(hook(),)), *rows, SILENT, "train")
    assert history.resumed
    for name, weight in sparse_weights(whole.network, modules).items():
        other = sparse_weights(resumed.network, modules)[name]
        assert ((weight == 0) != (other == 0)).sum() <= 2
        torch.testing.assert_close(weight, other, atol=1e-4, rtol=1e-3)


def test_the_schedule_changes_masks_every_so_many_steps_and_at_its_last() -> None:
    schedule = Schedule(Movement(sparsity=0.5, begin=0.1, end=0.5, every=4, recover=QUICK), 30)
    assert [number for number in range(31) if schedule.due(number)] == [3, 7, 11, 15]


def test_the_recovery_trains_with_the_methods_hook_and_the_method_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[Hook, ...]] = []

    def distill(model: Model, plan: Any, data: Any, run: Run, title: str, hooks: tuple[Hook, ...]) -> Any:
        given.append(hooks)
        return trained(model, tmp_path, *hooks).after(title, "trained"), {"steps": 16}

    monkeypatch.setattr(recovering, "plan_distillation", lambda *_: None)
    monkeypatch.setattr(recovering, "distill", distill)
    options = Magnitude(sparsity=0.5, schedule="cubic", every=1, recover=QUICK)
    nothing: Any = SimpleNamespace()
    applied = recovering.transform(tiny_bert(), options, Distill(), nothing, nothing)
    assert [type(hook) for hooks in given for hook in hooks] == [Gradual]
    assert [step.stage for step in applied.model.lineage] == ["recovery", "prune"]
    assert share_of_zeros(applied.model) == pytest.approx([0.5] * 14) and applied.details["recovery"] == {"steps": 16}


def test_a_hook_goes_to_other_processes_as_it_is() -> None:
    options = Movement(sparsity=0.5, every=3, recover=QUICK)
    sent = pickle.loads(pickle.dumps(Moving(("layer",), options)))
    assert (sent.modules, sent.options) == (("layer",), options)


# --- the promise ----------------------------------------------------------------------------------------------------


def figures(**more: Any) -> Figures:
    from edgepress.benchmarks.records.figures import Figure

    metric = Figure(key="accuracy", name="accuracy", unit="share", value=0.9, primary=True, higher_is_better=True)
    return Figures(metrics=(metric,), parameters=100, macs=100, bytes=400, latency=(), **more)


def test_every_zero_has_to_be_in_the_exported_file() -> None:
    options: tuple[SparseOptions, ...] = (
        Magnitude(sparsity=0.5), NOfM(), *(kind(sparsity=0.5, recover=QUICK) for kind in (Movement, Set, RigL)),
    )  # fmt: skip
    promises = {method_of(one).promise(one) for one in options}
    assert promises == {Promise(max_drop=0.02, falls=("zstd_bytes",), keeps_zeros=True)}
    (promise,) = promises
    before = figures(zstd_bytes=390, zeros=3, exported_zeros=WeightCount(weights=100, zeros=2))
    after = figures(zstd_bytes=250, zeros=53, exported_zeros=WeightCount(weights=100, zeros=52))
    assert complaints(promise, before, after) == ()
    lost = after.model_copy(update={"exported_zeros": WeightCount(weights=100, zeros=51)})
    told = ("the exported file lacks zeros: 50 weights became zero, 49 of them in the file",)
    assert complaints(promise, before, lost) == told
    blind = after.model_copy(update={"exported_zeros": None, "zstd_bytes": None})
    assert complaints(promise, before, blind) == (
        "bytes after zstd (390) did not fall",
        "zeros of the exported file could not be counted: this target's files tell no weights",
    )


def test_an_artifact_of_any_precision_that_lacks_zeros_is_told_of(tmp_path: Path) -> None:
    pruned = sparse(tiny_bert(), Magnitude(sparsity=0.5))
    artifact = write_artifact(tmp_path / "a", "pytorch").model_copy(update={"target": "pytorch"})
    dense = {name: weight.detach() + 1 for name, weight in pruned.network.named_parameters()}
    save_file(dense, tmp_path / "a" / "weights.safetensors")
    # 7,712 of 15,424 weights are zero in the sparse layers; a file of weights that are none has none.
    told = "pytorch fp32 holds 0 zeros, the model's sparse layers 7,712"
    assert lost_zeros(pruned, artifact, tmp_path / "a") == told
    save_file(dict(pruned.network.named_parameters()), tmp_path / "a" / "weights.safetensors")
    assert lost_zeros(pruned, artifact, tmp_path / "a") == ""
    assert lost_zeros(tiny_bert(), artifact, tmp_path / "nothing is read") == ""
