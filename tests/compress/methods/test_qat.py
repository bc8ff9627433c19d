"""Quantization-aware training: the grid and its gradients, what layers share, and what the training leaves behind."""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgepress.compress.cli.console import Console
from edgepress.compress.methods.base import Promise, method_of
from edgepress.compress.methods.prune.sparse.apply import magnitude
from edgepress.compress.methods.prune.sparse.options import Magnitude
from edgepress.compress.methods.prune.sparse.plan import plan_magnitude
from edgepress.compress.methods.qat.apply import Judgement, apply_qat, plain
from edgepress.compress.methods.qat.folding import fold_norms
from edgepress.compress.methods.qat.hooks import Quantizing
from edgepress.compress.methods.qat.options import Learned, Observed
from edgepress.compress.methods.qat.plan import multiplied, plan_qat, prepared, readers
from edgepress.compress.model.fake_layers import FAKES, LEARNED, OBSERVED, fake, faked, products, unfake
from edgepress.compress.model.fake_quant import (
    AFFINE,
    SYMMETRIC,
    LearnedInput,
    LearnedWeight,
    ObservedInput,
    ObservedWeight,
    channel_steps,
    grid,
    learned_step,
)
from edgepress.compress.model.model import Model
from edgepress.compress.model.sparsity import sparse_weights
from edgepress.compress.network.probing import probe_logits
from edgepress.compress.recipe.sections import Training
from edgepress.compress.training.fit import TrainingJob, fit
from edgepress.targets.errors import ModelError, StageError
from tests.compress.fakes import TokenFeatures, cut_off, tiny_bert
from tests.targets.tiny import make_calibration, make_model

SILENT = Console("silent")
QUICK = Training(epochs=2, batch_size=8, learning_rate=1e-3)
ROWS, OTHERS = TokenFeatures(64), TokenFeatures(16, seed=1)


def observed_input(low: float, high: float, levels: int = AFFINE) -> ObservedInput:
    found = ObservedInput(levels)
    found.start(low, high)
    return found


def learned_input(low: float, high: float, levels: int = AFFINE) -> LearnedInput:
    found = LearnedInput(levels)
    found.start(low, high)
    return found


def calibration(model: Model) -> list[dict[str, np.ndarray]]:
    return [model.signature.select(ROWS.batch(range(start, start + 8))) for start in (0, 8)]


def resnet(seed: int = 0) -> Model:
    """With batch norms that have learned something."""
    model, random = make_model("resnet", seed), torch.Generator().manual_seed(seed)
    for module in model.network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in ((module.running_mean, -0.3, 0.3), (module.bias, -0.3, 0.3),
                                      (module.running_var, 0.5, 2.0), (module.weight, 0.5, 1.5)):  # fmt: skip
                assert tensor is not None
                tensor.data.uniform_(low, high, generator=random)
    return model


# --- the grid -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [observed_input, learned_input])
def test_an_activation_is_rounded_to_256_levels_with_a_zero_point(make: Any) -> None:
    found = make(-1.0, 1.55)  # s = 0.01, z = 100: codes 0..255 stand for -1.00..1.55
    values = found(torch.tensor([0.123, 0.0, -0.126, 9.0, -9.0])).tolist()
    assert values == pytest.approx([0.12, 0.0, -0.13, 1.55, -1.0], abs=1e-6)
    assert found.ends() == pytest.approx((-1.0, 1.55), abs=1e-6)


@pytest.mark.parametrize("make", [observed_input, learned_input])
def test_a_symmetric_activation_has_127_levels_on_either_side(make: Any) -> None:
    found = make(-0.5, 1.27, SYMMETRIC)  # s = 0.01
    assert found(torch.tensor([0.123, -9.0, 9.0])).tolist() == pytest.approx([0.12, -1.27, 1.27], abs=1e-6)


@pytest.mark.parametrize("make", [observed_input, learned_input])
def test_what_is_never_negative_has_all_levels_to_itself(make: Any) -> None:
    found = make(0.5, 2.55)  # zero belongs to every grid
    assert found(torch.tensor([0.0, 0.014, 1.0])).tolist() == pytest.approx([0.0, 0.01, 1.0], abs=1e-6)


