"""Whatever a recipe is, it ends as a plan or as one message, soon, and in little memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.compress.hostile_recipes import hostile, inputs
from tests.end_to_end.recipes import environment


@pytest.mark.slow
@pytest.mark.timeout(7200)  # ten thousand on a busy machine; each has a limit of its own
def test_no_recipe_ends_in_a_traceback_hangs_or_swells(workdir: Path, request: pytest.FixtureRequest) -> None:
    count = int(request.config.getoption("--recipes"))
    inputs(workdir)
    call = [sys.executable, "-m", "tests.compress.hostile_recipes", str(count), str(max(count // 20, 1))]
    told = subprocess.run(call, env=environment(HOME=str(workdir)), capture_output=True, text=True, check=True)
    found = json.loads(told.stdout)
    print(found["outcomes"], f"peak {found['peak_bytes'] / 1e6:.0f} MB")
    assert found["tracebacks"] == {} and found["slow"] == {}
    assert found["peak_bytes"] < 1e9
    assert sum(found["outcomes"].values()) == count + max(count // 20, 1)
    # The seed still makes all kinds: some are plans, and of the others not all fail for the same reason.
    assert {"planned", "RecipeError", "DataError", "ModelError", "exit 0", "exit 2"} <= found["outcomes"].keys()


def test_a_hostile_recipe_is_known_by_its_number() -> None:
    assert hostile(7) == hostile(7) != hostile(8)
