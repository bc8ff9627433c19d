"""kill -9 at random moments: every run is finished by the next ones, to the same models and artifacts, bit by bit."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.recipes import (
    TEXT,
    changed,
    command,
    edgepress,
    environment,
    leftovers,
    stage_folders,
    stage_hashes,
    write_recipe,
)
from tests.end_to_end.test_kill import OWN_TEACHER

pytestmark = [pytest.mark.slow, pytest.mark.timeout(0)]

# Nothing that a clock decides: the same recipe has to come to the same models.
STAGES = [
    {"distill": {"hidden": 1.0, "training": {"epochs": 2, "batch_size": 16, "learning_rate": 1e-3}}},
    {"prune": {"heads": 0.5, "ffn": 0.5, "max_drop": 1.0, "recover": {"epochs": 1, "batch_size": 16}}},
    {"factorize": {"rank": 2, "max_drop": 1.0}},
    {"quantize": {"min_int8_share": 0.05, "candidates": ["int8-dynamic", "int8-static"], "max_drop": 1.0}},
]
MODELS = ("*.safetensors", "*.onnx", "*.npy")


@dataclass
class Attempt:
    """One start of the command, its stages as they are told."""

    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)
    begun: list[str] = field(default_factory=list)
    reached: threading.Event = field(default_factory=threading.Event)
    stages: int = 1

    def listen(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)
            event = json.loads(line)
            if event["event"] == "stage" and event["state"] == "started":
                self.begun.append(event["name"])
                if len(self.begun) == self.stages:
                    self.reached.set()
        self.reached.set()


def attempt(folder: Path, draw: random.Random, lasts: dict[str, float]) -> Attempt:
    """Start the run, and kill it at a random moment of one of its next stages, or while it starts."""
    made = Attempt(
        subprocess.Popen(
            command("run", "recipe.yaml", "--json"), cwd=folder, env=environment(),
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        ),
        stages=draw.randint(1, 3),
    )  # fmt: skip
    listener = threading.Thread(target=made.listen)
    listener.start()
    if draw.random() < 0.1:
        time.sleep(draw.uniform(0, 2))
    else:
        assert made.reached.wait(120)
        longest = lasts.get(made.begun[-1], 1.0) if made.begun else 0.0
        time.sleep(draw.uniform(0, 1.2 * longest))
    made.process.kill()
    made.process.wait()
    listener.join()
    assert made.process.stderr is not None
    made.process.stderr.close()
    return made


def results(run: Path) -> dict[str, str]:
    """Every model and graph that the run made, by its place."""
    found = {}
    for label, files in stage_hashes(run).items():
        found |= {f"{label}/{name}": value for name, value in files.items() if any(map(Path(name).match, MODELS))}
    return found


def durations(log: str) -> dict[str, float]:
    told = [json.loads(line) for line in log.splitlines()]
    return {
        str(event["name"]): float(event["seconds"])
        for event in told
        if event["event"] == "stage" and event["state"] == "finished"
    }


def test_runs_killed_at_random_moments_come_to_the_same_models(inputs: Path, request: pytest.FixtureRequest) -> None:
    wanted, seed = int(request.config.getoption("--kills")), int(request.config.getoption("--kill-seed"))
    draw = random.Random(seed)
    recipe: dict[str, Any] = changed(TEXT, teacher=OWN_TEACHER, stages=STAGES)
    recipe["teacher"].pop("model")
    write_recipe(inputs, recipe)
    run = inputs / "runs" / "text"
    whole = edgepress(inputs, "run", "recipe.yaml", "--json")
    assert whole.returncode == 0, whole.stderr
    want, lasts = results(run), durations(whole.stderr)
    assert len(want) >= len(STAGES) and len(lasts) >= len(STAGES)
    shutil.rmtree(inputs / "runs")
    killed: dict[str, int] = {}
    while sum(killed.values()) < wanted:
        before = stage_hashes(run) if run.is_dir() else {}
        made = attempt(inputs, draw, lasts)
        after = stage_hashes(run) if run.is_dir() else {}
        where = f"seed {seed}, kill {sum(killed.values()) + 1}: {made.begun}"
        assert {name: after[name] for name in before} == before, f"{where}: a finished stage was touched"
        if made.process.returncode == -signal.SIGKILL:
            stage = made.begun[-1] if made.begun else "start"
            killed[stage] = killed.get(stage, 0) + 1
        else:
            assert made.process.returncode == 0, f"{where}: {''.join(made.lines[-3:])}"
        if made.process.returncode == 0 or sum(killed.values()) == wanted:
            finished(inputs, run, want, where)
            shutil.rmtree(inputs / "runs")
    print(f"\n{sum(killed.values())} kills, all resumed to the same models: {killed}")


def finished(folder: Path, run: Path, want: dict[str, str], where: str) -> None:
    """The run goes on to its end, and has made what the undisturbed one made."""
    last = edgepress(folder, "run", "recipe.yaml", "--json")
    assert last.returncode == 0, f"{where}: {last.stderr[-500:]}"
    assert results(run) == want, where
    assert leftovers(run) == [], where
    assert all((place / "stage.json").is_file() for place in stage_folders(run).values())
    report = json.loads((run / "report/report.json").read_text())
    assert report["data"]["test_reads"] == 1, where