def test_the_grid_is_the_one_of_onnx_runtimes_quantizer() -> None:
    from onnxruntime.quantization.quant_utils import compute_scale_zp

    for low, high in ((-1.3, 2.7), (0.2, 3.1), (-4.0, -1.0), (-0.17, 2.9)):
        ends = [np.array(end, np.float32) for end in (low, high)]
        zero, scale = compute_scale_zp(*ends, np.array(0, np.uint8), np.array(255, np.uint8))
        step, own, _, _ = grid(torch.tensor(low), torch.tensor(high), AFFINE)
        assert float(step) == pytest.approx(float(scale)) and int(own) == int(zero)
        _, scale = compute_scale_zp(*ends, np.array(-127, np.int8), np.array(127, np.int8), symmetric=True)
        assert float(grid(torch.tensor(low), torch.tensor(high), SYMMETRIC)[0]) == pytest.approx(float(scale))


def test_a_weight_has_a_step_for_each_output_channel() -> None:
    weight = torch.tensor([[1.27, 0.123], [0.0254, -0.01226]])
    wanted = [[1.27, 0.12], [0.0254, -0.0122]]  # s = 0.01 and 0.0002
    torch.testing.assert_close(ObservedWeight(0)(weight), torch.tensor(wanted))
    torch.testing.assert_close(ObservedWeight(1)(weight.T.contiguous()), torch.tensor(wanted).T)
    learned = LearnedWeight(0, 2)
    learned.start(weight)
    torch.testing.assert_close(learned(weight), torch.tensor(wanted))


def test_a_channel_of_zeros_stays_zero() -> None:
    assert ObservedWeight(0)(torch.zeros(2, 3)).abs().max() == 0


# --- gradients ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [observed_input, learned_input])
def test_the_gradient_passes_inside_the_range_and_stops_outside(make: Any) -> None:
    x = torch.tensor([0.123, 1.5, 2.0, -1.5], requires_grad=True)
    make(-1.0, 1.55)(x).backward(torch.tensor([2.0, 3.0, 5.0, 7.0]))
    assert x.grad is not None and x.grad.tolist() == [2.0, 3.0, 0.0, 0.0]


def test_the_steps_gradient_is_that_of_lsq() -> None:
    x, step = torch.tensor([0.7, 1.4, 3.0, -5.0]), torch.tensor(0.5, requires_grad=True)
    learned_step(x, step, -2, 3, 1.0).backward(torch.tensor([1.0, 10.0, 100.0, 1000.0]))
    # x / s = 1.4, 2.8, 6, -10: round(1.4) - 1.4, round(2.8) - 2.8, Q_P = 3, -Q_N = -2.
    wanted = 1.0 * (1 - 1.4) + 10 * (3 - 2.8) + 100 * 3 + 1000 * -2
    assert step.grad is not None and float(step.grad) == pytest.approx(wanted, rel=1e-5)


def test_the_steps_gradient_is_scaled_by_the_values_that_share_it_and_the_highest_code() -> None:
    x = torch.tensor([[9.0, 0.0, 0.0], [9.0, 0.0, 0.0]])  # two rows of three features
    found = learned_input(0.0, 2.55)  # s = 0.01, Q_N = 0, Q_P = 255
    found(x).sum().backward()
    # Each 9 is clipped: dL/ds = 2 * 255 / sqrt(3 * 255), and dL/d(log s) = s dL/ds.
    assert found.log_step.grad is not None
    assert float(found.log_step.grad) == pytest.approx(0.01 * 2 * 255 / math.sqrt(3 * 255), rel=1e-4)


