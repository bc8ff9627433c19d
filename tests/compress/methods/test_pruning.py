"""Structured pruning: what is chosen, that the smaller network computes what it should, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgepress.compress.methods.factorize.options import Factorize
from edgepress.compress.methods.factorize.svd import apply_ranks, plan_ranks
from edgepress.compress.methods.prune.options import Prune
from edgepress.compress.methods.prune.structured import PruningPlan, apply_pruning, kept_of, plan_pruning
from edgepress.compress.model.model import Model
from edgepress.compress.network.blocks import attentions, feed_forwards, ffn_groups, head_groups
from edgepress.compress.network.channels import channel_groups
from edgepress.compress.network.importance import activation, magnitude, taylor
from edgepress.compress.network.probing import probe_logits
from edgepress.compress.network.slicing import Group, Member, silence
from edgepress.targets.errors import StageError
from tests.compress.tiny_models import feeds_of, labels_of, tiny

TRANSFORMERS = ("bert", "distilbert", "electra", "vit", "llama")
CONVOLUTIONAL = ("resnet", "mobilenet_v2", "convnext")


class Pair(nn.Module):
    """Two dense layers, `inputs -> 3 -> outputs`, with weights a test can reckon with."""

    def __init__(self, first: list[list[float]], second: list[list[float]]) -> None:
        super().__init__()
        self.first = nn.Linear(len(first[0]), len(first), bias=False)
        self.second = nn.Linear(len(second[0]), len(second), bias=False)
        self.first.weight = nn.Parameter(torch.tensor(first))
        self.second.weight = nn.Parameter(torch.tensor(second))

    def forward(self, x: torch.Tensor, attention_mask: torch.Tensor | None = None) -> Any:
        return type(
            "Output",
            (),
            {"logits": self.second(self.first(x)).flatten(1, -2).sum(1) if x.dim() > 2 else self.second(self.first(x))},
        )()


def pair() -> tuple[Pair, Group]:
    network = Pair([[3.0, 0.0], [0.0, 1.0], [0.0, 0.0]], [[4.0, 0.0, 2.0], [0.0, 1.0, 0.0]])
    units = np.arange(3)
    return network, Group("ffn", "first", 3, (Member("first", "out", units), Member("second", "in", units)))


def test_magnitude_is_the_norm_of_all_weights_of_a_neuron() -> None:
    assert magnitude(*pair()) == pytest.approx([5.0, 2**0.5, 2.0])


def test_activation_is_the_reading_weights_norm_times_the_rms_of_what_they_read() -> None:
    network, group = pair()
    feeds = [{"x": np.array([[1.0, 2.0]], np.float32)}, {"x": np.array([[7.0, -2.0]], np.float32)}]
    # The hidden values are (3, 2, 0) and (21, -2, 0): RMS 15, 2, 0; reading norms 4, 1, 2.
    assert activation(network, [group], feeds)[0] == pytest.approx([60.0, 2.0, 0.0])


def test_activation_leaves_out_padded_positions() -> None:
    network, group = pair()
    x = np.array([[[1.0, 2.0], [100.0, 100.0]]], np.float32)
    feeds = [{"x": x, "attention_mask": np.array([[1, 0]])}]
    assert activation(network, [group], feeds)[0] == pytest.approx([12.0, 2.0, 0.0])


def test_taylor_is_the_loss_derivative_of_a_gate_on_each_neuron() -> None:
    network, group = pair()
    x, label = np.array([[1.0, 2.0]], np.float32), np.array([1])
    # Logits (12, 2), label 1: d loss / d logits = (p, -p), p = sigmoid(10); gates act by (12, 0), (0, 2), (0, 0).
    p = 1 / (1 + np.exp(-10.0))
    assert taylor(network, [group], [{"x": x}], [label])[0] == pytest.approx([12 * p, 2 * p, 0.0], rel=1e-5)


def test_taylor_adds_up_over_samples_without_cancelling() -> None:
    network, group = pair()
    x = np.array([[1.0, 2.0], [-1.0, -2.0]], np.float32)
    alone = [taylor(network, [group], [{"x": x[i : i + 1]}], [np.array([1])])[0] for i in (0, 1)]
    both = taylor(network, [group], [{"x": x}], [np.array([1, 1])])[0]
    assert both == pytest.approx(alone[0] + alone[1], rel=1e-5)


def test_taylor_without_labels_is_refused() -> None:
    model = tiny("bert")
    with pytest.raises(
        StageError, match="'taylor' needs labelled calibration batches: got 3 batches and 0 label arrays"
    ):
        plan_pruning(model, Prune(heads=0.5, importance="taylor"), feeds_of(model), [])


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_heads_and_neurons_are_found_by_structure(name: str) -> None:
    network = tiny(name).network
    assert [group.units for group in head_groups(network)] == ([2, 2] if name == "llama" else [4, 4])
    assert [group.units for group in ffn_groups(network)] == [48, 48]
    assert {attention.head_size for attention in attentions(network)} == {8}
    assert {len(ffn.firsts) for ffn in feed_forwards(network)} == {2 if name == "llama" else 1}


@pytest.mark.parametrize("name", TRANSFORMERS)
@pytest.mark.parametrize("importance", ["magnitude", "activation", "taylor"])
def test_a_pruned_transformer_computes_what_the_full_one_does_without_the_removed_units(
    name: str, importance: str
) -> None:
    model = tiny(name)
    feeds = feeds_of(model)
    options = Prune(heads=0.5, ffn=0.25, importance=importance)  # type: ignore[arg-type]
    plan = plan_pruning(model, options, feeds, labels_of(feeds))
    assert_equal_to_silenced(model, plan, feeds[-1])
    assert [len(group.kept) for group in plan.groups] == ([1, 1, 36, 36] if name == "llama" else [2, 2, 36, 36])


@pytest.mark.parametrize("name", ["resnet", "mobilenet_v2"])
def test_pruned_channels_compute_what_the_full_network_does_without_them(name: str) -> None:
    model = tiny(name)
    feeds = feeds_of(model)
    plan = plan_pruning(model, Prune(channels=0.5, importance="activation"), feeds, labels_of(feeds))
    assert_equal_to_silenced(model, plan, feeds[-1])


def assert_equal_to_silenced(model: Model, plan: PruningPlan, feeds: dict[str, np.ndarray]) -> None:
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    pruned = apply_pruning(model, plan)
    assert pruned.parameters < model.parameters
    assert all(torch.equal(before[name], value) for name, value in model.network.state_dict().items())
    silent = model.copy()
    silence(silent.network, [cut for group in plan.groups for cut in group.cuts])
    want = probe_logits(silent.network, feeds)
    assert not torch.allclose(want, probe_logits(model.network, feeds), atol=1e-6)
    assert torch.allclose(probe_logits(pruned.network, feeds), want, atol=1e-5)


@pytest.mark.parametrize(("channels", "name"), [(1, "resnet"), (3, "resnet"), (3, "convnext")])
def test_channel_pruning_keeps_inputs_and_classes(channels: int, name: str) -> None:
    model = tiny(name, num_channels=channels)
    feeds = feeds_of(model)
    pruned = apply_pruning(model, plan_pruning(model, Prune(channels=0.5), feeds, []))
    assert probe_logits(pruned.network, feeds[0]).shape == (4, 3)
    first = next(module for module in pruned.network.modules() if isinstance(module, nn.Conv2d))
    assert first.in_channels == channels
    assert pruned.parameters < 0.6 * model.parameters


def test_layers_joined_by_a_residual_are_pruned_together() -> None:
    model = tiny("resnet")
    groups, notes = channel_groups(model.network, feeds_of(model)[0])
    joined = [{member.module for member in group.members if member.side == "out"} for group in groups]
    stage = "resnet.encoder.stages.1.layers"
    block_outputs = {f"{stage}.{i}.layer.1.convolution" for i in (0, 1)} | {f"{stage}.0.shortcut.convolution"}
    assert any(block_outputs <= modules for modules in joined)
    assert not notes
    assert all("classifier.1" not in modules for modules in joined)


def test_a_depthwise_convolution_shrinks_with_the_layer_before_it() -> None:
    model = tiny("mobilenet_v2")
    feeds = feeds_of(model)
    pruned = apply_pruning(model, plan_pruning(model, Prune(channels=0.5), feeds, []))
    grouped = [m for m in pruned.network.modules() if isinstance(m, nn.Conv2d) and m.groups > 1]
    assert len(grouped) == 17
    assert all(m.groups == m.in_channels == m.out_channels == len(m.weight) for m in grouped)


def test_head_counts_follow_the_pruned_heads() -> None:
    model = tiny("bert")
    pruned = apply_pruning(model, plan_pruning(model, Prune(heads=0.5), feeds_of(model), []))
    module: Any = pruned.network.get_submodule("bert.encoder.layer.0.attention.self")
    assert (module.num_attention_heads, module.all_head_size, module.query.out_features) == (2, 16, 16)


def test_the_units_with_the_largest_scores_stay() -> None:
    model = tiny("bert")
    dense: Any = model.network.get_submodule("bert.encoder.layer.1.intermediate.dense")
    with torch.no_grad():
        dense.weight[[5, 40, 7]] *= 100
    plan = plan_pruning(model, Prune(ffn=0.94), feeds_of(model), [])
    assert plan.groups[1].kept == (5, 7, 40)
    assert plan.groups[1].removed_importance < 0.5


def test_factorized_layers_can_be_pruned() -> None:
    model = tiny("bert")
    feeds = feeds_of(model)
    low = apply_ranks(model, plan_ranks(model, Factorize(rank=6, layers=("linear",)), feeds))
    plan = plan_pruning(low, Prune(heads=0.5, ffn=0.5, importance="activation"), feeds, [])
    assert_equal_to_silenced(low, plan, feeds[0])


def test_the_rank_of_a_factorized_convolution_is_not_pruned_as_channels() -> None:
    model = tiny("resnet")
    feeds = feeds_of(model)
    low = apply_ranks(model, plan_ranks(model, Factorize(rank=3, layers=("conv",)), feeds))
    plan = plan_pruning(low, Prune(channels=0.5), feeds, [])
    pruned = apply_pruning(low, plan)
    assert any("its channels are the rank of a factorized layer" in note for note in plan.notes)
    assert pruned.network.get_submodule("resnet.encoder.stages.1.layers.1.layer.0.convolution.first").out_channels == 3


def test_a_plan_prints_and_survives_json() -> None:
    model = tiny("electra")
    plan = plan_pruning(model, Prune(heads=0.5, ffn=0.25), feeds_of(model), [])
    assert str(plan).splitlines()[0] == "heads 8 -> 4, ffn 96 -> 72 (by activation)"
    assert "electra.encoder.layer.1.attention.self" in str(plan)
    assert PruningPlan.model_validate_json(plan.model_dump_json()) == plan
    assert apply_pruning(model, plan).lineage[-1].summary == plan.summary


def test_a_share_too_small_for_any_unit_changes_nothing_and_says_so() -> None:
    model = tiny("bert")
    plan = plan_pruning(model, Prune(heads=0.1), feeds_of(model), [])
    assert not plan.changes
    pruned = apply_pruning(model, plan)
    assert (pruned.parameters, pruned.edits) == (model.parameters, ())


@pytest.mark.parametrize(
    ("units", "share", "multiple", "kept"),
    [
        (12, 0.5, 1, 6),
        (10, 0.3, 1, 7),
        (2, 0.1, 1, 2),
        (2, 0.75, 1, 1),
        (48, 0.5, 16, 32),
        (48, 0.9, 16, 16),
        (6, 0.5, 8, 6),
    ],
)
def test_the_number_kept_is_the_nearest_multiple(units: int, share: float, multiple: int, kept: int) -> None:
    assert kept_of(replace(pair()[1], units=units), share, multiple) == kept


def test_a_share_that_leaves_nothing_is_refused() -> None:
    model = tiny("bert")
    message = r"heads 0.9 would remove all 4 heads of bert.encoder.*Use a share of at most 0.875"
    with pytest.raises(StageError, match=message):
        plan_pruning(model, Prune(heads=0.9), feeds_of(model), [])


@pytest.mark.parametrize(
    ("name", "shares", "message"),
    [
        (
            "bert",
            {"channels": 0.5},
            "no convolution channels that can be pruned; it has heads and ffn. Remove 'channels'",
        ),
        ("vit", {"channels": 0.5}, "no convolution channels that can be pruned; it has heads and ffn"),
        (
            "resnet",
            {"heads": 0.5},
            "ResNetForImageClassification has no attention heads .* it has channels. Remove 'heads'",
        ),
        ("mobilenet_v2", {"ffn": 0.5}, "has no feed-forward neurons that can be pruned; it has channels"),
    ],
)
def test_pruning_what_a_model_lacks_says_what_it_has(name: str, shares: dict[str, float], message: str) -> None:
    model = tiny(name)
    with pytest.raises(StageError, match=message):
        plan_pruning(model, Prune(**shares), feeds_of(model), [])


def test_a_search_for_channels_that_belong_together_comes_to_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of FocalNet torch-pruning's search took over ten minutes, until it was stopped."""
    monkeypatch.setattr("edgepress.compress.network.channels.LONGEST_S", 0.0)
    model = tiny("resnet")
    with pytest.raises(StageError, match=r"ResNet.* depend on one another .* not found within 0 s\. Remove 'channels'"):
        plan_pruning(model, Prune(channels=0.5), feeds_of(model), [])


