from pathlib import Path

import pytest

from edgepress.compress.cli.console import Console
from edgepress.compress.recipe.sections import Training
from edgepress.compress.training import checkpoints
from edgepress.compress.training.checkpoints import Mark, latest, step_of
from edgepress.compress.training.epochs import History
from edgepress.compress.training.fit import TrainingJob, fit
from tests.compress.fakes import TokenFeatures, tiny_bert


def train(job: TrainingJob, rows: int) -> History:
    return fit(tiny_bert(), job, TokenFeatures(rows), TokenFeatures(8), Console("silent"), "train")[1]


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """After two epochs of four steps."""
    options = Training(epochs=2, batch_size=8, learning_rate=1e-3)
    train(TrainingJob(options, tmp_path), 32)
    return tmp_path


def test_the_last_two_whole_checkpoints_are_kept(scratch: Path) -> None:
    assert sorted(path.name for path in scratch.glob("checkpoint-*")) == ["checkpoint-4", "checkpoint-8"]
    found = latest(scratch, pytest.fail)
    assert found is not None and step_of(found) == 8


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "whole.json"])
def test_a_checkpoint_that_a_kill_cut_off_is_passed_over(scratch: Path, name: str) -> None:
    (scratch / "checkpoint-8" / name).unlink()
    found = latest(scratch, pytest.fail)
    assert found is not None and step_of(found) == 4
    assert not (scratch / "checkpoint-8").exists()


@pytest.mark.parametrize("name", ["trainer_state.json", "optimizer.pt", "whole.json"])
def test_a_checkpoint_with_half_a_file_is_passed_over_and_training_goes_on_from_the_one_before(
    scratch: Path, name: str
) -> None:
    damaged = scratch / "checkpoint-8" / name
    damaged.write_bytes(damaged.read_bytes()[: damaged.stat().st_size // 2])
    options = Training(epochs=2, batch_size=8, learning_rate=1e-3)
    history = train(TrainingJob(options, scratch), 32)
    assert history.resumed and history.steps == 8 and [epoch.epoch for epoch in history.epochs] == [1, 2]


def test_a_checkpoint_of_another_number_of_processes_is_told_and_not_gone_on_from(scratch: Path) -> None:
    for path in scratch.glob("checkpoint-*/whole.json"):
        Mark(processes=2, files=Mark.read(path).files).write(path)
    told: list[str] = []
    assert latest(scratch, told.append) is None
    assert "checkpoint-8 was written by 2 processes and cannot be gone on from with 1" in told[0]


def test_nothing_is_said_on_the_terminal_while_checkpoints_come_fast(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    options = Training(epochs=1, batch_size=8, learning_rate=1e-3, checkpoint_seconds=1e-6)
    train(TrainingJob(options, tmp_path), 64)
    assert len(list(tmp_path.glob("checkpoint-*"))) == checkpoints.KEPT
    assert capfd.readouterr() == ("", "")
