from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from safetensors import SafetensorError

from edgepress.compress.pipeline.disk import disk_faults
from edgepress.compress.pipeline.keys import StageKey, stage_digest
from edgepress.compress.pipeline.store import RunFolder
from edgepress.targets.errors import ModelError, StoreError


def key(name: str, digest: str) -> StageKey:
    return StageKey(name=name, digest=digest)


def write(run: RunFolder, name: str, digest: str, text: str = "weights") -> Path:
    with run.write_stage(key(name, digest)) as folder:
        (folder / "model.bin").write_text(text)
    return run.folder(key(name, digest))


def killed(run: RunFolder, code: str) -> None:
    """Run `code` on `run` in a process of its own, which kills itself with SIGKILL at `die()`."""
    script = f"""
import os, pathlib, signal
from edgepress.compress.pipeline import store
from edgepress.compress.pipeline.keys import StageKey
from edgepress.compress.pipeline.store import RunFolder
def key(name, digest): return StageKey(name=name, digest=digest)
def die(*_): os.kill(os.getpid(), signal.SIGKILL)
with RunFolder({run.name!r}, pathlib.Path({str(run.root.parent)!r})).locked() as run:
{textwrap.indent(textwrap.dedent(code), "    ")}
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == -signal.SIGKILL, done.stderr


def hidden(run: RunFolder) -> list[str]:
    return sorted(path.name for path in run.root.glob("stages/.*"))


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder("demo", tmp_path / "runs")


def test_a_stage_takes_its_place_only_when_its_block_ends_well(run: RunFolder) -> None:
    with run.locked():
        with pytest.raises(ZeroDivisionError), run.write_stage(key("prune", "d1")) as folder:
            (folder / "model.bin").write_text("half")
            raise ZeroDivisionError
        assert run.finished(key("prune", "d1")) is None and hidden(run) == []
        write(run, "prune", "d1")
    assert run.finished(key("prune", "d1")) == run.root / "stages/d1-prune"
    assert (run.root / "stages/d1-prune/model.bin").read_text() == "weights"


def test_a_folder_is_called_by_16_digits_of_its_digest_and_read_by_all_of_them(run: RunFolder) -> None:
    with run.locked():
        assert write(run, "prune", "a" * 64) == run.root / f"stages/{'a' * 16}-prune"
    assert run.finished(key("prune", "a" * 64)) is not None
    assert run.finished(key("prune", "a" * 63 + "b")) is None


def test_ctrl_c_leaves_no_half_stage_behind(run: RunFolder) -> None:
    with run.locked(), pytest.raises(KeyboardInterrupt), run.write_stage(key("teacher", "d")) as folder:
        run.set_chain([key("teacher", "d")])
        (folder / "model.bin").write_text("half")
        raise KeyboardInterrupt
    assert run.stages() == [] and hidden(run) == []


def test_a_changed_digest_is_another_stage_and_both_stay(run: RunFolder) -> None:
    with run.locked():
        write(run, "prune", "old", "old")
        assert run.finished(key("prune", "new")) is None
        with run.write_stage(key("prune", "new")) as folder:
            assert (run.root / "stages/old-prune/model.bin").read_text() == "old"
            (folder / "model.bin").write_text("new")
        assert run.finished(key("prune", "new")) is not None and run.finished(key("prune", "old")) is not None
    assert (run.root / "stages/new-prune/model.bin").read_text() == "new"
    assert (run.root / "stages/old-prune/model.bin").read_text() == "old"


def test_the_index_says_which_stages_the_recipe_has_now_and_siblings_share_their_prefix(run: RunFolder) -> None:
    with run.locked():
        first = [key(name, f"d{number}") for number, name in enumerate(("teacher", "prune", "quantize"))]
        for each in first:
            write(run, each.name, each.digest)
        run.set_chain(first)
        assert [record.key for record in run.stages()] == first
        other = [first[0], key("factorize", "other"), key("quantize", "behind")]
        run.set_chain(other)
        write(run, "factorize", "other")
    assert sorted(path.name for path in run.root.glob("stages/*")) == [
        "d0-teacher", "d1-prune", "d2-quantize", "other-factorize",
    ]  # fmt: skip
    assert run.chain() == tuple(other) and [record.key for record in run.stages()] == other[:2]
    assert run.latest_stage() == run.root / "stages/other-factorize"


def test_a_damaged_index_is_told_and_counts_as_none(tmp_path: Path) -> None:
    said: list[str] = []
    run = RunFolder("demo", tmp_path, warn=said.append)
    with run.locked():
        run.set_chain([key("teacher", "d")])
    (run.root / "stages.json").write_text("{")
    assert run.chain() == () and run.latest_stage() is None
    assert "stages.json is damaged" in said[0] and said[0].endswith("Run the recipe again: what is finished is kept.")


def test_writing_a_damaged_stage_again_keeps_those_behind_it(run: RunFolder) -> None:
    with run.locked():
        run.set_chain([key("teacher", "d0"), key("prune", "d1")])
        write(run, "teacher", "d0")
        write(run, "prune", "d1")
        (run.root / "stages/d0-teacher/stage.json").write_text("{")
        write(run, "teacher", "d0")
    assert [stage.key.name for stage in run.stages()] == ["teacher", "prune"]


def test_a_damaged_stage_counts_as_not_done_and_says_why(tmp_path: Path) -> None:
    said: list[str] = []
    run = RunFolder("demo", tmp_path, warn=said.append)
    teacher = key("teacher", "d")
    with run.locked():
        folder = write(run, "teacher", "d")
        run.set_chain([teacher])
    (folder / "model.bin").write_text("weight")
    assert run.finished(teacher) is None
    (folder / "model.bin").unlink()
    assert run.latest_stage() is None
    (folder / "stage.json").write_text('{"format": 2')
    assert run.finished(teacher) is None
    assert "model.bin is damaged (6 bytes, 7 were written). The stage counts as not done." in said[0]
    assert "model.bin is damaged (missing, 7 were written)" in said[1]
    assert "stage.json is damaged" in said[2]


def test_the_digest_changes_with_each_input_and_not_with_the_order_of_keys() -> None:
    base = stage_digest("p", "prune", {"heads": 0.5, "ffn": 0.25}, {"data": "x"})
    assert base == stage_digest("p", "prune", {"ffn": 0.25, "heads": 0.5}, {"data": "x"})
    others = {
        stage_digest("q", "prune", {"heads": 0.5, "ffn": 0.25}, {"data": "x"}),
        stage_digest("p", "distill", {"heads": 0.5, "ffn": 0.25}, {"data": "x"}),
        stage_digest("p", "prune", {"heads": 0.4, "ffn": 0.25}, {"data": "x"}),
        stage_digest("p", "prune", {"heads": 0.5, "ffn": 0.25}, {"data": "y"}),
        stage_digest("p", "prune", {"heads": 0.5, "ffn": 0.25}),
    }
    assert len(others) == 5 and base not in others


def test_scratch_survives_a_kill_and_goes_when_the_stage_is_finished(run: RunFolder) -> None:
    killed(run, 'f = run.scratch(key("distill", "d" * 64)); (f / "checkpoint").write_text("step 100"); die()')
    with run.locked():
        scratch = run.scratch(key("distill", "d" * 64))
        assert (scratch / "checkpoint").read_text() == "step 100"
        write(run, "distill", "d" * 64)
        assert not scratch.exists()


def test_scratch_of_a_stage_that_the_recipe_has_no_more_is_removed(run: RunFolder) -> None:
    with run.locked():
        old = run.scratch(key("distill", "a" * 64))
        new = run.scratch(key("distill", "b" * 64))
        run.announce([key("distill", "b" * 64)])
        assert not old.exists() and new.is_dir()


def test_a_changed_recipe_takes_over_when_its_first_new_stage_is_finished(run: RunFolder) -> None:
    teacher, old, new = key("teacher", "t"), key("prune", "old"), key("prune", "new")
    with run.locked():
        run.announce([teacher, old])
        assert run.chain() == () and run.index().next == (teacher, old)
        for each in (teacher, old):
            write(run, each.name, each.digest)
        assert run.chain() == (teacher, old)
        run.announce([teacher, new])
        with pytest.raises(ZeroDivisionError), run.write_stage(new):
            raise ZeroDivisionError
        assert [record.key for record in run.stages()] == [teacher, old]
        write(run, "prune", "new")
    assert run.index().stages == (teacher, new) and run.index().next == ()


def test_a_kill_inside_a_stage_loses_that_stage_only(run: RunFolder) -> None:
    with run.locked():
        write(run, "teacher", "d0")
    killed(run, 'with run.write_stage(key("prune", "d1")) as f: (f / "model.bin").write_text("half"); die()')
    assert hidden(run) == [".d1-prune.part"]
    with run.locked():
        assert hidden(run) == []
        assert run.finished(key("teacher", "d0")) is not None and run.finished(key("prune", "d1")) is None


def test_a_kill_between_the_two_renames_loses_nothing(run: RunFolder) -> None:
    with run.locked():
        write(run, "prune", "d", "damaged")
    killed(
        run,
        """
        rename = pathlib.Path.rename
        pathlib.Path.rename = lambda self, to: die() if self.suffix == ".part" else rename(self, to)
        with run.write_stage(key("prune", "d")) as f: (f / "model.bin").write_text("new")
        """,
    )
    assert hidden(run) == [".d-prune.old", ".d-prune.part"] and run.finished(key("prune", "d")) is None
    with run.locked():
        assert run.finished(key("prune", "d")) is not None and hidden(run) == []
    assert (run.root / "stages/d-prune/model.bin").read_text() == "new"


def test_a_kill_after_the_renames_leaves_nothing_behind(run: RunFolder) -> None:
    with run.locked():
        write(run, "prune", "d", "damaged")
    killed(
        run,
        """
        run.scratch(key("prune", "d"))
        store._sync = lambda p: die() if p == run.root / "stages" else None
        with run.write_stage(key("prune", "d")): pass
        """,
    )
    assert hidden(run) == [".d-prune.old", ".d-prune.scratch"]
    with run.locked():
        assert run.finished(key("prune", "d")) is not None and hidden(run) == []


def test_a_stage_moved_away_for_nothing_is_put_back(run: RunFolder) -> None:
    with run.locked():
        write(run, "prune", "d").rename(run.root / "stages/.d-prune.old")
    with run.locked():
        assert run.finished(key("prune", "d")) is not None


def test_a_run_held_by_another_process_is_refused_with_its_pid(run: RunFolder) -> None:
    code = (
        f"from edgepress.compress.pipeline.store import RunFolder; from pathlib import Path\n"
        f"with RunFolder('demo', Path({str(run.root.parent)!r})).locked(): print('held', flush=True); input()"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        want = f"^run 'demo' is in use by process PID {holder.pid}; wait for it or use another name$"
        with pytest.raises(StoreError, match=want), run.locked():
            pass
        holder.kill()
    with run.locked():  # a killed holder holds nothing
        assert (run.root / ".owner").is_file()


def test_the_lock_is_refused_inside_one_process_too(run: RunFolder) -> None:
    want = f"in use by process PID {os.getpid()}"
    with run.locked(), pytest.raises(StoreError, match=want), RunFolder("demo", run.root.parent).locked():
        pass


FULL_DISK = "^no space left on the disk that holds .*demo: free some and run the same command again; finished stages"


def test_a_full_disk_is_one_clear_line_and_finished_stages_are_kept(run: RunFolder) -> None:
    with run.locked():
        run.set_chain([key("teacher", "d0"), key("prune", "d1")])
        write(run, "teacher", "d0")
        with pytest.raises(StoreError, match=FULL_DISK), run.write_stage(key("prune", "d1")) as folder:
            (folder / "model.bin").symlink_to("/dev/full")
            (folder / "model.bin").write_text("weights")
        assert [stage.key.name for stage in run.stages()] == ["teacher"] and hidden(run) == []


@pytest.mark.parametrize(
    "fault",
    [
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
        RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534"),
        OSError(28, "Error writing bytes to file. Detail: [errno 28] No space left on device"),
    ],
    ids=["safetensors", "torch.save", "pyarrow"],
)
def test_a_full_disk_is_recognised_in_the_words_of_each_library(tmp_path: Path, fault: Exception) -> None:
    with pytest.raises(StoreError, match="no space left on the disk that holds"), disk_faults(tmp_path):
        raise fault


def test_a_full_disk_is_recognised_behind_another_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no space left"), disk_faults(tmp_path):
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError:
            raise RuntimeError("could not save") from None


def test_a_full_disk_elsewhere_is_named_as_what_it_is(tmp_path: Path) -> None:
    fault = OSError(errno.ENOSPC, "No space left on device", "/elsewhere/cache")
    with pytest.raises(StoreError, match="the disk that holds /elsewhere/cache: free some"), disk_faults(tmp_path):
        raise fault


def test_a_folder_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file is in the way")
    want = r"cannot write .*runs.* \(.+\): give this user the right to write there, or run in another folder"
    with pytest.raises(StoreError, match=want), RunFolder("demo", tmp_path / "runs").locked():
        pass
    with pytest.raises(StoreError, match=r"\(Permission denied\)"), disk_faults(tmp_path):
        raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "03-prune"))


def test_other_errors_pass_through_unchanged(tmp_path: Path) -> None:
    denied = PermissionError(errno.EACCES, "Permission denied", "/data/train.csv")
    for fault in (ModelError("no space left on device"), ValueError("x"), denied):
        with pytest.raises(type(fault)) as caught, disk_faults(tmp_path / "runs"):
            raise fault
        assert caught.value is fault


def test_stages_of_a_longer_recipe_are_out_of_the_chain_with_their_checkpoints(run: RunFolder) -> None:
    with run.locked():
        for number in range(3):
            write(run, "stage", f"d{number}")
        run.scratch(key("distill", "d" * 64))
        run.set_chain([key("stage", "d0")])
        run.announce([key("stage", "d0")])
    assert run.latest_stage() == run.root / "stages/d0-stage" and hidden(run) == []


def test_stages_of_the_layout_before_digests_are_known_as_such(run: RunFolder) -> None:
    for name in ("01-teacher", "02-student", "03-not-finished", "report"):
        (run.root / name).mkdir(parents=True)
    for name in ("01-teacher", "02-student"):
        (run.root / name / "stage.json").write_text("{}")
    assert [path.name for path in run.old_stages()] == ["01-teacher", "02-student"]


@pytest.mark.parametrize("name", ["", "../other", "a/b", ".hidden"])
def test_a_name_that_leaves_the_folder_is_refused(name: str) -> None:
    with pytest.raises(StoreError, match="is no name for a run"):
        RunFolder(name)
