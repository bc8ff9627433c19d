"""Question answering: rows and their faults, windows of long texts, what is learned of them, and what is judged."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgepress.benchmarks.metrics.passages import Passages
from edgepress.compress.cli.init import recipe_template
from edgepress.compress.data.rows import Rows
from edgepress.compress.data.splits import load_splits
from edgepress.compress.data.truths.answers import accepted
from edgepress.compress.recipe.data import Columns, Data
from edgepress.compress.recipe.recipe import Recipe
from edgepress.compress.tasks import load_task
from edgepress.compress.tasks.inputs.passages import PassageFeatures
from edgepress.targets.errors import DataError
from tests.compress.rows import lines
from tests.compress.tiny import tiny_questions, tiny_reader, tiny_tokenizer

TASK = load_task("question-answering")
CONTEXT = "good bad fine poor a the film plot scene actor"


def data(path: Path, length: int = 10, stride: int = 2) -> Data:
    return Data(train=str(path), columns=Columns(label="answers"), max_length=length, stride=stride)


def windows(tmp_path: Path, *rows: dict[str, Any], length: int = 10, stride: int = 2) -> PassageFeatures:
    """The rows as the task reads and cuts them, one token a word."""
    asked = data(tmp_path / "rows.jsonl", length, stride)
    raw = TASK.inputs.read(
        {key: [row[key] for row in rows] for key in ("question", "context", "answers")}, asked.columns, tmp_path, "rows"
    )
    truth = TASK.outputs.truth_of(raw, asked, None, None, True)
    features = TASK.features(Rows(truth.encode(raw.labels, "rows"), "rows", texts=raw.texts), tiny_tokenizer(), asked)
    assert isinstance(features, PassageFeatures)
    return features


def row(text: str, start: int | None = None, context: str = CONTEXT) -> dict[str, Any]:
    start = context.index(text) if start is None else start
    return {"question": "actor", "context": context, "answers": [{"text": text, "start": start}]}


def test_a_long_text_becomes_windows_that_overlap(tmp_path: Path) -> None:
    """[CLS] actor [SEP] six words [SEP]; the next window begins four words later."""
    features = windows(tmp_path, row("fine poor"), row("good bad", context="good bad"))
    assert np.asarray(features.labels).tolist() == [
        [5, 6, 3, 9, 0, 0],
        [0, 0, 3, 9, 0, 10],  # `poor`, which it begins with after `a the`, is no whole answer
        [3, 4, 3, 5, 1, 20],
    ]
    assert features.batch([0, 2])["input_ids"].shape == (2, 10) and features.note == ""


def test_an_answer_in_the_overlap_is_learned_in_both_windows(tmp_path: Path) -> None:
    features = windows(tmp_path, row("a the"))
    assert np.asarray(features.labels)[:, :2].tolist() == [[7, 8], [3, 4]]


def test_an_answer_longer_than_a_window_is_told(tmp_path: Path) -> None:
    features = windows(tmp_path, row("bad fine poor a the film plot"))
    assert np.asarray(features.labels)[:, :2].tolist() == [[0, 0], [0, 0]]
    assert features.note.startswith("rows: 1 of 1 answers lie in no window as a whole; they are longer than data.str")


def test_tokens_of_the_context_and_the_first_are_judged(tmp_path: Path) -> None:
    features = windows(tmp_path, row("good bad", context="good bad"), row("fine", context="fine a"))
    found = features.judged(np.array([0, 1]), np.ones((2, 6, 2), np.float32))
    assert found.shape == (2, 5, 2)
    assert np.isnan(found[0, :, 0]).tolist() == [False, True, True, False, False]


def test_the_loss_is_of_first_and_last_tokens_in_the_context() -> None:
    """Of three able tokens, equal logits: ln 3 for either, whatever the others say."""
    logits = torch.zeros(1, 6, 2)
    logits[0, 1:3] = 99.0
    truth = torch.tensor([[3, 4, 3, 5, 0, 0]])
    assert TASK.outputs.loss({"logits": logits}, truth).item() == pytest.approx(math.log(3))
    assert TASK.outputs.judged(logits, truth).shape == (2, 5)


def test_a_student_that_answers_as_its_teacher_has_no_soft_loss() -> None:
    """Else KL of (1/3, 1/3, 1/3) from (1/2, 1/4, 1/4), for first tokens alone: 0.0589 nats, half of it over both."""
    truth = torch.tensor([[3, 4, 3, 5, 0, 0]])
    teacher = torch.zeros(1, 5, 2)
    teacher[0, 3, 0] = math.log(2)
    wanted, plain = (TASK.outputs.judged(one, truth) for one in (teacher, torch.zeros(1, 5, 2)))
    assert TASK.outputs.soft_loss(wanted, wanted, 2.0).item() == pytest.approx(0, abs=1e-6)
    hand = (math.log(3 / 2) / 2 + math.log(3 / 4) / 4 + math.log(3 / 4) / 4) / 2
    assert TASK.outputs.soft_loss(plain, wanted, 1.0).item() == pytest.approx(hand, abs=1e-5)


def test_answers_in_either_form_are_read() -> None:
    both = {"text": ["b c", "c"], "answer_start": [2, 4]}
    assert accepted(both, "a b c", 1, "f") == (("b c", 2), ("c", 4))
    assert accepted('[{"text": "c", "start": 4}]', "a b c", 1, "f") == (("c", 4),)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (
            [{"text": "b", "start": 1}],
            r"f, row 7: the answer 'b' is not in the text at character 1, where ' ' is\. Mend",
        ),
        ([{"text": "b", "start": -3}], r"row 7: the answer 'b' is not in the text at character -3"),
        ([], r"f, row 7: there is no answer; questions without one \(SQuAD 2\.0\) are not learned here\. Remove"),
        ("a", r'row 7: answers must be \[\{"text": "\.\.\.", "start": 0\}, \.\.\.\] or .* got \'a\'\. Mend'),
        ({"text": ["b"], "answer_start": []}, "row 7: answers must be"),
        ([{"text": "b", "start": True}], "row 7: answers must be"),
        (5, "row 7: answers must be"),
    ],
)
def test_answers_that_are_none_are_refused_with_their_row(value: Any, told: str) -> None:
    with pytest.raises(DataError, match=told):
        accepted(value, "a b c", 7, "f")


def test_a_question_that_leaves_no_room_is_refused(tmp_path: Path) -> None:
    long = {**row("fine"), "question": "good " * 9}
    with pytest.raises(
        DataError, match=r"row 2: the question has 9 tokens, and data.max_length 10 with data.stride 2 l"
    ):
        windows(tmp_path, row("fine"), long)


def test_windows_that_overlap_too_much_are_refused() -> None:
    with pytest.raises(DataError, match=r"data.stride is 6 of data.max_length 10 tokens; .* Set it to 2\."):
        TASK.fit_processor(tiny_tokenizer(), _rows(), Data(train="x", max_length=10, stride=6))


def _rows() -> Any:
    return Rows(np.empty(0, object), "rows", texts=([], []))


def test_splits_keep_the_answers(tmp_path: Path) -> None:
    path = lines(tmp_path / "train.jsonl", tiny_questions(40))
    splits = load_splits(data(path), TASK, 0, TASK.outputs.names_of(None, ""), True)
    assert splits.label_names == ("start", "end") and len(splits.train) + len(splits.validation) == 32
    features = TASK.features(splits.train, tiny_tokenizer(), data(path, 16, 4))
    assert isinstance(features.labels[:3], Passages) and features.labels[:3].documents is not None


def test_the_teacher_gives_both_logits_in_one_tensor(tmp_path: Path) -> None:
    from edgepress.compress.model.loading import load_network

    folder = tiny_reader(tmp_path / "teacher")
    network = load_network(str(folder), "question-answering", False, 2)
    assert type(network).__name__ == "BertForQuestionAnswering"
    found = network(input_ids=torch.tensor([[2, 5, 3, 6, 3]]))
    assert torch.equal(found.logits, torch.stack([found.start_logits, found.end_logits], -1))


def test_the_template_is_a_recipe_with_the_columns_of_the_file(tmp_path: Path) -> None:
    rows = [{"id": "x", "query": "is it", "passage": "it is", "answers": [{"text": "it", "start": 0}]}] * 3
    text = recipe_template("question-answering", str(lines(tmp_path / "train.jsonl", rows)))
    (tmp_path / "recipe.yaml").write_text(text)
    recipe = Recipe.load(tmp_path / "recipe.yaml")
    assert (recipe.data.columns.question, recipe.data.columns.context) == ("query", "passage")
    assert recipe.data.columns.label == "answers" and recipe.gates.metrics["qa-f1"].max_drop == 0.03
