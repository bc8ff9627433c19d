"""Licences of a run's inputs: where they are read, what they come to, and what stops a release."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from edgepress.compress.licences.beside import MOST_FRONT, front_matter, look
from edgepress.compress.licences.gate import check_licences, judge, unstated
from edgepress.compress.licences.inputs import folder_sha256, provenance_of
from edgepress.compress.licences.records import Input
from edgepress.compress.licences.table import OTHER, judged, licence_id, of_name, of_text, terms
from edgepress.compress.recipe.recipe import Recipe, parse_recipe
from edgepress.targets.errors import LicenceError, RecipeError

HERE = Path(__file__).resolve().parents[3]


def recipe(**sections: Any) -> Recipe:
    whole = {
        "name": "a",
        "task": "text-classification",
        "data": {"train": "data/train.jsonl", "test": "data/test.jsonl"},
        "teacher": {"model": "teacher"},
        **sections,
    }
    return parse_recipe(whole, "a")


@pytest.fixture
def inputs(workdir: Path) -> Path:
    """A teacher and rows, of which nobody says a licence."""
    for path, content in {
        "teacher/config.json": "{}",
        "data/train.jsonl": '{"text": "a", "label": 0}\n',
        "data/test.jsonl": '{"text": "b", "label": 1}\n',
    }.items():
        (workdir / path).parent.mkdir(exist_ok=True)
        (workdir / path).write_text(content)
    return workdir


def found(of: Recipe) -> tuple[Input, ...]:
    return judge(provenance_of(of), of.licences, of.accept_licence)


def test_each_row_of_the_table_has_a_name_of_its_own_a_source_and_a_date() -> None:
    names = [name for row in terms() for name in (row.id.lower(), *row.tags)]
    assert len(set(names)) == len(names)
    for row in terms():
        assert row.source.startswith("https://") and row.dated[:4].isdecimal() and row.says.endswith(".")
        assert row.id.startswith(OTHER) or licence_id(row.id) == row.id


def test_a_model_of_a_hub_that_cannot_be_reached_is_recorded_without_commit_and_licence(workdir: Path) -> None:
    (workdir / "a.jsonl").write_text('{"text": "a", "label": 0}\n')
    teacher, _ = found(recipe(teacher={"model": "owner/nowhere"}, data={"train": "a.jsonl"}))
    assert (teacher.kind, teacher.revision, teacher.verdict) == ("hub", "", "not stated")


@pytest.mark.parametrize(
    ("expression", "verdict"),
    [
        ("Apache-2.0", "permits"),
        ("CC-BY-SA-4.0", "conditions"),
        ("MIT OR CC-BY-NC-4.0", "permits"),
        ("MIT AND CC-BY-NC-4.0", "restricts"),
        ("MIT AND (EUPL-1.2 OR MIT)", "unknown"),
        ("GPL-3.0-only WITH Classpath-exception-2.0", "restricts"),
        ("LicenseRef-llama2", "restricts"),
        ("LicenseRef-mine", "unknown"),
    ],
)
def test_of_alternatives_the_mildest_counts_else_the_strictest(expression: str, verdict: str) -> None:
    assert judged(expression)[0] == verdict


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        ("LLAMA 3.1 COMMUNITY LICENSE AGREEMENT\nLlama 3.1 Version Release Date: July 23, 2024", "LicenseRef-llama3.1"),
        ("Tongyi Qianwen LICENSE AGREEMENT", "LicenseRef-tongyi-qianwen"),
        ("Creative Commons Attribution-NonCommercial\n 4.0 International", "CC-BY-NC-4.0"),
        ("Attribution 4.0 International", "CC-BY-4.0"),
        ("Gemma Terms of Use", "LicenseRef-gemma"),
        ("BigScience RAIL License v1.0", "LicenseRef-bigscience-bloom-rail-1.0"),
    ],
)
def test_a_licence_text_is_known_by_its_phrases(text: str, licence: str) -> None:
    row = of_text(text)
    assert row is not None and row.id == licence


def test_this_projects_own_licence_is_known_by_its_text() -> None:
    assert of_text((HERE / "LICENSE").read_text()) == of_name("apache-2.0")


def test_inputs_of_which_nobody_says_a_licence_stop_nothing_and_are_told(inputs: Path) -> None:
    judged_inputs = found(recipe())
    check_licences(judged_inputs)
    assert unstated(judged_inputs) == (
        "teacher.model teacher", "data.train data/train.jsonl", "data.test data/test.jsonl",
    )  # fmt: skip
    assert {one.verdict for one in judged_inputs} == {"not stated"}


def test_an_input_has_source_and_sha256(inputs: Path) -> None:
    teacher, train, _ = found(recipe(data={"train": str(inputs / "data/train.jsonl"), "test": "data/test.jsonl"}))
    assert (train.source, train.kind) == ("train.jsonl", "file")  # no path of this machine
    assert train.sha256 == hashlib.sha256((inputs / "data/train.jsonl").read_bytes()).hexdigest()
    line = f"{hashlib.sha256(b'{}').hexdigest()}  config.json\n"
    assert (teacher.kind, teacher.sha256) == ("folder", hashlib.sha256(line.encode()).hexdigest())


def test_the_digest_of_a_folder_passes_over_hidden_files_and_ends_where_links_go_in_a_circle(inputs: Path) -> None:
    before = folder_sha256(inputs / "teacher")
    (inputs / "teacher/.cache").mkdir()
    (inputs / "teacher/.cache/when").write_text("now")
    assert folder_sha256(inputs / "teacher") == before
    (inputs / "teacher/up").symlink_to(inputs / "teacher")
    assert folder_sha256(inputs / "teacher") != before


CARD = "---\nlicense: {}\n---\n# A model\n"


def card(inputs: Path, licence: str) -> None:
    (inputs / "teacher/README.md").write_text(CARD.format(licence))


@pytest.mark.parametrize(
    ("written", "licence", "verdict"),
    [
        ("apache-2.0", "Apache-2.0", "permits"),
        ("[mit, cc-by-4.0]", "MIT AND CC-BY-4.0", "conditions"),
        ("cc-by-nc-4.0", "CC-BY-NC-4.0", "restricts"),
        ("gemma", "LicenseRef-gemma", "restricts"),
        ("other\nlicense_name: tongyi-qianwen", "LicenseRef-tongyi-qianwen", "restricts"),
        ("other", "LicenseRef-other", "unknown"),
        ("my own terms!", "LicenseRef-my-own-terms", "unknown"),
        ("eupl-1.2", "EUPL-1.2", "unknown"),
    ],
)
def test_a_cards_front_matter_says_the_licence(inputs: Path, written: str, licence: str, verdict: str) -> None:
    card(inputs, written)
    teacher = found(recipe())[0]
    assert (teacher.licence, teacher.verdict, teacher.stated_by) == (licence, verdict, ("card",))


def test_a_licence_that_restricts_stops_in_words(inputs: Path) -> None:
    card(inputs, "cc-by-nc-4.0")
    with pytest.raises(LicenceError) as told:
        check_licences(found(recipe()))
    assert str(told.value) == (
        "the licence of teacher.model teacher is CC-BY-NC-4.0 by card, which restricts: Not for commercial purposes; "
        "attribution. Whether a model trained with it is adapted material is disputed "
        "(https://creativecommons.org/licenses/by-nc/4.0/ (2013)). Nothing was packaged. Read it; to package it all "
        "the same, write accept_licence: {teacher: REASON} into the recipe and run again, or give it with --recipe. "
        "This is information, not legal advice."
    )


def test_a_licence_that_the_table_lacks_stops_until_it_is_accepted(inputs: Path) -> None:
    card(inputs, "eupl-1.2")
    with pytest.raises(LicenceError, match=r"is EUPL-1\.2 by card, which is not in the table"):
        check_licences(found(recipe()))
    accepted = found(recipe(accept_licence={"teacher": "read by our counsel"}))
    check_licences(accepted)
    assert accepted[0].accepted == "read by our counsel"
    with pytest.raises(LicenceError):  # what was accepted of the data says nothing of the teacher
        check_licences(found(recipe(accept_licence={"data": "ours"})))


def test_a_recipe_adds_to_what_a_card_says_and_does_not_lift_it(inputs: Path) -> None:
    card(inputs, "llama2")
    teacher, train, _ = found(recipe(licences={"teacher": "mit", "data": "cc0-1.0"}))
    assert (teacher.licence, teacher.verdict) == ("LicenseRef-llama2 AND MIT", "restricts")
    assert teacher.stated_by == ("card", "recipe")
    assert (train.licence, train.verdict) == ("CC0-1.0", "permits")


def test_a_licence_file_beside_rows_is_theirs_and_travels(inputs: Path) -> None:
    (inputs / "data/LICENSE").write_text("Creative Commons Attribution-ShareAlike 4.0 International\x1b[31m")
    provenance = provenance_of(recipe())
    assert [(one.part, [each.licence for each in one.stated]) for one in provenance.inputs] == [
        ("teacher.model", []),
        ("data.train", ["CC-BY-SA-4.0"]),
        ("data.test", ["CC-BY-SA-4.0"]),
    ]
    (text,) = provenance.texts
    assert text.name == "data-LICENSE" and "\x1b" not in text.text


def test_a_split_shares_the_licence_of_its_folder(inputs: Path) -> None:
    (inputs / "data/train").mkdir()
    (inputs / "data/train/a.txt").write_text("a")
    (inputs / "data/LICENSE").write_text("CC0 1.0 Universal")
    whole = recipe(task="image-classification", data={"train": "data/train"}, teacher={"config": {"model_type": "vit"}})
    (train,) = found(whole)
    assert (train.licence, train.verdict) == ("CC0-1.0", "permits")


def bomb() -> str:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]" for old, new in zip("abcdefgh", "bcdefghi", strict=True)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"---\nlicense: [mit\n---\n", "line 2"),
        (b"---\nlicense: mit\nlicense: gemma\n---\n", "duplicate key 'license'"),
        (b"---\n- mit\n---\n", "no mapping"),
        (b"---\nlicense: {name: mit}\n---\n", "neither a name nor a short list of names"),
        (b"---\nlicense: [" + b"mit," * 50 + b"]\n---\n", "neither a name nor a short list"),
        (b"---\nlicense: \xff\n---\n", "no UTF-8"),
        (b"---\nlicense: mit\n" + b"x" * MOST_FRONT + b"\n---\n", "does not end within 64 KiB"),
        (b"---\nlicense: !!python/object/apply:os.system [x]\n---\n", "could not determine a constructor"),
        (f"---\n{bomb()}\n---\n".encode(), "more than a recipe can be"),
    ],
    ids=["broken", "twice", "list", "mapping", "many", "bytes", "huge", "tag", "bomb"],
)
def test_a_card_that_cannot_be_read_stops_as_an_unknown_licence_does(inputs: Path, content: bytes, why: str) -> None:
    (inputs / "teacher/README.md").write_bytes(content)
    teacher = found(recipe())[0]
    assert teacher.verdict == "unknown" and teacher.licence == "LicenseRef-unreadable-card"
    assert why in teacher.stated_by[0] and "\n" not in teacher.stated_by[0]
    with pytest.raises(LicenceError, match=r"README\.md: "):
        check_licences([teacher])


def test_a_huge_card_is_read_as_far_as_its_front_matter(inputs: Path) -> None:
    path = inputs / "teacher/README.md"
    with path.open("wb") as file:
        file.write(CARD.format("mit").encode())
        file.truncate(1 << 34)
    assert front_matter(path) == {"license": "mit"}
    assert [one.licence for one in look(lambda name: path if name == "README.md" else None, "teacher").stated] == [
        "MIT"
    ]


def test_a_page_without_front_matter_says_nothing(inputs: Path) -> None:
    (inputs / "teacher/README.md").write_text("# License: GPL\n---\nlicense: gpl\n---\n")
    assert found(recipe())[0].verdict == "not stated"


def test_a_wrong_licence_in_a_recipe_is_told_with_the_nearest_name() -> None:
    with pytest.raises(RecipeError) as told:
        recipe(licences={"teacher": "Apache 2"})
    assert "licences.teacher" in str(told.value)
    assert "'Apache 2' is no SPDX licence id. Give one such as Apache-2.0" in str(told.value)
    assert "Did you mean 'Apache-2.0'?" in str(told.value)
    with pytest.raises(RecipeError, match="accept_licence"):
        recipe(accept_licence={"teacher": " "})


def test_licences_are_no_part_of_what_a_run_is() -> None:
    said = recipe(licences={"data": "mit"}, accept_licence={"teacher": "ours"})
    assert said.digest == recipe().digest
    assert json.loads(said.model_dump_json())["licences"]["data"] == "MIT"


def test_a_model_and_rows_in_the_hubs_cache_have_their_commit(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = "c0ffee" * 6 + "beef"
    place = workdir / "hub/models--owner--name"
    snapshot = place / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (place / "refs").mkdir()
    (place / "refs/main").write_text(commit)
    (snapshot / "config.json").write_text("{}")
    (snapshot / "README.md").write_text(CARD.format("bsd-3-clause"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(workdir / "hub"))
    rows = workdir / "hub/datasets--owner--rows"
    (rows / "snapshots" / commit).mkdir(parents=True)
    (rows / "refs").mkdir()
    (rows / "refs/main").write_text(commit)
    (rows / "snapshots" / commit / "README.md").write_text(CARD.format("cc-by-nc-sa-4.0"))
    teacher, data = found(recipe(teacher={"model": "owner/name"}, data={"train": "owner/rows:train"}))
    assert (data.source, data.revision, data.licence) == ("owner/rows:train", commit, "CC-BY-NC-SA-4.0")
    assert (teacher.kind, teacher.source, teacher.revision) == ("hub", "owner/name", commit)
    assert (teacher.licence, teacher.sha256) == ("BSD-3-Clause", folder_sha256(snapshot))
