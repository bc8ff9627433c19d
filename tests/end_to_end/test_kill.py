"""kill -9 at any moment loses at most the running stage."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.recipes import (
    PLAIN,
    TEXT,
    changed,
    command,
    edgepress,
    environment,
    leftovers,
    stage_hashes,
    write_recipe,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(290)]

TRAINING = {"epochs": 3, "batch_size": 16, "learning_rate": 1e-3, "checkpoint_seconds": 0.001}
OWN_TEACHER = {
    "config": {"model_type": "bert", "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
               "num_attention_heads": 4, "max_position_embeddings": 64, "vocab_size": 17},
    "tokenizer": "teacher",
    "training": TRAINING,
}  # fmt: skip


def dies_at(function: str, call: int) -> str:
    """Code that has the process kill itself, with signal 9, as it calls `module:owner.function` the nth time."""
    module, path = function.split(":")
    return f"""
import importlib, os, signal
from edgepress.targets.process.quiet import quiet
with quiet():  # as the command does before it imports anything that talks
    owner, name = importlib.import_module({module!r}), {path.split(".")[-1]!r}
for part in {path.split(".")[:-1]!r}:
    owner = getattr(owner, part)
original, calls = getattr(owner, name), []
def deadly(*args, **kwargs):
    calls.append(None)
    if len(calls) == {call}:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*args, **kwargs)
setattr(owner, name, deadly)
"""


def events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def started(text: str) -> list[str]:
    return [str(event["name"]) for event in events(text) if event["event"] == "stage" and event["state"] == "started"]


def training_done_before(text: str, title: str) -> float:
    """How many steps a training had behind it when it began."""
    begun = [e for e in events(text) if e["event"] == "progress" and e["title"] == title and e["state"] == "started"]
    return float(begun[0]["done"])


# Where the process dies, at which call, and the stage that is lost; in the order of a run.
POINTS = [
    ("edgepress.compress.training.fit:_Trainer.compute_loss", 9, "teacher"),
    ("edgepress.compress.training.teacher_cache:save_file", 1, "distill"),
    ("edgepress.compress.training.fit:_Trainer.compute_loss", 9, "distill"),
    ("edgepress.compress.pipeline.store:_seal", 1, "distill"),
    ("edgepress.compress.methods.quantize.export:with_processor", 2, "quantize"),
    ("edgepress.benchmarks.judge.rows:_logits", 2, "benchmark"),
    ("edgepress.compress.pipeline.publish:seal_release", 1, None),
]


def test_a_run_that_is_killed_again_and_again_loses_only_running_stages(inputs: Path) -> None:
    distill = {"distill": {"hidden": 1.0, "training": TRAINING}}
    recipe = changed(TEXT, teacher=OWN_TEACHER, stages=[distill, TEXT["stages"][3]])
    recipe["teacher"].pop("model")
    write_recipe(inputs, recipe)
    run = inputs / "runs" / "text"
    logs = []
    for function, call, lost in POINTS:
        before = stage_hashes(run) if run.is_dir() else {}
        told = edgepress(inputs, "run", "recipe.yaml", "--json", code=dies_at(function, call))
        assert told.returncode == -signal.SIGKILL, (function, told.stderr[-500:])
        after = stage_hashes(run)
        assert {name: after[name] for name in before} == before, f"{function}: a finished stage was touched"
        assert lost is None or started(told.stderr)[-1] == lost
        assert not {f"{number:02d}-{lost}" for number in range(9)} & set(after)
        logs.append(told.stderr)
    assert training_done_before(logs[1], "teacher") > 0
    assert training_done_before(logs[3], "distill") > 0
    before = stage_hashes(run)
    last = edgepress(inputs, "run", "recipe.yaml", "--json")
    assert last.returncode == 0, last.stderr
    assert started(last.stderr) == []
    assert stage_hashes(run) == before
    assert leftovers(run) == []
    report = json.loads((run / "report/report.json").read_text())
    assert report["data"]["test_reads"] == 1


def start(folder: Path, recipe: dict[str, Any]) -> subprocess.Popen[str]:
    """A real run with a long training, in the background."""
    write_recipe(folder, recipe)
    return subprocess.Popen(
        command("run", "recipe.yaml"),
        cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def wait_for(folder: Path, pattern: str, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 120
    while not list(folder.glob(pattern)):
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < end, f"no {pattern} within 120 s"
        time.sleep(0.02)


def long_training() -> dict[str, Any]:
    recipe = changed(PLAIN, teacher=OWN_TEACHER)
    recipe["teacher"].pop("model")
    recipe["teacher"]["training"] = TRAINING | {"epochs": 100_000, "checkpoint_seconds": 0.5}
    return recipe


CHECKPOINT = "runs/plain/stages/.*-teacher.scratch/teacher/checkpoint-*"


def test_a_second_run_at_the_same_time_is_told_who_holds_the_run(inputs: Path) -> None:
    process = start(inputs, long_training())
    try:
        wait_for(inputs, CHECKPOINT, process)
        told = edgepress(inputs, "run", "recipe.yaml")
        assert told.returncode == 1
        assert told.stderr == (
            f"error: run 'plain' is in use by process PID {process.pid}; wait for it or use another name\n"
        )
        dry = edgepress(inputs, "run", "recipe.yaml", "--dry-run")
        assert dry.returncode == 0
    finally:
        process.kill()
        process.communicate()


def test_ctrl_c_is_one_line_and_nothing_is_lost(inputs: Path) -> None:
    process = start(inputs, long_training())
    try:
        wait_for(inputs, CHECKPOINT, process)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 130
    assert "Traceback" not in err
    assert err.splitlines()[-1] == (
        "error: stopped by Ctrl-C. Finished stages are kept; run the same command again to go on."
    )
    assert list(inputs.glob(CHECKPOINT)), "the checkpoint is kept"
    assert not list(inputs.glob("runs/plain/stages/.*.part"))
