"""Low-rank factors: optimal by hand-computed spectra, ranks by rule, what is kept and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from edgepress.compress.methods.factorize.options import Factorize
from edgepress.compress.methods.factorize.svd import RankPlan, apply_ranks, plan_ranks, ranks_within
from edgepress.compress.network.probing import probe_logits
from edgepress.compress.network.spectra import Layer, Spectrum, factorizable, spectra
from edgepress.targets.errors import StageError
from tests.compress.tiny_models import feeds_of, tiny


class Net(nn.Module):
    """One layer as a network that takes `x`."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor, attention_mask: torch.Tensor | None = None) -> Any:
        return type("Output", (), {"logits": self.layer(x)})()


def one_spectrum(layer: nn.Module, batches: list[np.ndarray] | None) -> Spectrum:
    network = Net(layer)
    feeds = None if batches is None else [{"x": batch} for batch in batches]
    return spectra(network, factorizable(network), feeds)[0]


def stand_in(spectrum: Spectrum, rank: int) -> torch.Tensor:
    first, second = spectrum.factors(rank)
    return second @ first


def dense(weight: list[list[float]]) -> nn.Linear:
    layer = nn.Linear(len(weight[0]), len(weight))
    layer.weight = nn.Parameter(torch.tensor(weight))
    return layer


def error(weight: torch.Tensor, other: torch.Tensor, x: np.ndarray) -> float:
    return float(((weight - other).detach().double() @ torch.from_numpy(x).double().T).square().sum())


def test_the_plain_spectrum_holds_the_squared_singular_values() -> None:
    spectrum = one_spectrum(dense([[3.0, 0.0], [0.0, 1.0]]), None)
    assert spectrum.values.tolist() == pytest.approx([9.0, 1.0])
    assert (spectrum.energy(1), spectrum.rank_for(0.9), spectrum.rank_for(0.91)) == (pytest.approx(0.9), 1, 2)
    assert torch.allclose(stand_in(spectrum, 1), torch.tensor([[3.0, 0.0], [0.0, 0.0]]), atol=1e-6)


def test_what_flows_through_a_layer_decides_which_direction_is_kept() -> None:
    layer = dense([[3.0, 0.0], [0.0, 1.0]])
    # The second input is 10 times larger: outputs are (3, 10) and (3, -10), with energies 18 and 200.
    spectrum = one_spectrum(layer, [np.array([[1.0, 10.0]], np.float32), np.array([[1.0, -10.0]], np.float32)])
    assert spectrum.values.tolist() == pytest.approx([200.0, 18.0])
    assert torch.allclose(stand_in(spectrum, 1), torch.tensor([[0.0, 0.0], [0.0, 1.0]]), atol=1e-6)


@pytest.mark.parametrize(("inputs", "outputs"), [(6, 4), (4, 6), (5, 5)])
def test_the_output_error_is_the_sum_of_the_dropped_eigenvalues(inputs: int, outputs: int) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(inputs, outputs)
    x = (np.random.default_rng(0).standard_normal((40, inputs)) * np.arange(1, inputs + 1)).astype(np.float32)
    spectrum = one_spectrum(layer, [x[:25], x[25:]])
    for rank in range(1, min(inputs, outputs)):
        tail = float(spectrum.values[rank:].sum())
        assert error(layer.weight, stand_in(spectrum, rank), x) == pytest.approx(tail, rel=1e-3)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 8), st.integers(2, 8), st.integers(0, 10_000), st.data())
def test_no_plain_svd_has_a_smaller_output_error(inputs: int, outputs: int, seed: int, data: st.DataObject) -> None:
    rank = data.draw(st.integers(1, min(inputs, outputs)))
    rng = np.random.default_rng(seed)
    layer = dense(rng.standard_normal((outputs, inputs)).tolist())
    x = (rng.standard_normal((30, inputs)) @ rng.standard_normal((inputs, inputs))).astype(np.float32)
    aware = error(layer.weight, stand_in(one_spectrum(layer, [x]), rank), x)
    plain = error(layer.weight, stand_in(one_spectrum(layer, None), rank), x)
    assert aware <= plain * (1 + 1e-4) + 1e-6 * error(layer.weight, torch.zeros(outputs, inputs), x)


@pytest.mark.parametrize(("inputs", "outputs"), [(6, 4), (4, 6)])
def test_white_inputs_give_the_plain_svd(inputs: int, outputs: int) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(inputs, outputs)
    white = one_spectrum(layer, [np.eye(inputs, dtype=np.float32)])
    assert torch.allclose(stand_in(white, 2), stand_in(one_spectrum(layer, None), 2), atol=1e-6)


