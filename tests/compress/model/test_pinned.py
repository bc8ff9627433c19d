"""Models and rows of the hub at the commit that a recipe names, from a cache that holds others too."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgepress.compress.data.sources import find_source
from edgepress.compress.licences.inputs import provenance_of
from edgepress.compress.model.hub import find_file
from edgepress.compress.model.loading import load_network
from edgepress.compress.pipeline.sources import source_digest
from edgepress.compress.recipe.paths import pinned
from edgepress.compress.recipe.recipe import parse_recipe
from edgepress.compress.tasks import load_task
from edgepress.targets.errors import DataError, ModelError
from tests.compress.tiny import tiny_text_teacher

OLD, NEW = "a" * 40, "b" * 40


@pytest.fixture
def cache(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """owner/name: `main` is a commit whose configuration is none; the one before has a model."""
    place = workdir / "hub/models--owner--name"
    tiny_text_teacher(place / "snapshots" / OLD)
    (place / "snapshots" / OLD / "README.md").write_text("---\nlicense: mit\n---\n")
    (place / "snapshots" / NEW).mkdir()
    (place / "snapshots" / NEW / "config.json").write_text('{"model_type": "none-such"}')
    (place / "refs").mkdir()
    (place / "refs/main").write_text(NEW)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(workdir / "hub"))
    return place


def test_a_pinned_model_is_loaded_at_its_commit(cache: Path) -> None:
    source = f"owner/name@{OLD}"
    found = find_file(source, "config.json")
    assert found is not None and found.parent.name == OLD
    assert load_network(source, "text-classification", False).config.model_type == "bert"
    task = load_task("text-classification")
    assert task.inputs.load_processor(source, task.network).pad_token_id == 0
    with pytest.raises(ModelError, match=r"owner/name.*none-such"):
        load_network("owner/name", "text-classification", False)


def test_a_run_of_another_commit_is_another_run(cache: Path) -> None:
    assert source_digest(f"owner/name@{OLD}") != source_digest("owner/name")


def test_the_commit_and_its_card_are_recorded(cache: Path) -> None:
    (Path() / "a.jsonl").write_text(json.dumps({"text": "a", "label": 0}) + "\n")
    whole = {"name": "a", "task": "text-classification", "data": {"train": "a.jsonl"}}
    teacher, _ = provenance_of(parse_recipe({**whole, "teacher": {"model": f"owner/name@{OLD}"}}, "a")).inputs
    assert (teacher.revision, [one.licence for one in teacher.stated]) == (OLD, ["MIT"])
    unpinned, _ = provenance_of(parse_recipe({**whole, "teacher": {"model": "owner/name"}}, "a")).inputs
    assert (unpinned.revision, unpinned.stated) == (NEW, ())


def test_rows_of_the_hub_may_be_pinned_too(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgepress.compress.data.sources import own_split
    from edgepress.compress.recipe.data import Data

    asked: list[object] = []
    monkeypatch.setattr(
        "datasets.get_dataset_split_names", lambda *given, **named: asked.append((given, named)) or ["train", "test"]
    )
    source = find_source("owner/rows@v1.0")
    assert source.kind == "hub"
    assert own_split(source, "test", Data(train="owner/rows@v1.0")) == "owner/rows@v1.0:test"
    assert asked == [(("owner/rows", None), {"revision": "v1.0"})]
    assert find_source("owner/rows@v1.0:test").kind == "hub"
    with pytest.raises(DataError, match="is missing"):
        find_source("owner/rows@")


def test_a_path_with_an_at_sign_stays_a_path(workdir: Path) -> None:
    (workdir / "me@home").mkdir()
    assert pinned("me@home") == ("me@home", None)
    assert pinned("me@work") == ("me", "work")