def test_each_channels_step_has_a_gradient_of_its_own() -> None:
    weight, grid_ = torch.tensor([[1.27, 0.126], [2.54, 0.5]]), LearnedWeight(0, 2)
    grid_.start(weight)
    with torch.no_grad():
        grid_.log_step -= math.log(2)  # half the step: the largest weight is clipped
    grid_(weight).sum().backward()
    assert grid_.log_step.grad is not None
    # s = 0.005: 127 + (25 - 25.2); s = 0.01: 127 + (50 - 50); each times s / sqrt(2 * 127).
    wanted = [0.005 * (127 - 0.2) / math.sqrt(254), 0.01 * 127 / math.sqrt(254)]
    assert grid_.log_step.grad.tolist() == pytest.approx(wanted, rel=1e-3)


def test_a_weights_step_never_exceeds_what_its_largest_weight_needs() -> None:
    weight, grid_ = torch.tensor([[1.27, 0.1]]), LearnedWeight(0, 1)
    with torch.no_grad():
        grid_.log_step.fill_(math.log(0.02))
    assert float(grid_(weight).detach()[0, 0]) == pytest.approx(1.27)  # of the step 0.01
    grid_.constrain(weight)
    assert float(grid_.log_step.detach().exp()) == pytest.approx(0.01)


# --- layers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [OBSERVED, LEARNED])
def test_every_kind_of_layer_multiplies_the_rounded_values(kind: str) -> None:
    from transformers.pytorch_utils import Conv1D

    torch.manual_seed(0)
    inputs = {nn.Linear: torch.randn(2, 4), nn.Conv2d: torch.randn(2, 4, 5, 5), Conv1D: torch.randn(2, 4)}
    layers = {nn.Linear: nn.Linear(4, 3), nn.Conv2d: nn.Conv2d(4, 3, 3, stride=2, padding=1), Conv1D: Conv1D(3, 4)}
    assert set(inputs) == set(FAKES)
    for plain_kind, layer in layers.items():
        x, before = inputs[plain_kind], layer(inputs[plain_kind]).detach()
        found: Any = fake(layer, kind, AFFINE)
        found.start(float(x.min()), float(x.max()))
        rounded = layer(x).detach()
        assert 0 < float((rounded - before).abs().max()) < 0.1
        unfake(layer_of(layer))
        assert type(layer) is plain_kind and set(dict(layer.named_parameters())) == {"weight", "bias"}
        torch.testing.assert_close(layer(found(x)).detach(), rounded, atol=1e-5, rtol=1e-5)


def layer_of(layer: nn.Module) -> nn.Module:
    return nn.ModuleList([layer])


def test_torchs_own_transformer_layers_take_no_shortcut_around_the_rounding() -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    x = torch.randn(2, 3, 8)
    with torch.no_grad():
        before = layer(x)
        fake(layer.linear1, OBSERVED, AFFINE).start(-1.0, 1.0)  # type: ignore[operator]
        assert float((layer(x) - before).abs().max()) > 1e-3
        unfake(layer)
        assert float((layer(x) - before).abs().max()) < 0.1 and not layer.linear1._forward_pre_hooks


@pytest.mark.parametrize("kind", [OBSERVED, LEARNED])
def test_the_weights_that_are_left_are_rounded_to_themselves(kind: str) -> None:
    torch.manual_seed(0)
    layer: Any = nn.Linear(8, 4)
    fake(layer, kind, AFFINE)
    if kind == LEARNED:
        with torch.no_grad():
            layer.weight_grid.log_step -= 0.2
    unfake(layer_of(layer))
    weight = layer.weight.detach()
    torch.testing.assert_close(ObservedWeight(0)(weight), weight, atol=1e-7, rtol=1e-6)
    codes = weight / channel_steps(weight, 0)[:, None]
    assert codes.abs().amax(1).tolist() == pytest.approx([127.0] * 4)
    torch.testing.assert_close(codes, codes.round(), atol=1e-3, rtol=0)


def test_a_layer_of_another_type_is_refused() -> None:
    with pytest.raises(ModelError, match="LayerNorm cannot multiply in int8; these can: Linear, Conv2d, Conv1D"):
        fake(nn.LayerNorm(3), OBSERVED, AFFINE)