@pytest.mark.parametrize(
    "layer", [nn.Linear(6, 4), nn.Linear(4, 6), nn.Conv2d(3, 5, 3), nn.Embedding(9, 4)], ids=lambda m: repr(m)
)
def test_the_full_rank_reproduces_the_weights(layer: nn.Module) -> None:
    spectrum = one_spectrum(layer, None)
    assert torch.allclose(stand_in(spectrum, spectrum.full_rank), spectrum.weight, atol=1e-5)


def test_few_calibration_rows_do_not_blind_the_other_directions() -> None:
    layer = dense([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 5.0]])
    seen = one_spectrum(layer, [np.array([[1.0, 0.0, 0.0]], np.float32)])
    # One row of three inputs: a third of it, and two thirds of white inputs of the same output energy (1 of 27).
    assert seen.values.tolist() == pytest.approx([50 / 81, 1 / 3 + 2 / 81, 2 / 81])


def test_padded_positions_do_not_count() -> None:
    x = np.array([[[1.0, 0.0], [0.0, 9.0]], [[0.0, 2.0], [9.0, 9.0]]], np.float32)
    network = Net(dense([[1.0, 0.0], [0.0, 1.0]]))
    feeds = [{"x": x, "attention_mask": np.array([[1, 0], [1, 0]])}]
    assert spectra(network, factorizable(network), feeds)[0].values.tolist() == pytest.approx([4.0, 1.0])


def test_a_convolutions_error_is_what_its_outputs_lose() -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(2, 5, 3, stride=2, padding=1)
    x = np.random.default_rng(0).standard_normal((8, 2, 9, 9)).astype(np.float32)
    spectrum = one_spectrum(layer, [x])
    other = stand_in(spectrum, 2).reshape(layer.weight.shape)
    lost = nn.functional.conv2d(torch.from_numpy(x), layer.weight - other, stride=2, padding=1)
    assert float(lost.detach().square().sum()) == pytest.approx(float(spectrum.values[2:].sum()), rel=1e-4)


def test_rows_of_an_embedding_weigh_as_often_as_they_are_read_plus_one() -> None:
    layer = nn.Embedding(3, 2)
    layer.weight = nn.Parameter(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]))
    spectrum = one_spectrum(layer, [np.array([[1, 1, 1], [2, 2, 0]])])
    assert spectrum.values.tolist() == pytest.approx([4.0, 2.0])


def fixed(name: str, inputs: int, outputs: int, values: list[float]) -> Spectrum:
    weight = torch.zeros(outputs, inputs)
    return Spectrum(Layer(name, "linear", inputs, outputs), weight, torch.tensor(values).double(), weight, None)


def test_a_budget_goes_to_the_components_of_most_energy_per_parameter() -> None:
    steep = fixed("steep", 10, 10, [97, 1, 1, 1, 0, 0, 0, 0, 0, 0])
    flat = fixed("flat", 10, 10, [40, 30, 20, 10, 0, 0, 0, 0, 0, 0])
    # 20 parameters a rank: 80 buy steep's 0.97 and flat's 0.4, 0.3 and 0.2.
    assert ranks_within([steep, flat], 80) == [1, 3]
    assert ranks_within([steep, flat], 79) == [1, 2]


def test_a_layer_cheaper_whole_than_in_factors_costs_no_more_than_whole() -> None:
    flat = fixed("flat", 10, 10, [1.0] * 10)
    assert ranks_within([flat, fixed("steep", 10, 10, [99, 1, 0, 0, 0, 0, 0, 0, 0, 0])], 120) == [10, 1]


def test_a_budget_below_rank_1_everywhere_is_refused() -> None:
    with pytest.raises(StageError, match="the budget leaves 19 parameters, and rank 1 in all 1 layers takes 20"):
        ranks_within([fixed("only", 10, 10, [1.0] * 10)], 19)


@pytest.mark.parametrize("budget", [0.3, 0.6])
@pytest.mark.parametrize("name", ["bert", "resnet"])
def test_a_plan_keeps_its_budget_and_uses_most_of_it(name: str, budget: float) -> None:
    model = tiny(name)
    plan = plan_ranks(model, Factorize(budget=budget), feeds_of(model))
    before = sum(layer.parameters for layer in plan.layers)
    after = sum(layer.parameters_after for layer in plan.layers)
    assert 0.9 * budget * before <= after <= budget * before
    assert model.parameters - apply_ranks(model, plan).parameters == before - after


