from pathlib import Path

import numpy as np
import pytest
import torch

from edgepress.compress.cli.console import Console
from edgepress.compress.training import teacher_cache
from edgepress.compress.training.teacher_cache import TeacherCache, Wanted
from edgepress.targets.errors import StageError
from tests.compress.fakes import TokenFeatures, tiny_bert

WANTED = Wanted(hidden=(0, 2), attention=(1,))


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teacher_cache, "SHARD_ROWS", 7)
    monkeypatch.setattr(teacher_cache, "BATCH", 3)


@pytest.mark.usefixtures("small_shards")
def test_cached_rows_are_the_teachers_own_outputs_without_padding(tmp_path: Path) -> None:
    teacher, features = tiny_bert(), TokenFeatures(20)
    cache = TeacherCache.open(tmp_path, teacher, features, WANTED, Console("silent"))
    rows = np.array([3, 17, 8])
    found = cache.rows(rows)
    feeds = {name: torch.from_numpy(value) for name, value in features.batch(rows).items()}
    with torch.inference_mode():
        output = teacher.network(**feeds, output_hidden_states=True, output_attentions=True)
    mask = feeds["attention_mask"].bool()
    torch.testing.assert_close(found["logits"], output.logits, atol=1e-5, rtol=1e-5)
    for kept, layer in zip(found["hidden"], WANTED.hidden, strict=True):
        torch.testing.assert_close(kept.float()[mask], output.hidden_states[layer][mask], atol=2e-3, rtol=2e-3)
        assert (kept[~mask] == 0).all()
    square = mask[:, :, None] & mask[:, None, :]
    torch.testing.assert_close(
        found["attention"][0].float()[square], output.attentions[0].mean(1)[square], atol=1e-3, rtol=1e-3
    )


@pytest.mark.usefixtures("small_shards")
def test_only_missing_shards_are_computed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    teacher, features = tiny_bert(), TokenFeatures(20)
    first = TeacherCache.open(tmp_path, teacher, features, WANTED, Console("silent"))
    assert sorted(path.name for path in first.folder.glob("shard-*")) == [
        f"shard-0000{i}.safetensors" for i in range(3)
    ]
    (first.folder / "cache.json").unlink()
    (first.folder / "shard-00001.safetensors").unlink()
    written = []
    write = teacher_cache._write_shard
    monkeypatch.setattr(
        teacher_cache, "_write_shard", lambda path, pieces: (written.append(path.name), write(path, pieces))
    )
    again = TeacherCache.open(tmp_path, teacher, features, WANTED, Console("silent"))
    assert written == ["shard-00001.safetensors"]
    torch.testing.assert_close(again.rows(np.arange(20))["logits"], first.rows(np.arange(20))["logits"])


@pytest.mark.usefixtures("small_shards")
def test_no_more_rows_than_a_shard_are_held_while_the_cache_is_filled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    write = teacher_cache.save_file
    monkeypatch.setattr(
        teacher_cache, "save_file", lambda arrays, path: (sizes.append(len(arrays["logits"])), write(arrays, path))
    )
    TeacherCache.open(tmp_path, tiny_bert(), TokenFeatures(20), Wanted(), Console("silent"))
    assert sizes == [7, 7, 6]


def test_another_teacher_other_rows_or_other_layers_have_a_cache_of_their_own(tmp_path: Path) -> None:
    calls = [
        (tiny_bert(0), TokenFeatures(4), Wanted()),
        (tiny_bert(1), TokenFeatures(4), Wanted()),
        (tiny_bert(0), TokenFeatures(4, seed=1), Wanted()),
        (tiny_bert(0), TokenFeatures(4), Wanted(hidden=(1,))),
    ]
    folders = {TeacherCache.open(tmp_path, *call, Console("silent")).folder for call in calls}
    assert len(folders) == 4


def test_a_teacher_whose_logits_are_not_finite_is_refused(tmp_path: Path) -> None:
    teacher = tiny_bert()
    with torch.no_grad():
        teacher.network.classifier.weight[0, 0] = float("nan")
    with pytest.raises(StageError, match="the teacher's logits are not finite on the training data"):
        TeacherCache.open(tmp_path, teacher, TokenFeatures(4), Wanted(), Console("silent"))