def test_layers_that_read_one_tensor_share_its_range() -> None:
    model = tiny_bert()
    plan = plan_qat(model, Learned(), calibration(model))
    attention = "bert.encoder.layer.0.attention.self"
    assert plan.inputs[0].modules == tuple(f"{attention}.{name}" for name in ("query", "key", "value"))
    assert sum(len(one.modules) for one in plan.inputs) == 14 and len(plan.inputs) == 10
    network: Any = prepared(model, plan, calibration(model)).network
    first = network.bert.encoder.layer[0].attention
    assert first.self.query.input_range is first.self.value.input_range is not first.output.dense.input_range


def test_the_convolution_that_makes_patches_of_a_transformer_stays_float_as_targets_leave_it() -> None:
    vit, cnn = make_model("vit"), resnet()
    assert not [name for name in multiplied(vit.network) if "patch" in name] and len(multiplied(vit.network)) == 13
    assert len([name for name in multiplied(cnn.network) if "convolution" in name]) == 6


class InPlace(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = (nn.Linear(3, 3) for _ in range(3))

    def forward(self, x: torch.Tensor) -> Any:
        one = self.first(x) + self.second(x)
        return SimpleNamespace(logits=one + self.third(x.relu_()))


def test_a_tensor_that_is_changed_in_place_is_another_one() -> None:
    network = InPlace()
    assert readers(network, products(network), {"x": np.ones((2, 3), np.float32)}) == [["first", "second"], ["third"]]


def test_ranges_start_as_targets_calibrate_them() -> None:
    model = tiny_bert()
    batches = calibration(model)
    plan = plan_qat(model, Observed(), batches)
    seen: list[torch.Tensor] = []
    layer = model.network.get_submodule("bert.pooler.dense")
    handle = layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    for feeds in batches:
        probe_logits(model.network, feeds)
    handle.remove()
    (found,) = (one for one in plan.inputs if one.modules == ("bert.pooler.dense",))
    assert (found.low, found.high) == (float(min(x.min() for x in seen)), float(max(x.max() for x in seen)))
    clipped = plan_qat(model, Observed(start="squared-error"), batches)
    assert any(one.high < other.high for one, other in zip(clipped.inputs, plan.inputs, strict=True))


# --- batch norms ----------------------------------------------------------------------------------------------------


def test_folded_norms_leave_the_answers_as_they_were_and_have_factor_one() -> None:
    model = resnet()
    feeds = make_calibration(model.signature)[0]
    before = probe_logits(model.network, feeds)
    folded = fold_norms(model.network, feeds)
    torch.testing.assert_close(probe_logits(model.network, feeds), before, atol=1e-4, rtol=1e-4)
    norms = {name: module for name, module in model.network.named_modules() if isinstance(module, nn.BatchNorm2d)}
    assert set(folded) == set(norms) and len(folded) == 6
    assert all(torch.all(norm.weight == 1) for norm in norms.values())


class ReadTwice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm = nn.Linear(3, 3), nn.BatchNorm1d(3)
        nn.init.constant_(self.norm.weight, 2.0)

    def forward(self, x: torch.Tensor) -> Any:
        given = self.layer(x)
        return SimpleNamespace(logits=self.norm(given) + given)


def test_a_norm_whose_layer_is_read_elsewhere_too_stays_as_it_is() -> None:
    network = ReadTwice()
    weight = network.layer.weight.detach().clone()
    assert fold_norms(network, {"x": np.ones((2, 3), np.float32)}) == ()
    assert torch.equal(network.layer.weight, weight) and float(network.norm.weight.detach()[0]) == 2.0


# --- the training ---------------------------------------------------------------------------------------------------


def trained(model: Model, folder: Path, *hooks: Any, training: Training = QUICK) -> Model:
    return fit(model, TrainingJob(training, folder, hooks=hooks), ROWS, OTHERS, SILENT, "train")[0]


@pytest.mark.parametrize("options", [Observed(), Learned(), Learned(activations="symmetric")], ids=str)
def test_the_training_leaves_plain_layers_rounded_weights_and_ranges(options: Any, tmp_path: Path) -> None:
    model = tiny_bert()
    data: Any = SimpleNamespace(metrics=("accuracy",), validation=OTHERS, calibration_batches=calibration)
    plan = plan_qat(model, options, calibration(model))
    applied = apply_qat(model, plan, data, SimpleNamespace(title=str, progress=SILENT))  # type: ignore[arg-type]
    assert applied.finish is not None
    done = trained(applied.model, tmp_path, *applied.hooks)
    started = {name: layer.input_range.ends() for name, layer in faked(applied.model.network)}
    moved = {name: layer.input_range.ends() for name, layer in faked(done.network)}
    assert len(moved) == 14 and all(moved[name] != started[name] for name in moved)
    ended = applied.finish(done)
    assert not list(faked(ended.model.network)) and ended.model.edits == model.edits
    assert {one.module: (one.low, one.high) for one in ended.model.ranges} == moved
    assert ended.details["fake_quantized"].keys() == {"metric", "float_before", "post_training", "trained"}  # type: ignore[attr-defined]
    feeds = calibration(model)[0]
    assert not torch.equal(probe_logits(ended.model.network, feeds), probe_logits(model.network, feeds))
    (step,) = ended.model.lineage
    assert step.stage == "qat" and step.summary.startswith(f"14 layers train as int8: {options.method} ranges")
    assert "; fake-quantized accuracy " in step.summary and ", with calibrated ranges alone " in step.summary


@pytest.mark.parametrize("kind, reached", [(OBSERVED, 0.85), (LEARNED, 0.97)])
def test_training_wins_back_what_an_outlier_channel_cost(kind: str, reached: float) -> None:
    """One hidden channel becomes 300 times as large and its outgoing weights as much smaller: the same function in
    float, and 8 bits that hold its range have one or two levels for the other channels."""
    torch.manual_seed(0)
    x = torch.randn(512, 8)
    labels = (x[:, 0] * x[:, 1] + x[:, 2] > 0).long()
    network: Any = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))

    def accuracy() -> float:
        with torch.no_grad():
            return float((network(x).argmax(1) == labels).float().mean())

    def train(steps: int) -> None:
        optimizer = torch.optim.Adam(network.parameters(), 0.02)
        for _ in range(steps):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(x), labels).backward()
            optimizer.step()
            for _, layer in faked(network):
                layer.weight_grid.constrain(layer.weight)

    train(300)
    with torch.no_grad():
        for value in (network[0].weight[0], network[0].bias[0]):
            value *= 300
        network[2].weight[:, 0] /= 300
        assert accuracy() > 0.99
        ends = (float(x.min()), float(x.max())), (0.0, float(network[:2](x).max()))
    for place, (low, high) in zip((0, 2), ends, strict=True):
        fake(network[place], kind, AFFINE).start(low, high)  # type: ignore[operator]
    assert accuracy() < 0.7
    train(400)
    assert accuracy() > reached


