"""YAML that no honest recipe has: each is one clear fault, and soon."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path

import pytest

from edgepress.compress.recipe.recipe import Recipe, parse_recipe
from edgepress.compress.recipe.yaml_reader import MAX_BYTES, parse_yaml
from edgepress.targets.errors import RecipeError

START = "name: tiny\ntask: text-classification\ndata: {train: a}\nteacher: {model: b}\n"
NAMES = "abcdefghi"
BOMB = "a: &a [x, x]\n" + "".join(f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in pairwise(NAMES))
MERGES = "".join(f"- &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 9))


def fault_of(folder: Path, text: str, *overrides: str) -> str:
    """The message of a file that is refused within five seconds of this process, however busy the machine is."""
    (folder / "r.yaml").write_text(text)
    began = time.process_time()
    with pytest.raises(RecipeError) as caught:
        Recipe.load(folder / "r.yaml", overrides)
    assert time.process_time() - began < 5
    return str(caught.value).removeprefix(f"{folder}/")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BOMB, "line 6, column 20: more than a recipe can be: with its aliases written out a recipe may hold 100000"),
        ("x: &x ['" + "y" * 9000 + "']\nz: [" + "*x, " * 200 + "]\n", "more than a recipe can be"),
        ("l:\n- &a0 {x: 1}\n" + MERGES, "more than a recipe can be"),
        ("a: &a [*a]\n", "r.yaml line 1, column 8: an alias of what it is a part of"),
        ("a: &a {b: {c: *a}}\n", "line 1, column 15: an alias of what it is a part of"),
        ("a: " + "[" * 1000 + "]" * 1000, "line 1, column 35: more than 32 levels of nesting"),
        ("seed: !!int a\n", "line 1, column 7: 'a' cannot be read as an integer"),
        ("seed: !!int ''\n", "line 1, column 7: '' cannot be read as an integer"),
        ("seed: !!bool a\n", "line 1, column 7: 'a' cannot be read as true or false"),
        ("seed: !!float a\n", "line 1, column 7: 'a' cannot be read as a number"),
        ("seed: " + "9" * 5000, "cannot be read as an integer"),
        ("seed: !!set [a]\n", "the tag '!!set'; a recipe holds text, numbers, true, false, null, lists and mappings"),
        ("seed: !!timestamp 2024-01-01\n", "could not determine a constructor for the tag '!!timestamp'"),
        ("!!binary YQ==: 1\n", "could not determine a constructor for the tag '!!binary'"),
        ("seed: !!map [a]\n", "expected a mapping"),
        ("? [a]\n: 1\n", "line 1, column 3: a key must be text, not a list or mapping"),
        ('name: "\\UFFFFFFFF"\n', "r.yaml is no YAML: OverflowError: Python int too large"),
        ("%YAML 1." + "1" * 5000 + "\n---\na: 1\n", "r.yaml is no YAML: ValueError: Exceeds the limit"),
        ("\n" * 5_000_000, f"r.yaml is too large for a recipe: over {MAX_BYTES} bytes. Name a YAML file."),
    ],
)  # fmt: skip
def test_hostile_yaml_is_one_fault_with_its_place(tmp_path: Path, text: str, words: str) -> None:
    told = fault_of(tmp_path, text)
    assert words in told and len(told) < 500 and "\n" not in told


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("seed: 0x" + "f" * 100_000, "seed: got an integer of 120413 digits, allowed: up to 9223372036854775807."),
        ("2024-01-01: 1", "2024-01-01: unknown key."),
        ("1: 1", "\n  1: unknown key."),
        ("null: 1", "\n  null: unknown key."),
        ("student: {config: {x: [.nan]}}", "student.config: holds .nan or .inf, which no configuration file can."),
        ('"\\e[31mred": 1', "\\x1b[31mred: the character U+001B in a key. Remove it."),
        ('"a\\nerror: x": 1', "a\\nerror: x: unknown key."),
        ("targets: [2024-01-01]", "targets[0]: unknown target '2024-01-01'"),
        ("targets: [pytorch" + ", pytorch" * 20_000 + "]", "targets: got 20001 of them, and there are 6: pytorch"),
        ("stages: [" + "quantize, " * 20_000 + "]", "stages: got 20000 of them, allowed: at most 100."),
        ("student: {model: ' '}", 'student.model: got " ", allowed: text that is not empty.'),
        ("student: {model: \"a\\0b\"}", "student.model: the character U+0000 in a text. Remove it."),
        ("student: {model: \"\\ud800\"}", "student.model: the character U+D800 in a text. Remove it."),
        ("".join(f"k{n}: 1\n" for n in range(20_000)), "\n  ... and 19951 more."),
        ("benchmark: {sequences: [" + "a, " * 50_000 + "]}", "has 50001 faults"),
        ("student: {model: '" + "${A:-" * 100_000 + "'}", "r.yaml has a fault:\n  oops: unknown key."),
    ],
)  # fmt: skip
def test_values_that_no_recipe_can_hold_are_told_by_their_keys(tmp_path: Path, text: str, words: str) -> None:
    told = fault_of(tmp_path, f"{START}oops: 1\n{text}\n")
    assert words in told and "\x1b" not in told and len(told) < 20_000


@pytest.mark.parametrize("section", ["teacher: {model: ''}", "data: {train: ''}", "data: {train: a, test: ''}"])
def test_an_empty_source_is_no_working_folder(tmp_path: Path, section: str) -> None:
    start = "\n".join(line for line in START.splitlines() if not line.startswith(section.partition(":")[0]))
    assert 'got "", allowed: text that is not empty.' in fault_of(tmp_path, f"{start}\n{section}\n")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("stages.prune.channels=0.5", "--set stages.prune.channels=0.5: stages is 5, which is no list of stages."),
        ("a" + ".a" * 5000 + "=1", "more than 32 levels."),
        ("data.labels." + "9" * 5000 + "=1", "data.labels is a list of 2"),
        ("seed=&a [*a]", "an alias of what it is a part of"),
        ("student=!!set [a]", "the tag '!!set'"),
    ],
)
def test_a_hostile_override_is_one_fault(tmp_path: Path, override: str, words: str) -> None:
    text = START.replace("train: a", "train: a, labels: [x, y]") + "stages: 5\n"
    assert words in fault_of(tmp_path, text, override)


def test_an_index_of_a_stage_may_not_be_endless(tmp_path: Path) -> None:
    words = fault_of(tmp_path, START + "stages: [{prune: {heads: 0.5}}]\n", "stages." + "1" * 5000 + ".heads=1")
    assert "there are 1 stages, counted from 0: prune." in words


def test_an_override_of_what_an_alias_names_twice_changes_one(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(START + "stages: [distill: &d {alpha: 0.5}, distill: *d]\n")
    recipe = Recipe.load(tmp_path / "r.yaml", ("stages.1.alpha=0.25",))
    assert [stage.model_dump()["alpha"] for stage in recipe.stages] == [0.5, 0.25]


def test_honest_aliases_and_merges_are_read() -> None:
    text = "base: &base {x: 1, y: 2}\nsame: *base\ninner: {deep: &more {<<: *base, y: 3}}\nagain: {<<: *more, z: 4}\n"
    found = parse_yaml(text, "r")
    assert found["same"] == {"x": 1, "y": 2} and found["inner"]["deep"] == {"x": 1, "y": 3}
    assert found["again"] == {"x": 1, "y": 3, "z": 4}


def test_dates_and_keys_are_the_texts_that_they_are_written_as() -> None:
    assert parse_yaml("a: 2024-13-45\nb: =\n2024-01-01: c\n0x10: d\ntrue: e\n", "r") == {
        "a": "2024-13-45", "b": "=", "2024-01-01": "c", "0x10": "d", "true": "e",
    }  # fmt: skip


def test_a_list_that_holds_itself_is_refused_from_python_too() -> None:
    loop: list[object] = []
    loop += [loop, loop]
    with pytest.raises(RecipeError, match=r"r has more than 32 levels, from student\[0\]\[0\] on"):
        parse_recipe({"student": loop}, "r")


def test_the_environment_cannot_swell_a_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPRESS_TEST", "x" * 10_000)
    with pytest.raises(RecipeError, match="r is too large: its texts have over 1048576 characters"):
        parse_recipe({"name": "${EDGEPRESS_TEST}" * 1000}, "r")


def test_a_device_in_place_of_a_file_is_read_no_further_than_a_recipe_goes() -> None:
    with pytest.raises(RecipeError, match="/dev/zero is too large for a recipe"):
        Recipe.load(Path("/dev/zero"))
