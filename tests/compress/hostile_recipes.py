"""Recipes that no honest user writes, from a seed: mutated ones, and ones made to hang, swell or break the reader.

`python -m tests.compress.hostile_recipes FOLDER COUNT COMMANDS` reads and plans COUNT of them, gives the first COMMANDS
to the command line too, and prints what came of them as JSON.
"""

from __future__ import annotations

import json
import random
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from edgepress.targets.device.environment import peak_memory_bytes
from tests.compress.hostile_yaml import CONSTRUCTED, HEAVY, KEYS, TOKENS, VALUES
from tests.end_to_end.recipes import IMAGE, PLAIN, TEXT, changed

SEED = 13
SLOW_SECONDS = 5.0  # of this process, however busy the machine is
HUNG_SECONDS = 120
PASSES = [
    {"distill": {"training": {"epochs": 1, "precision": "auto"}, "layer_map": [0, 1]}},
    {"factorize": {"energy": 0.9, "exclude": ["classifier"], "layers": ["linear"]}},
]
BASES: tuple[dict[str, Any], ...] = (
    TEXT,
    changed(PLAIN, stages=PASSES, gates={"min_shrink": 2, "by_target": {"onnxruntime-cpu": {"max_p50_ms": 5}}}),
    changed(IMAGE, data={"train": "builtin:digits"}, targets=["pytorch", {"tflite-mobile": {"sequences": [8]}}]),
)
SOURCES = (("data", "train"), ("data", "test"), ("teacher", "model"), ("student", "model"), ("teacher", "tokenizer"))
OVERRIDES = (
    "stages.prune.channels=0.5", "stages.0.alpha=.5", "seed=3", "stages=5", "data=[1]", "teacher.config.x.y=1",
    "stages.99999999999.x=1", "targets.0=pytorch", "gates.by_target.xla-tpu.min_shrink=1", "a.b.c.d", "=", "seed=",
    "student={model: ~nobody/x}", "name=&a [*a]", "benchmark.sequences.0=8", "stages.distill=5", "stages.0=quantize",
)  # fmt: skip


class Raw(str):
    """YAML that is written as it stands."""


def inputs(folder: Path) -> None:
    """The files that the unmutated recipes name, so that some are planned."""
    (folder / "teacher").mkdir()
    (folder / "teacher/config.json").write_text("{}")
    (folder / "data").mkdir()
    for name in ("train.jsonl", "test.jsonl"):
        (folder / "data" / name).write_text('{"text": "good", "label": 1}\n')


def hostile(number: int) -> tuple[str, tuple[str, ...]]:
    """The text of a recipe and its `--set` texts; the same for a number on every machine."""
    dice = random.Random(f"{SEED}/{number}")
    overrides = tuple(dice.sample(OVERRIDES, dice.choice((0, 0, 0, 1, 2))))
    roll = dice.random()
    if roll < 0.01:
        return dice.choice(HEAVY)(dice), overrides
    if roll < 0.15:
        return dice.choice(CONSTRUCTED)(dice), overrides
    tree = json.loads(json.dumps(dice.choice(BASES)))
    for _ in range(dice.choice((0, 1, 1, 1, 2, 3))):
        _mutate_tree(tree, dice)
    text = "".join(f"{_written(key)}: {_written(value)}\n" for key, value in tree.items())
    for _ in range(dice.choice((0, 0, 1, 1, 2))):
        text = dice.choice(TEXT_CHANGES)(text, dice)
    return text, overrides


def _written(value: Any) -> str:
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_written(key)}: {_written(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_written, value)) + "]"
    return json.dumps(value)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key or index) of a tree."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in pairs:
        yield value, key
        yield from _places(item)


def _mutate_tree(tree: dict[str, Any], dice: random.Random) -> None:
    container, key = dice.choice(list(_places(tree)) or [(tree, "name")])
    change = dice.randrange(8)
    if change >= 6:
        section, name = dice.choice(SOURCES)
        if isinstance(tree.get(section), dict):
            tree[section][name] = Raw(dice.choice(VALUES))
    elif change == 0:
        del container[key]
    elif change == 1:
        container[key] = Raw("[" * 3) + _written(container[key]) + "]" * 3
    elif change == 2 and isinstance(container, dict):
        container[Raw(dice.choice(KEYS))] = container.pop(key)
    elif change == 3:
        other, place = dice.choice(list(_places(tree)))
        container[key] = json.loads(json.dumps(other[place]))
    elif change == 4 and isinstance(container, list):
        container.extend([container[key]] * dice.choice((1, 10, 1000)))
    else:
        container[key] = Raw(dice.choice(VALUES))