def test_a_range_follows_what_it_sees_and_then_stays() -> None:
    found = observed_input(-1.0, 1.0)
    network = nn.Module()
    network.layer = found
    hook, given = Quantizing((), freeze=0.5, momentum=0.1), SimpleNamespace(network=network)
    ends = []
    for step in range(3):
        hook.on_step_begin(None, SimpleNamespace(global_step=step, max_steps=4), None, model=given)
        found(torch.tensor([-2.0, 3.0]))
        ends.append(found.ends())
    assert ends[0] == pytest.approx((-1.1, 1.2)) and ends[1] == pytest.approx((-1.19, 1.38)) and ends[2] == ends[1]
    found.observing = True
    found.eval()(torch.tensor([-2.0, 3.0]))
    assert found.ends() == ends[1]  # validation shows nothing


def test_batch_norms_keep_statistics_and_factor_while_the_shift_learns() -> None:
    model = resnet()
    batches = make_calibration(model.signature)
    plan = plan_qat(model, Observed(), batches)
    network: Any = prepared(model, plan, batches).network
    hook, given = Quantizing(plan.folded, 0.5, 0.1), SimpleNamespace(network=network)
    before = {name: value.clone() for name, value in network.state_dict().items() if "normalization" in name}
    hook.on_train_begin(None, None, None, model=given)
    network.train()
    network(pixel_values=torch.from_numpy(batches[0]["pixel_values"])).logits.square().sum().backward()
    torch.optim.SGD(network.parameters(), 0.1).step()
    hook.on_optimizer_step(None, None, None, model=given)
    hook.on_train_end(None, None, None, model=given)
    changed = {name for name, value in before.items() if not torch.equal(network.state_dict()[name], value)}
    assert changed == {name for name in before if name.endswith("normalization.bias")}
    assert not any(norm._forward_pre_hooks for norm in network.modules() if isinstance(norm, nn.BatchNorm2d))