def test_every_layer_keeps_the_energy_asked_for() -> None:
    model = tiny("distilbert")
    plan = plan_ranks(model, Factorize(energy=0.8), feeds_of(model))
    assert plan.changes
    assert all(layer.energy >= 0.8 for layer in plan.layers)
    assert all(layer.parameters_after < layer.parameters for layer in plan.layers if layer.rank is not None)


@pytest.mark.parametrize("name", ["bert", "vit", "resnet", "mobilenet_v2"])
def test_the_factorized_model_computes_with_the_truncated_weights(name: str) -> None:
    model = tiny(name)
    feeds = feeds_of(model)
    plan = plan_ranks(model, Factorize(budget=0.5), feeds)
    low, same = apply_ranks(model, plan), model.copy()
    for layer, (first, second) in plan.factors.items():
        module: Any = same.network.get_submodule(layer)
        weight = second @ first
        module.weight = nn.Parameter(
            (weight.T if isinstance(module, nn.Embedding) else weight).reshape(module.weight.shape)
        )
    assert torch.allclose(probe_logits(low.network, feeds[0]), probe_logits(same.network, feeds[0]), atol=1e-4)


def test_calibration_brings_the_logits_closer_than_the_plain_svd() -> None:
    model = tiny("bert")
    feeds = feeds_of(model, batches=8)
    with torch.no_grad():  # trained networks have dimensions far larger than others
        for module in model.network.modules():
            if isinstance(module, nn.LayerNorm):
                module.weight[:4] = 10
    want = probe_logits(model.network, feeds[0])
    errors = []
    for aware in (True, False):
        plan = plan_ranks(model, Factorize(rank=6, layers=("linear",), activation_aware=aware), feeds)
        errors.append(float((probe_logits(apply_ranks(model, plan).network, feeds[0]) - want).square().sum()))
    assert errors[0] < errors[1]


def test_layers_whose_factors_cost_more_are_listed_as_kept() -> None:
    model = tiny("bert")
    plan = plan_ranks(model, Factorize(rank=100), feeds_of(model))
    assert not plan.changes
    assert "kept: factors of rank 32 would cost 2048" in plan.describe()
    assert apply_ranks(model, plan).edits == ()


def test_grouped_convolutions_and_factors_are_left_alone() -> None:
    depthwise = {f"mobilenet_v2.layer.{i}.conv_3x3.convolution" for i in range(16)}
    assert not depthwise & {layer.name for layer in factorizable(tiny("mobilenet_v2").network)}
    model = tiny("bert")
    low = apply_ranks(model, plan_ranks(model, Factorize(rank=4), feeds_of(model)))
    assert not any(layer.name.endswith((".first", ".second")) for layer in factorizable(low.network))


def test_a_weight_shared_by_two_layers_is_left_alone() -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))
    network[1].weight = network[0].weight
    assert [layer.name for layer in factorizable(network)] == ["2"]


def test_excluded_modules_and_kinds_are_left_alone() -> None:
    model = tiny("bert")
    plan = plan_ranks(model, Factorize(rank=4, layers=("linear",), exclude=("encoder", "pooler")), feeds_of(model))
    assert [layer.module for layer in plan.layers] == ["classifier"]
    with pytest.raises(StageError, match="has no layer left of kind conv"):
        plan_ranks(model, Factorize(rank=4, layers=("conv",)), feeds_of(model))


def test_weights_that_are_no_numbers_are_refused() -> None:
    model = tiny("bert")
    with torch.no_grad():
        model.network.get_submodule("bert.pooler.dense").weight[0, 0] = float("nan")  # type: ignore[index, operator]
    with pytest.raises(StageError, match=r"that are no numbers. Train or load it again"):
        plan_ranks(model, Factorize(rank=4, activation_aware=False), [])


def test_activation_awareness_without_calibration_is_refused() -> None:
    with pytest.raises(StageError, match="no calibration data: this needs at least one batch"):
        plan_ranks(tiny("bert"), Factorize(rank=4), [])


def test_a_plan_prints_and_its_json_holds_no_factors() -> None:
    model = tiny("electra")
    plan = plan_ranks(model, Factorize(rank=4, layers=("embedding",)), feeds_of(model))
    # Tables of 50, 20 and 2 tokens by 16; 2 tokens cost less whole: 4 x (66 + 36) + 32.
    assert str(plan).splitlines()[0] == plan.summary == "2 of 3 layers factorized, their parameters 1152 -> 440"
    assert "electra.embeddings.word_embeddings" in str(plan)
    read = RankPlan.model_validate_json(plan.model_dump_json())
    assert read.layers == plan.layers
    with pytest.raises(StageError, match=r"the plan holds no factors of electra\.\S+\. Plan again"):
        apply_ranks(model, read)
