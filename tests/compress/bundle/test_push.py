"""`edgepress push` against a hub on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compress.bundles import MISSED, tiny_bundle
from tests.compress.hub_stand_in import TOKEN, Hub, hub_stand_in
from tests.conftest import ROOT


@pytest.fixture
def hub() -> Iterator[Hub]:
    with hub_stand_in() as hub:
        yield hub


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("push") / "release")


def push(hub_url: str, home: Path, *arguments: object, token: str = TOKEN) -> tuple[int, str, str]:
    variables = {"HF_ENDPOINT": hub_url, "HF_TOKEN": token, "HF_HUB_OFFLINE": "0", "HF_HOME": str(home / "hf")}
    variables |= {"HF_HUB_DISABLE_XET": "1", "COLUMNS": "300"}
    command = [sys.executable, "-m", "edgepress", "push", *map(str, arguments)]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **variables}, capture_output=True, text=True, timeout=60
    )
    return done.returncode, done.stdout, done.stderr


def content(release: Path) -> dict[str, bytes]:
    return {path.relative_to(release).as_posix(): path.read_bytes() for path in release.rglob("*") if path.is_file()}


def test_a_release_is_committed_as_it_is_large_files_apart(release: Path, hub: Hub, tmp_path: Path) -> None:
    code, told, faults = push(hub.url, tmp_path, release, "owner/name")
    assert (code, faults) == (0, "")
    count = len(content(release))
    assert told == f"Pushed: {count} files of tiny to {hub.url}/owner/name/commit/{'1' * 40}\n"
    assert hub.files == {".gitattributes": b"", "old.bin": b"old", **content(release)}
    assert len(hub.objects) == 1  # both targets have one model
    assert (hub.repositories, hub.messages, hub.strange) == ({"owner/name": True}, ["Release tiny"], [])


def test_with_replace_the_repository_is_the_release(release: Path, hub: Hub, tmp_path: Path) -> None:
    code, _, faults = push(hub.url, tmp_path, release, "owner/name", "--replace", "--public")
    assert (code, faults) == (0, "")
    assert hub.files == {".gitattributes": b"", **content(release)}
    assert hub.repositories == {"owner/name": False}


def test_a_token_that_may_not_write_is_told_in_one_line(release: Path, hub: Hub, tmp_path: Path) -> None:
    code, _, faults = push(hub.url, tmp_path, release, "owner/name", token="hf_other")
    assert code == 2 and faults.count("\n") == 1 and not hub.messages
    assert faults.startswith(f"error: {release} was not pushed to owner/name: ") and "401" in faults
    assert faults.endswith("log in with `hf auth login` or HF_TOKEN\n")


def test_a_hub_that_is_not_there_is_told_in_one_line(release: Path, tmp_path: Path) -> None:
    code, _, faults = push("http://127.0.0.1:9", tmp_path, release, "owner/name")
    assert code == 2 and faults.count("\n") == 1 and "was not pushed to owner/name: " in faults


def test_what_was_changed_or_missed_a_gate_is_not_pushed(release: Path, hub: Hub, tmp_path: Path) -> None:
    missed = tiny_bundle(tmp_path / "missed", gates=(MISSED,))
    code, _, faults = push(hub.url, tmp_path, missed, "owner/name")
    assert code == 4 and "min_shrink" in faults
    (missed / "report.json").write_text("{}")
    code, _, faults = push(hub.url, tmp_path, missed, "owner/name", "--allow-failed-gates")
    assert code == 1 and "is not as it was released: report.json is not the released file" in faults
    assert hub.repositories == {} and hub.messages == []


@pytest.mark.parametrize("name", ["name", "../x", "https://huggingface.co/owner/name"])
def test_a_name_that_is_no_repository_is_refused(release: Path, name: str) -> None:
    from edgepress.compress.bundle.contents import read_folder
    from edgepress.compress.release.push import push_release
    from edgepress.targets.errors import EdgepressError

    with pytest.raises(EdgepressError, match=r"is no repository of the hub\. Write it as owner/name"):
        push_release(release, read_folder(release), "tiny", name, True, False)