def test_channels_that_all_must_stay_are_told_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    notes = ["stem: kept, stem (OwnConv) cannot be made smaller", "block: kept, block is a grouped convolution"]
    monkeypatch.setattr("edgepress.compress.network.channels.channel_groups", lambda *_: ([], notes))
    model = tiny("resnet")
    with pytest.raises(StageError) as caught:
        plan_pruning(model, Prune(channels=0.5), feeds_of(model), [])
    assert str(caught.value) == (
        "prune: ResNetForImageClassification has no convolution channels that can be pruned; it has none of heads, ffn "
        "and channels (stem: kept, stem (OwnConv) cannot be made smaller, as others are). Remove 'channels' from the "
        "recipe."
    )


def test_channels_without_calibration_are_refused() -> None:
    with pytest.raises(StageError, match="channels need one calibration batch to trace the network"):
        plan_pruning(tiny("resnet"), Prune(channels=0.5), [], [])


def test_a_network_that_cannot_be_traced_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("no gradient here")

    monkeypatch.setattr("torch_pruning.DependencyGraph.build_dependency", fail)
    model = tiny("resnet")
    told = r"cannot be traced \(AssertionError: no gradient here\)\. Remove 'channels'"
    message = f"the channels of ResNetForImageClassification {told}"
    with pytest.raises(StageError, match=message):
        plan_pruning(model, Prune(channels=0.5), feeds_of(model), [])


def test_an_architecture_that_uses_its_heads_in_an_unknown_way_is_refused() -> None:
    model = tiny("bert")
    attention: Any = model.network.get_submodule("bert.encoder.layer.0.attention.self")
    kind = type(attention)

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        context, weights = kind.forward(self, *args, **kwargs)
        return context * self.query.out_features, weights  # as a bias over all heads would, it knows their number

    attention.__class__ = type("CountsItsHeads", (kind,), {"forward": forward})
    with pytest.raises(StageError, match="uses its heads or channels in a way unknown here: pruned logits are off by"):
        plan_pruning(model, Prune(heads=0.5), feeds_of(model), [])