def test_a_model_in_training_is_rebuilt_from_its_folder_with_its_ranges(tmp_path: Path) -> None:
    model = tiny_bert()
    start = prepared(model, plan_qat(model, Learned(), calibration(model)), calibration(model))
    start.save(tmp_path)
    again = Model.load(tmp_path)
    feeds = calibration(model)[0]
    assert torch.equal(probe_logits(again.network, feeds), probe_logits(start.network, feeds))
    first: Any = again.network.get_submodule("bert.encoder.layer.0.attention.self")
    assert first.query.input_range is first.key.input_range


def test_ranges_are_saved_and_go_where_the_weights_change(tmp_path: Path) -> None:
    model = tiny_bert()
    plan = plan_qat(model, Observed(), calibration(model))
    done = plain(prepared(model, plan, calibration(model)), plan.summary)
    done.save(tmp_path)
    loaded = Model.load(tmp_path)
    assert loaded.ranges == done.ranges and len(loaded.ranges) == 14 == len(loaded.trained_inputs)
    assert loaded.after("prune", "another network").ranges == ()


def test_zeros_of_sparse_layers_stay_zero(tmp_path: Path) -> None:
    dense = tiny_bert()
    pruned = magnitude(dense, plan_magnitude(dense, Magnitude(sparsity=0.5, exclude=("classifier",)))).model
    plan = plan_qat(pruned, Learned(), calibration(pruned))
    start = prepared(pruned, plan, calibration(pruned))
    assert start.sparse_modules == pruned.sparse_modules
    done = plain(trained(start, tmp_path, Quantizing(plan.folded)), plan.summary)
    before, after = (sparse_weights(one.network, pruned.sparse_modules) for one in (pruned, done))
    assert all(torch.all(after[name][weight == 0] == 0) for name, weight in before.items())
    assert not torch.equal(after["bert.pooler.dense"], before["bert.pooler.dense"])


@pytest.mark.parametrize("options", [Observed(momentum=0.1), Learned()], ids=lambda one: one.method)
def test_a_training_that_was_cut_off_goes_on_to_the_same_ranges(options: Any, tmp_path: Path) -> None:
    model = tiny_bert()
    plan = plan_qat(model, options, calibration(model))
    start = prepared(model, plan, calibration(model))

    def hook() -> Quantizing:
        return Quantizing(plan.folded, 0.9, 0.1)

    whole = trained(start, tmp_path / "whole", hook())
    with cut_off(13):
        trained(start, tmp_path / "cut", hook())
    resumed = trained(start, tmp_path / "cut", hook())
    for one, other in zip(faked(whole.network), faked(resumed.network), strict=True):
        assert one[1].input_range.ends() == pytest.approx(other[1].input_range.ends(), rel=1e-4, abs=1e-5)


def test_the_hook_goes_to_other_processes_as_it_is() -> None:
    sent = pickle.loads(pickle.dumps(Quantizing(("norm",), 0.5, 0.1)))
    assert (sent.folded, sent.freeze, sent.momentum) == (("norm",), 0.5, 0.1)


# --- the promise, and what is refused -------------------------------------------------------------------------------


def judgement(trained: float, metric: str = "accuracy") -> Judgement:
    return Judgement(metric=metric, float_before=0.9, post_training=0.85, trained=trained)


