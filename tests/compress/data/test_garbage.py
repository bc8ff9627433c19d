"""`edgepress gc`: what no recipe reaches goes, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edgepress.compress.cli.app import app
from edgepress.compress.pipeline.garbage import collect
from edgepress.compress.pipeline.keys import StageKey
from edgepress.compress.pipeline.store import RunFolder

TEACHER, OLD, NEW = (
    StageKey(name=name, digest=digest) for name, digest in (("teacher", "t"), ("prune", "o"), ("prune", "n"))
)


def finish(run: RunFolder, key: StageKey, *uses: str) -> None:
    with run.write_stage(key, lambda: uses) as folder:
        (folder / "model.bin").write_text("weights")


@pytest.fixture
def run(workdir: Path) -> RunFolder:
    """A run that went from one pruning to another; each used an export of its own."""
    run = RunFolder("demo")
    for name in ("exports/old", "exports/new", "teacher/old"):
        (run.cache / name).mkdir(parents=True)
        (run.cache / name / "file").write_text("12345")
    with run.locked():
        run.set_chain([TEACHER, OLD])
        finish(run, TEACHER, "cache/exports/new")
        finish(run, OLD, "cache/exports/new", "cache/exports/old", "cache/teacher/old")
        run.set_chain([TEACHER, NEW])
        finish(run, NEW, "cache/exports/new")
    (run.root / "release").mkdir()
    return run


def left(run: RunFolder) -> list[str]:
    places = [*run.root.glob("stages/*"), *run.root.glob("cache/*/*"), *run.root.glob("[0-9]*")]
    return sorted(path.relative_to(run.root).as_posix() for path in places)


KEPT = ["cache/exports/new", "stages/n-prune", "stages/t-teacher"]


def test_stages_of_other_options_and_what_they_alone_used_go(run: RunFolder) -> None:
    found = collect(Path("runs"), dry_run=False, warn=pytest.fail)
    assert {one.path.name for one in found} == {"o-prune", "old"}
    assert [one.bytes for one in found if one.path.name == "old"] == [5, 5]
    assert left(run) == KEPT and (run.root / "release").is_dir()
    assert [stage.key for stage in run.stages()] == [TEACHER, NEW]
    assert collect(Path("runs"), dry_run=False, warn=pytest.fail) == []


def test_a_dry_run_removes_nothing_and_the_command_says_how_many_bytes(run: RunFolder) -> None:
    before = left(run)
    told = CliRunner().invoke(app, ["gc", "runs/demo", "--dry-run", "--json"])
    assert told.exit_code == 0, told.stderr
    table, line = (json.loads(text) for text in told.stdout.splitlines())
    total = sum(int(row[2].replace(",", "")) for row in table["rows"])
    assert [row[0] for row in table["rows"]] == ["demo"] * 3 and total > 10
    assert line["text"] == f"3 things that no recipe reaches: would free {total:,} bytes"
    assert left(run) == before
    assert f"freed {total:,} bytes" in CliRunner().invoke(app, ["gc"]).stdout


def test_going_back_before_gc_swaps_what_is_reached(run: RunFolder) -> None:
    with run.locked():
        run.set_chain([TEACHER, OLD])
    collect(Path("runs"), dry_run=False, warn=pytest.fail)
    assert left(run) == [
        "cache/exports/new",
        "cache/exports/old",
        "cache/teacher/old",
        "stages/o-prune",
        "stages/t-teacher",
    ]


def test_a_run_that_is_not_finished_keeps_its_checkpoints_and_all_of_its_cache(run: RunFolder) -> None:
    later = StageKey(name="quantize", digest="q")
    with run.locked():
        run.set_chain([TEACHER, NEW, later])
        (run.scratch(later) / "checkpoint").write_text("step 100")
    collect(Path("runs"), dry_run=False, warn=pytest.fail)
    assert left(run) == sorted([*KEPT, "cache/exports/old", "cache/teacher/old", "stages/.q-quantize.scratch"])


def test_a_changed_recipe_that_was_cut_off_keeps_its_checkpoints_and_what_was_there_before(run: RunFolder) -> None:
    later = StageKey(name="prune", digest="later")
    with run.locked():
        run.announce([TEACHER, later])
        (run.scratch(later) / "checkpoint").write_text("step 100")
    assert [one.path.name for one in collect(Path("runs"), dry_run=False, warn=pytest.fail)] == ["o-prune"]
    assert "stages/.later-prune.scratch" in left(run) and "stages/n-prune" in left(run)


def test_a_run_in_use_and_one_without_an_index_are_left_as_they_are_and_told(run: RunFolder) -> None:
    before, said = left(run), list[str]()
    with run.locked():
        assert collect(Path("runs"), dry_run=False, warn=said.append) == []
    (run.root / "stages.json").unlink()
    assert collect(Path("runs"), dry_run=False, warn=said.append) == []
    assert left(run) == before
    assert said[0].startswith("runs/demo is left as it is: run 'demo' is in use by process PID")
    assert said[1] == (
        "runs/demo is left as it is: its stages.json is missing or damaged. Run its recipe again, which writes it anew."
    )


def test_stages_and_caches_of_an_older_layout_go(run: RunFolder) -> None:
    collect(Path("runs"), dry_run=False, warn=pytest.fail)
    (run.root / "01-teacher").mkdir()
    (run.root / "01-teacher/stage.json").write_text("{}")
    (run.cache / "0123456789abcdef").mkdir()
    assert {one.path.name for one in collect(Path("runs"), False, pytest.fail)} == {"01-teacher", "0123456789abcdef"}
    assert left(run) == KEPT


def test_a_folder_without_runs_is_told(workdir: Path) -> None:
    told = CliRunner().invoke(app, ["gc", "nowhere"])
    assert told.exit_code == 1
    assert told.stderr == (
        "error: nowhere holds no run. Give the folder that `edgepress run` writes to: runs, or its --runs.\n"
    )


def test_a_link_among_the_runs_is_no_run_of_theirs(run: RunFolder) -> None:
    """It may lead anywhere: nothing there is removed, and nothing is made under its name."""
    other = RunFolder("other", Path("elsewhere"))
    with other.locked():
        finish(other, OLD)
        other.set_chain([TEACHER])
    Path("runs/link").symlink_to(other.root.resolve())
    Path("runs/again").symlink_to("demo")
    found = collect(Path("runs"), dry_run=True, warn=pytest.fail)
    assert [one.run for one in found] == ["demo"] * 3
    collect(Path("runs"), dry_run=False, warn=pytest.fail)
    assert left(other) == ["stages/o-prune"]
    assert sorted(path.name for path in Path("runs").iterdir()) == ["again", "demo", "link"]
