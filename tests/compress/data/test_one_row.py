"""Batches of one row: no batch norm can take statistics of them."""

from pathlib import Path
from typing import Any

import pytest
import torch

from edgepress.compress.cli.console import Console
from edgepress.compress.recipe.sections import Training
from edgepress.compress.training.fit import TrainingJob, fit
from edgepress.compress.training.norms import single_row_norms
from tests.compress.methods.test_hidden_states import Pictures, network


@pytest.mark.parametrize(("rows", "batch"), [(9, 4), (5, 2), (1, 4), (3, 1)])
def test_a_last_batch_of_one_row_is_trained_on_too(rows: int, batch: int, tmp_path: Path) -> None:
    options = Training(epochs=2, batch_size=batch, learning_rate=1e-3)
    # The last map of MobileNetV2 is 1 x 1: one row has one value a channel.
    model, data = network("mobilenet_v2"), Pictures(rows, 32)
    trained, history = fit(model, TrainingJob(options, tmp_path), data, data, Console("silent"), "train")
    assert history.steps == 2 * -(-rows // batch)
    assert all(torch.isfinite(value).all() for value in trained.network.state_dict().values())


def test_a_batch_size_of_one_says_what_becomes_of_the_statistics(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, data = network("mobilenet_v2"), Pictures(2, 32)
    job = TrainingJob(Training(epochs=1, batch_size=1), tmp_path)
    fit(model, job, data, data, Console("plain"), "train")
    assert "training.batch_size is 1: batch normalisation keeps the statistics it has" in capsys.readouterr().err


def test_one_row_leaves_the_statistics_alone_and_two_change_them() -> None:
    network: Any = torch.nn.Sequential(torch.nn.BatchNorm1d(2), torch.nn.Dropout(0.5)).train()
    with single_row_norms(network, 1):
        assert network(torch.ones(1, 2)) is not None and network[1].training
    assert network[0].running_mean.tolist() == [0, 0] and network[0].training
    with single_row_norms(network, 2):
        network(torch.ones(2, 2))
    assert network[0].running_mean.tolist() == pytest.approx([0.1, 0.1])  # momentum 0.1 of a mean of 1


def test_every_process_of_a_run_may_get_a_single_row() -> None:
    from accelerate.data_loader import BatchSamplerShard
    from torch.utils.data import BatchSampler, SequentialSampler

    batches = BatchSampler(SequentialSampler(range(9)), 1, False)
    sizes = {len(batch) for rank in range(2) for batch in BatchSamplerShard(batches, 2, rank)}
    model: Any = network("mobilenet_v2").network.train()
    assert sizes == {1}
    with single_row_norms(model, 1):
        assert model(pixel_values=torch.randn(1, 3, 32, 32)).logits.shape == (1, 3)
