"""What a release promises, and what is found when it is not kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edgepress.compress.pipeline.publish import check_release, is_whole, publish, swap_in
from edgepress.compress.pipeline.run import clear_leftovers
from edgepress.targets.errors import ArtifactError
from tests.end_to_end.recipes import hashes, leftovers, stage_folder, stage_folders

pytestmark = pytest.mark.slow


@pytest.fixture
def run(plain_copy: Path) -> Path:
    return plain_copy / "runs/plain"


def stages(run: Path) -> list[Path]:
    return list(stage_folders(run).values())


def test_a_release_made_twice_is_the_same_to_the_byte(run: Path) -> None:
    before = hashes(run / "release")
    publish(run, stages(run))
    assert hashes(run / "release") == before
    assert leftovers(run) == []


def remove(path: Path) -> None:
    path.unlink()


def change_one_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("harm", "words"), [(remove, "is missing from the release"), (change_one_byte, "sha256 differs")]
)
def test_a_harmed_file_is_found(run: Path, harm: Callable[[Path], None], words: str) -> None:
    harm(run / "release/onnxruntime-cpu/model.onnx")
    with pytest.raises(ArtifactError, match=rf"model\.onnx .*{words}"):
        check_release(run / "release")


def test_a_damaged_artifact_is_not_released(run: Path) -> None:
    change_one_byte(stage_folder(run, "03-export") / "artifacts/onnxruntime-cpu/fp32/model.onnx")
    before = hashes(run / "release")
    with pytest.raises(ArtifactError, match=r"model\.onnx"):
        publish(run, stages(run))
    assert hashes(run / "release") == before
    assert leftovers(run) == []


def test_a_release_is_whole_only_for_its_own_benchmark(run: Path) -> None:
    release, benchmark = run / "release", stages(run)[-1]
    assert is_whole(release, benchmark)
    assert not is_whole(release, stages(run)[0])
    remove(release / "onnxruntime-cpu/config.json")
    assert not is_whole(release, benchmark)


def test_what_a_killed_process_left_is_cleared(tmp_path: Path) -> None:
    for name in (
        ".publish-x/release",
        ".release.old-7",
        "cache/exports/.export-y",
        "cache/exports/whole",
        "01-teacher",
    ):
        (tmp_path / name).mkdir(parents=True)
    clear_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["01-teacher", "cache"]
    assert [path.name for path in (tmp_path / "cache/exports").iterdir()] == ["whole"]


def test_a_folder_takes_the_place_of_the_one_before_it(tmp_path: Path) -> None:
    for name in ("new", "place"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    swap_in(tmp_path / "new", tmp_path / "place")
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["place", "place/new"]
