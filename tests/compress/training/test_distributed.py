"""Several processes: the parts here, and whole runs under a real launcher."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from accelerate.data_loader import BatchSamplerShard
from torch.utils.data import BatchSampler

from edgepress.compress.cli.console import Console
from edgepress.compress.recipe.sections import Training
from edgepress.compress.tasks.inference import metric_of
from edgepress.compress.training import processes as distributed
from edgepress.compress.training.batches import BucketSampler
from edgepress.compress.training.fit import SharedJob, TrainingJob, fit, take_part
from edgepress.compress.training.teacher_cache import TeacherCache, Wanted
from edgepress.targets.errors import ProcessLost, StageError
from tests.compress.fakes import TokenFeatures, tiny_bert
from tests.end_to_end.recipes import (
    ANY_DROP,
    IMAGE,
    TEXT,
    TRAINING,
    changed,
    environment,
    stage_folder,
    write_image_inputs,
    write_recipe,
    write_text_inputs,
)

LAUNCHER = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
# Whoever reads the test split leaves a line.
COUNT_READS = """
from edgepress.compress.data.splits import Splits
read = Splits.test
def test(self):
    with open("reads.txt", "a") as file:
        file.write(os.environ["RANK"] + "\\n")
    return read(self)
Splits.test = test
"""
# After a training both processes are joined: the first one fails, the other waits for its word.
FAIL_AFTER_TRAINING = """
from edgepress.compress.training import fit as training
from edgepress.targets.errors import StageError
fit = training.fit
def fail(*arguments):
    fit(*arguments)
    raise StageError("the teacher went wrong")
training.fit = fail
"""
FAIL_IN_TRAINING = """
from edgepress.compress.training import batches, fit as training
from edgepress.targets.errors import DataError
class Failing(training.Collator):
    def __call__(self, rows):
        raise DataError("row 7 cannot be read")
