from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgepress.compress.cli.console import Console
from edgepress.compress.recipe.sections import Training
from edgepress.compress.tasks.inference import logits_of, metric_of
from edgepress.compress.training import epochs
from edgepress.compress.training import fit as training
from edgepress.compress.training.checkpoints import latest
from edgepress.compress.training.fit import BucketSampler, TrainingJob, fit
from edgepress.compress.training.hooks import Hook
from edgepress.targets.errors import StageError
from tests.compress.fakes import TokenFeatures, cut_off, tiny_bert

QUICK = Training(epochs=2, batch_size=8, learning_rate=1e-3)
SILENT = Console("silent")


def test_a_sampler_gives_each_row_once_in_batches_of_similar_length_and_a_new_order_each_epoch() -> None:
    lengths = np.random.default_rng(0).integers(1, 100, 1000)
    sampler = BucketSampler(lengths, 1000, batch=10, seed=1)
    first = list(sampler)
    assert sorted(first) == list(range(1000)) and first == list(sampler)
    spread = np.ptp(lengths[np.reshape(first, (-1, 10))], axis=1).mean()
    assert spread < 5 < np.ptp(lengths[:10])
    sampler.set_epoch(1)
    assert list(sampler) != first


def test_training_learns_and_leaves_its_input_alone(tmp_path: Path) -> None:
    model, rows, validation = tiny_bert(), TokenFeatures(256), TokenFeatures(64, seed=1)
    before = logits_of(model, validation)
    job = TrainingJob(Training(epochs=6, batch_size=8, learning_rate=2e-3), tmp_path)
    trained, history = fit(model, job, rows, validation, SILENT, "train")
    np.testing.assert_array_equal(logits_of(model, validation), before)
    assert metric_of(trained, validation) == history.best > 0.9
    assert history.precision == "fp32" and history.steps == 6 * 32
    assert [epoch.epoch for epoch in history.epochs] == [1, 2, 3, 4, 5, 6]
    losses = [epoch.loss for epoch in history.epochs]
    assert None not in losses and losses[0] > losses[-1]


def test_the_best_epoch_on_validation_data_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter([0.7, 0.9, 0.8])
    states: list[torch.Tensor] = []

    def score(model: Any, _: Any, key: str) -> float:
        assert key == "accuracy"
        states.append(model.network.classifier.weight.detach().clone())
        return next(scores)

    monkeypatch.setattr(epochs, "metric_of", score)
    options = Training(epochs=3, batch_size=8, learning_rate=1e-3)
    job = TrainingJob(options, tmp_path)
    trained, history = fit(tiny_bert(), job, TokenFeatures(32), TokenFeatures(8), SILENT, "train")
    assert history.best == 0.9
    torch.testing.assert_close(trained.network.classifier.weight, states[1])


def test_the_best_epoch_is_that_of_the_primary_metric(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a loss the lowest is the best."""
    losses = iter([0.7, 0.5, 0.6])
    states: list[torch.Tensor] = []

    def score(model: Any, _: Any, key: str) -> float:
        assert key == "log-loss"
        states.append(model.network.classifier.weight.detach().clone())
        return next(losses)

    monkeypatch.setattr(epochs, "metric_of", score)
    options = Training(epochs=3, batch_size=8, learning_rate=1e-3)
    job = TrainingJob(options, tmp_path, metric="log-loss")
    trained, history = fit(tiny_bert(), job, TokenFeatures(32), TokenFeatures(8), SILENT, "train")
    assert (history.metric, history.best) == ("log-loss", 0.5)
    torch.testing.assert_close(trained.network.classifier.weight, states[1])


def test_a_training_that_was_cut_off_goes_on_from_its_checkpoint_to_the_same_weights(tmp_path: Path) -> None:
    model, rows = tiny_bert(), (TokenFeatures(64), TokenFeatures(16, seed=1))
    whole, _ = fit(model, TrainingJob(QUICK, tmp_path / "whole"), *rows, SILENT, "train")
    with cut_off(13):
        fit(model, TrainingJob(QUICK, tmp_path / "cut"), *rows, SILENT, "train")
    resumed, history = fit(model, TrainingJob(QUICK, tmp_path / "cut"), *rows, SILENT, "train")
    assert history.resumed and len(history.epochs) == 2
    for name, value in whole.network.state_dict().items():
        torch.testing.assert_close(resumed.network.state_dict()[name], value, atol=1e-5, rtol=1e-4)


def test_a_loss_that_is_not_finite_is_told(tmp_path: Path) -> None:
    model = tiny_bert()
    with torch.no_grad():
        model.network.classifier.bias.fill_(float("inf"))
    with pytest.raises(
        StageError, match=r"the loss became nan at step 1. Lower training.learning_rate, or use precision fp32."
    ):
        fit(model, TrainingJob(QUICK, tmp_path), TokenFeatures(16), TokenFeatures(8), SILENT, "train")


def test_weights_that_broke_are_never_saved_as_a_checkpoint_to_go_on_from(tmp_path: Path) -> None:
    """The last update before a save breaks them: no loss has shown it yet."""

    class Breaks(Hook):
        def on_optimizer_step(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            if state.global_step + 1 == 4:  # of two epochs of two steps
                with torch.no_grad():
                    given["model"].network.classifier.bias.fill_(float("nan"))

    job = TrainingJob(QUICK, tmp_path, hooks=(Breaks(),))
    words = r"weights became NaN or infinite by step 4, first network.classifier.bias. .*the checkpoint before it stays"
    with pytest.raises(StageError, match=words):
        fit(tiny_bert(), job, TokenFeatures(16), TokenFeatures(8), SILENT, "train")
    assert latest(tmp_path, lambda _: None) == tmp_path / "checkpoint-2"


def test_gradient_accumulation_takes_fewer_steps_over_the_same_rows(tmp_path: Path) -> None:
    options = QUICK.model_copy(update={"gradient_accumulation": 4})
    job = TrainingJob(options, tmp_path)
    _, history = fit(tiny_bert(), job, TokenFeatures(64), TokenFeatures(8), SILENT, "train")
    assert history.steps == 2 * 64 // 32


def test_dropout_is_replaced_while_it_trains_and_put_back() -> None:
    network = tiny_bert().network
    rates = [module.p for module in network.modules() if isinstance(module, torch.nn.Dropout)]
    with training.dropout(network, 0.0):
        assert {module.p for module in network.modules() if isinstance(module, torch.nn.Dropout)} == {0.0}
    assert [module.p for module in network.modules() if isinstance(module, torch.nn.Dropout)] == rates != []
    with training.dropout(network, None):
        assert [module.p for module in network.modules() if isinstance(module, torch.nn.Dropout)] == rates