def _cut(text: str, dice: random.Random) -> str:
    begin = dice.randrange(len(text) + 1)
    return text[:begin] + text[begin + dice.choice((1, 5, 50, 10**6)) :]


def _insert(text: str, dice: random.Random) -> str:
    place = dice.randrange(len(text) + 1)
    return text[:place] + dice.choice(TOKENS) + text[place:]


def _repeat(text: str, dice: random.Random) -> str:
    begin = dice.randrange(len(text) + 1)
    part = text[begin : begin + dice.choice((1, 10, 100))]
    return text[:begin] + part * dice.choice((2, 50)) + text[begin:]


def _swap(text: str, dice: random.Random) -> str:
    lines = text.splitlines(keepends=True)
    dice.shuffle(lines)
    return "".join(lines)


TEXT_CHANGES: tuple[Callable[[str, random.Random], str], ...] = (_cut, _insert, _insert, _repeat, _swap)


def read_and_plan(path: Path, overrides: tuple[str, ...]) -> str:
    """`planned`, or the name of the error that the user is told."""
    from edgepress.compress.pipeline.plan import plan
    from edgepress.compress.recipe.recipe import Recipe
    from edgepress.targets.errors import EdgepressError

    try:
        plan(Recipe.load(path, overrides))
    except EdgepressError as fault:
        if "\x1b" in str(fault) or len(str(fault)) > 50_000:
            raise AssertionError("the message steers the terminal, or is endless") from fault
        return type(fault).__name__
    return "planned"


def command(path: Path, overrides: tuple[str, ...]) -> str:
    """The exit code of `edgepress run --dry-run`; what it did not expect is raised."""
    from typer.testing import CliRunner

    from edgepress.compress.cli.app import app

    sets = [part for text in overrides for part in ("--set", text)]
    told = CliRunner().invoke(app, ["run", str(path), "--dry-run", *sets], env={"COLUMNS": "200"})
    if told.exception is not None and not isinstance(told.exception, SystemExit):
        raise told.exception
    if told.exit_code not in (0, 2) or "\x1b" in told.output or "Traceback" in told.output:
        raise AssertionError(f"exit code {told.exit_code}: {told.output[-300:]!r}")
    return f"exit {told.exit_code}"


def _hung(*_: object) -> None:
    raise TimeoutError(f"still at it after {HUNG_SECONDS} s")


def tried(number: int, call: Callable[[Path, tuple[str, ...]], str]) -> tuple[str, float, str]:
    """What came of one recipe, the seconds of this process it took, and a traceback where there was one."""
    text, overrides = hostile(number)
    path = Path(f"{number}.yaml")
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    signal.setitimer(signal.ITIMER_PROF, HUNG_SECONDS)  # of this process: what others do to the machine is no hang
    began = time.process_time()
    trace = ""
    try:
        outcome = call(path, overrides)
    except Exception:
        outcome, trace = "traceback", traceback.format_exc()[-1500:]
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    seconds = time.process_time() - began
    if not trace and seconds < SLOW_SECONDS:
        path.unlink()
    return outcome, seconds, trace


def main() -> None:
    """Try them all in the current process, whose memory is that of the hungriest."""
    count, commands = int(sys.argv[1]), int(sys.argv[2])
    signal.signal(signal.SIGPROF, _hung)
    outcomes: Counter[str] = Counter()
    slow: dict[str, float] = {}
    traces: dict[str, str] = {}
    for call, numbers in ((read_and_plan, range(count)), (command, range(commands))):
        for number in numbers:
            outcome, seconds, trace = tried(number, call)
            outcomes[outcome] += 1
            if seconds >= SLOW_SECONDS:
                slow[f"{call.__name__} {number}"] = seconds
            if trace:
                traces[f"{call.__name__} {number}"] = trace
    peak = peak_memory_bytes()  # not of the worker that started it
    print(json.dumps({"outcomes": outcomes, "slow": slow, "tracebacks": traces, "peak_bytes": peak}))


if __name__ == "__main__":
    main()