training.Collator = Failing if os.environ["RANK"] == "1" else training.Collator
"""


def test_a_process_knows_its_place_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (distributed.world_size(), distributed.rank(), distributed.is_main()) == (1, 0, True)
    monkeypatch.setenv("RANK", "3")
    assert distributed.is_main()  # left over from somewhere: there is one process
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert (distributed.world_size(), distributed.rank(), distributed.is_main()) == (4, 3, False)


def test_several_processes_that_no_launcher_started_are_told_how_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(StageError, match=r"WORLD_SIZE is 2, but LOCAL_RANK is not set. Start with `torchrun"):
        distributed.send(None)


def test_a_broken_connection_is_one_line_and_other_faults_stay_what_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    told = "another process of this run has ended; what it wrote before says why"
    with pytest.raises(ProcessLost, match=told), distributed.losses_told():
        raise RuntimeError("[../third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer")
    with pytest.raises(RuntimeError, match="shapes differ"), distributed.losses_told():
        raise RuntimeError("shapes differ")


def test_processes_share_each_epochs_batches_and_meet_again_in_the_next_order() -> None:
    lengths = np.arange(64)
    shares = [
        BatchSamplerShard(BatchSampler(BucketSampler(lengths, 64, 4, seed=0), 4, False), 2, number) for number in (0, 1)
    ]
    first, second = (list(share) for share in shares)
    assert len(first) == len(second) == 8
    assert sorted(row for batch in first + second for row in batch) == list(range(64))


def test_a_process_with_other_rows_or_another_disk_is_told(tmp_path: Path) -> None:
    rows = TokenFeatures(8)
    job = SharedJob(TrainingJob(Training(), tmp_path), rows.digest, checkpoint=None)
    with pytest.raises(StageError, match="read other training rows than the first one"):
        take_part(job, TokenFeatures(8, seed=1))
    with pytest.raises(StageError, match="several machines need the folder of runs on a shared disk"):
        take_part(job, rows)


def test_taking_part_trains_the_model_that_was_handed_out(tmp_path: Path) -> None:
    rows, model = TokenFeatures(32), tiny_bert()
    model.save(tmp_path / "start")
    job = TrainingJob(Training(epochs=1, batch_size=8), tmp_path)
    take_part(SharedJob(job, rows.digest, checkpoint=None), rows)
    assert (tmp_path / "checkpoint-4" / "whole.json").is_file() and not (tmp_path / "best.safetensors").exists()


def test_a_teachers_cache_goes_to_another_process_without_its_open_files(tmp_path: Path) -> None:
    rows = TokenFeatures(8)
    cache = TeacherCache.open(tmp_path, tiny_bert(), rows, Wanted(), Console("silent"))
    expected = cache.rows(np.arange(8))["logits"]
    sent = TeacherCache(**{name.removeprefix("__"): value for name, value in cache.__getstate__().items()})
    assert not sent._shards and (sent.rows(np.arange(8))["logits"] == expected).all()


def test_a_teacher_in_bf16_has_a_cache_of_its_own_close_to_that_in_fp32(tmp_path: Path) -> None:
    rows, teacher = TokenFeatures(16), tiny_bert()
    full = TeacherCache.open(tmp_path, teacher, rows, Wanted(), Console("silent"))
    half = TeacherCache.open(tmp_path, teacher, rows, Wanted(precision="bf16"), Console("silent"))
    assert full.folder != half.folder
    wanted, got = (cache.rows(np.arange(16))["logits"] for cache in (full, half))
    assert got.dtype == wanted.dtype and 0 < (got - wanted).abs().max() < 0.02


def test_a_training_of_one_process_needs_no_group(tmp_path: Path) -> None:
    job = TrainingJob(Training(epochs=1, batch_size=8), tmp_path)
    trained, history = fit(tiny_bert(), job, TokenFeatures(8), TokenFeatures(8), Console("silent"), "train")
    assert not (tmp_path / "start").exists() and history.best == metric_of(trained, TokenFeatures(8))


TEXT_RUN = changed(
    TEXT,
    stages=[
        {"distill": {"hidden": 1.0, "training": TRAINING, **ANY_DROP}},
        {"quantize": {"min_int8_share": 0.05, "candidates": ["int8-dynamic"], **ANY_DROP}},
    ],
)


def launched(folder: Path, recipe: dict[str, Any], code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command on two processes; `code` runs in both before it."""
    write_recipe(folder, recipe)
    (folder / "start.py").write_text(f"import os\n{code}\nfrom edgepress.compress.cli.app import main\nmain()\n")
    return subprocess.run(
        [*LAUNCHER, "start.py", "run", "recipe.yaml", *arguments],
        cwd=folder, env=environment(OMP_NUM_THREADS="1"), capture_output=True, text=True, timeout=250,
    )  # fmt: skip


@pytest.mark.slow
def test_two_processes_train_together_and_the_first_one_does_the_rest(tmp_path: Path) -> None:
    done = launched(write_text_inputs(tmp_path), TEXT_RUN, COUNT_READS)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Report:") == 1 and "Warning" not in done.stderr
    report = json.loads((tmp_path / "runs/text/report/report.json").read_text())
    assert report["teacher"]["status"] == "measured"
    row: dict[str, Any] = json.loads((stage_folder(tmp_path / "runs/text", "03-distill") / "row.json").read_text())
    # 96 rows, a fifth of them for validation: 77 are 5 batches of 16, 3 for each process, in each of 2 epochs.
    assert row["details"]["steps"] == 2 * 3
    assert (tmp_path / "reads.txt").read_text() == "0\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "line", "exit_code"),
    [
        (FAIL_AFTER_TRAINING, "error: the teacher went wrong", 1),
        (FAIL_IN_TRAINING, "error: process 1: row 7 cannot be read", 1),
    ],
)
def test_an_error_in_one_process_ends_all_with_its_line(tmp_path: Path, code: str, line: str, exit_code: int) -> None:
    done = launched(write_image_inputs(tmp_path), IMAGE, code, "--until", "teacher")
    assert done.returncode == exit_code
    assert done.stderr.count(line) == 1
    assert "gloo" not in done.stderr and not list((tmp_path / "runs/image/stages").glob("*-teacher"))