def test_a_training_that_is_worse_than_calibration_is_told() -> None:
    assert judgement(0.89).complaints(0.02) == ()
    assert judgement(0.85).complaints(0.1) == ()
    (found,) = judgement(0.84).complaints(0.1)
    assert found == (
        "fake-quantized accuracy after the training is 0.8400, worse than the 0.8500 of calibrated ranges without it"
    )
    (found,) = judgement(0.86).complaints(0.02)
    assert found == "fake-quantized accuracy is 0.8600, 0.0400 worse than the float model's 0.9000; allowed is 0.02"
    assert judgement(0.84, "log-loss").complaints(0.0) == ()  # less is better


def test_the_complaints_of_a_method_reach_its_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgepress.compress.methods import transform as recovering
    from edgepress.compress.methods.base import Applied
    from edgepress.compress.methods.distill.options import Distill

    model = tiny_bert()
    ended = Applied(model, {"found": 1}, complaints=("not kept",))
    method = SimpleNamespace(
        plan=lambda *_: SimpleNamespace(changes=True, describe=lambda: "plan"),
        apply=lambda *_: Applied(model, finish=lambda _: ended),
    )
    monkeypatch.setattr(recovering, "method_of", lambda _: method)
    monkeypatch.setattr(recovering, "plan_distillation", lambda *_: None)
    monkeypatch.setattr(recovering, "distill", lambda *_: (model, {"steps": 3}))
    nothing: Any = None
    applied = recovering.transform(model, Observed(), Distill(), nothing, nothing)
    assert applied.complaints == ("not kept",)
    assert applied.details == {"plan": "plan", "found": 1, "recovery": {"steps": 3}}


@pytest.mark.parametrize("auto, verdict", [(False, "kept although it did not pay"), (True, "dropped")])
def test_a_training_that_did_not_pay_is_called_so_or_dropped(
    auto: bool, verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgepress.benchmarks.records.figures import Figure
    from edgepress.benchmarks.records.report import Figures
    from edgepress.compress.methods.base import Applied
    from edgepress.compress.methods.distill.options import Distill
    from edgepress.compress.pipeline.stages import method as stages

    metric = Figure(key="accuracy", name="accuracy", unit="share", value=0.9, primary=True, higher_is_better=True)
    figures = Figures(metrics=(metric,), parameters=1, macs=1, bytes=1, latency=())
    row = SimpleNamespace(before=figures, after=figures, model_copy=lambda update: update)
    monkeypatch.setattr(stages, "row_of", lambda *_: row)
    stage, nothing = stages.MethodStage(Observed(auto=auto), Distill()), SimpleNamespace()
    applied = Applied(tiny_bert(1), complaints=("worse than calibration",))
    found: Any = stages.judged(stage, tiny_bert(0), applied, nothing, 0.0)  # type: ignore[arg-type]
    assert found == {"verdict": verdict, "reasons": ("worse than calibration",)}


def test_it_promises_no_more_than_what_may_be_lost() -> None:
    for options in (Observed(max_drop=0.03), Learned(max_drop=0.03)):
        assert method_of(options).promise(options) == Promise(max_drop=0.03)


def test_a_network_without_a_product_is_refused_in_one_line() -> None:
    model = tiny_bert()
    for module in list(model.network.modules()):
        if isinstance(module, nn.Linear):
            module.__class__ = type("Own", (nn.Linear,), {})
    with pytest.raises(StageError, match="qat: BertForSequenceClassification has no Linear or Conv2d layer that runs"):
        plan_qat(model, Observed(), calibration(model))


def test_ranges_need_rows_and_finite_activations() -> None:
    model = tiny_bert()
    with pytest.raises(StageError, match="qat: no calibration data: ranges need at least one batch"):
        plan_qat(model, Observed(), [])
    with torch.no_grad():
        model.network.bert.embeddings.word_embeddings.weight[7] = torch.inf  # type: ignore[index, union-attr]
    with pytest.raises(StageError, match=r"qat: what bert.encoder.layer.0.attention.self.query reads is not finite"):
        plan_qat(model, Observed(), calibration(model))
