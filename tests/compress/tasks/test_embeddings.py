"""Sentence embeddings: folders, pooling, rows without labels, and what is learned of the teacher alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgepress.compress.architectures.sentence_encoder import mean_of
from edgepress.compress.architectures.sentence_folder import MOST_BYTES, pooling_of
from edgepress.compress.cli.init import recipe_template
from edgepress.compress.data.rows import Rows
from edgepress.compress.methods.distill.objective import without_labels
from edgepress.compress.methods.distill.options import Distill
from edgepress.compress.methods.distill.terms.similarities import Similarities
from edgepress.compress.methods.student import derive_student
from edgepress.compress.model import code as codes
from edgepress.compress.model.loading import load_network
from edgepress.compress.model.model import Model
from edgepress.compress.model.own import own_network
from edgepress.compress.recipe.recipe import Data, Recipe, Student
from edgepress.compress.tasks import load_task
from edgepress.compress.tasks.outputs.vectors import Vectors
from edgepress.targets.errors import DataError, ModelError, StageError
from tests.compress.rows import lines, load
from tests.compress.tiny import tiny_pairs, tiny_sentence_teacher, tiny_text_data, tiny_text_teacher, tiny_tokenizer

EMBEDDINGS = "text-embeddings"
COLUMNS = {"text_pair": "text_pair", "label": "score"}
DATA = Data(train="unused", max_length=16)
TEXTS = Rows(np.zeros((2, 1), np.float32), "rows", texts=(["good film", "bad"], ["the plot was", "a"]))


def model_of(folder: Path) -> Model:
    network = load_network(str(folder), EMBEDDINGS, trust_remote_code=False)
    task = load_task(EMBEDDINGS)
    return Model(network, EMBEDDINGS, task.signature(network, task.load_processor(str(folder)), DATA))


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return model_of(tiny_sentence_teacher(tmp_path_factory.mktemp("teacher")))


def feeds_of(rows: Rows = TEXTS) -> Any:
    return load_task(EMBEDDINGS).features(rows, tiny_tokenizer(), DATA)


def vectors_of(model: Model, feeds: dict[str, np.ndarray]) -> np.ndarray:
    with torch.no_grad():
        given = model.module(*(torch.from_numpy(feeds[spec.name]) for spec in model.signature.inputs))
    return np.asarray(given)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_a_vector_is_the_pooled_state_of_real_tokens_with_a_length_of_one(tmp_path: Path, pooling: str) -> None:
    from transformers import AutoModel

    model = model_of(tiny_sentence_teacher(tmp_path / "teacher", pooling))
    (spec,) = model.signature.outputs
    assert (spec.name, spec.shape) == ("sentence_embedding", ("batch", 16))
    encoder = AutoModel.from_pretrained(tmp_path / "teacher").eval()
    feeds = feeds_of().batch([0, 1, 2, 3])
    with torch.no_grad():
        states = encoder(**{name: torch.from_numpy(value) for name, value in feeds.items()}).last_hidden_state.numpy()
    for row, vector in enumerate(vectors_of(model, feeds)):
        real = states[row][feeds["attention_mask"][row] == 1]
        wanted = real.mean(0) if pooling == "mean" else real[0]
        assert vector == pytest.approx(wanted / np.linalg.norm(wanted), abs=1e-6)


def test_padding_changes_no_vector(teacher: Model) -> None:
    features = feeds_of()
    short, long = (vectors_of(teacher, features.batch([2], length)) for length in (None, 16))
    assert short == pytest.approx(long, abs=1e-6)


def test_a_saved_model_gives_the_same_vectors_and_knows_its_pooling(tmp_path: Path) -> None:
    model, feeds = model_of(tiny_sentence_teacher(tmp_path / "teacher", "cls")), feeds_of().batch([0, 1])
    model.save(tmp_path / "model")
    again = Model.load(tmp_path / "model")
    config = json.loads((tmp_path / "model/config.json").read_text())
    assert (config["sentence_pooling"], config["output_kind"], config["id2label"]) == ("cls", "vectors", {})
    assert (vectors_of(again, feeds) == vectors_of(model, feeds)).all()
    assert not [name for name in again.network.state_dict() if "pooler" in name]


def test_a_plain_encoder_and_a_classifier_pool_by_the_mean(tmp_path: Path) -> None:
    network = load_network(str(tiny_text_teacher(tmp_path / "teacher", "distilbert")), EMBEDDINGS, False)
    assert network.config.sentence_pooling == "mean"


def test_pickled_weights_are_converted_by_a_class_that_transformers_has(tmp_path: Path) -> None:
    folder = tiny_sentence_teacher(tmp_path / "teacher")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r'holds pickled weights .* -c "from transformers import AutoModel as M;'):
        load_network(str(folder), EMBEDDINGS, False)


Damage = Callable[[Path], object]


def _modules(**change: Any) -> Damage:
    def damage(folder: Path) -> None:
        modules = json.loads((folder / "modules.json").read_text())
        modules[1] |= change
        (folder / "modules.json").write_text(json.dumps(modules))

    return damage


def _pooling(**change: Any) -> Damage:
    def damage(folder: Path) -> None:
        path = folder / "1_Pooling/config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | change))

    return damage


def _linked(folder: Path) -> None:
    (folder / "1_Pooling/config.json").unlink()
    (folder.parent / "elsewhere.json").write_text('{"pooling_mode_mean_tokens": true}')
    (folder / "1_Pooling/config.json").symlink_to(folder.parent / "elsewhere.json")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_modules(path="../other"), r"modules.json names '../other/config.json', which leads out of its folder"),
        (_modules(path="/etc"), r"modules.json names '/etc/config.json', which leads out of its folder"),
        (_linked, r"modules.json names '1_Pooling/config.json', which leads out of its folder"),
        (_modules(path="2_Pooling"), r"says that '2_Pooling' holds the pooling, and config.json is not there"),
        (_modules(type="x.Dense"), r"modules.json names a module 'Dense', which is not known here: an encoder, its"),
        (_modules(type="x.Transformer"), r"the encoder lies in '1_Pooling'; put its files beside modules.json"),
        (_pooling(pooling_mode_mean_tokens=False), r"pools by nothing; mean and cls are known here, one of them"),
        (_pooling(pooling_mode_cls_token=True), r"pools by 'cls', 'mean'; mean and cls are known here, one of them"),
        (_pooling(pooling_mode="lasttoken"), r"pools by 'lasttoken'; mean and cls are known here"),
        (_pooling(pooling_mode_max_tokens="yes"), r"pools by 'pooling_mode_max_tokens', 'mean'; mean and cls"),
        (_pooling(word_embedding_dimension=768), r"pools states of 768 numbers, and the encoder gives 16. Fetch"),
        (lambda f: (f / "modules.json").write_text("[1]"), r"modules.json lists no modules. Fetch the model again"),
        (lambda f: (f / "modules.json").write_text("{"), r"modules.json is no JSON \(.*\). Fetch the model again"),
        (lambda f: (f / "modules.json").write_text("[" * 100_000), r"modules.json is no JSON \(.*\). Fetch the model"),
        (lambda f: (f / "modules.json").write_text(" " * (MOST_BYTES + 1)), r"is no JSON \(.*1048577 bytes\)"),
        (lambda f: (f / "1_Pooling/config.json").write_text("[]"), r"config.json holds no mapping. Fetch the model"),
    ],
)  # fmt: skip
def test_a_folder_that_asks_for_more_is_refused_in_one_line(tmp_path: Path, damage: Damage, words: str) -> None:
    (folder := tmp_path / "model").mkdir()
    modules = [
        {"path": "", "type": "m.Transformer"},
        {"path": "1_Pooling", "type": "m.Pooling"},
        {"type": "m.Normalize"},
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    modes = {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}
    (folder / "1_Pooling/config.json").write_text(json.dumps(modes))
    assert pooling_of(str(folder), 16) == "mean"
    damage(folder)
    with pytest.raises(ModelError, match=words) as fault:
        pooling_of(str(folder), 16)
    assert "\n" not in str(fault.value)


def test_both_texts_of_a_pair_become_rows_that_know_each_other() -> None:
    rows = Rows(np.array([[4.5], [np.nan]], np.float32), "rows", texts=(["good film", "bad"], ["good film", "a"]))
    features = feeds_of(rows=rows)
    wanted = [[0, 4.5, 0], [0, 4.5, 0], [1, np.nan, 1], [1, np.nan, 2]]
    assert np.array_equal(features.labels, np.array(wanted, np.float32), equal_nan=True)
    assert features.batch([2])["input_ids"].tolist() == [[2, 6, 3]]
    single = feeds_of(rows=Rows(rows.labels, "rows", texts=(["bad", "bad"], None)))
    assert np.array_equal(single.labels, np.array([[-1, np.nan, 0]] * 2, np.float32), equal_nan=True)


def test_rows_to_learn_from_need_no_labels_and_those_to_judge_by_have_pairs(tmp_path: Path) -> None:
    train = lines(tmp_path / "train.jsonl", [{"text": f"row {number}", "mood": "x"} for number in range(40)])
    pairs = tiny_pairs(tmp_path)
    options: dict[str, Any] = {"columns": COLUMNS, "calibration": 8}
    splits = load(train, EMBEDDINGS, validation=str(pairs), test=str(tiny_pairs(tmp_path, "test.jsonl")), **options)
    assert splits.train.texts is not None and splits.train.texts[1] is None and len(splits.train) == 40
    assert np.isnan(splits.train.labels).all() and splits.label_names == ()
    assert splits.validation.texts is not None and len(splits.validation.texts[1] or []) == 24
    assert np.isfinite(splits.validation.labels).all() and np.isfinite(splits.test().labels).all()
    cut = load(tiny_pairs(tmp_path, "all.jsonl", 80), EMBEDDINGS, columns=COLUMNS)
    assert np.isfinite(cut.validation.labels).all() and len(cut.test()) == 16
    words = (
        r"train.jsonl holds no pairs of texts with scores that differ, and figures are taken on them. Name such a file"
    )
    with pytest.raises(DataError, match=words):
        load(train, EMBEDDINGS, columns=COLUMNS)
    with pytest.raises(DataError, match=words):
        load(train, EMBEDDINGS, validation=str(pairs), **options)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"score": "alike"}, r"row 1: the score must be a finite number or null, got 'alike'. Mend or remove the row."),
        ({"score": float("inf")}, r"row 1: the score must be a finite number or null, got inf"),
        ({"text_pair": None}, r"row 1: 'text_pair' must be text, got None"),
    ],
)
def test_what_is_no_pair_is_told_with_its_row(tmp_path: Path, row: dict[str, Any], words: str) -> None:
    rows = [
        {"text": "a", "text_pair": "b", "score": 1.0} | row,
        *({"text": "a", "text_pair": "b", "score": n} for n in range(30)),
    ]
    with pytest.raises(DataError, match=words):
        load(lines(tmp_path / "a.jsonl", rows), EMBEDDINGS, columns=COLUMNS)


def test_a_table_lacks_no_text_and_other_tasks_lack_no_label(tmp_path: Path) -> None:
    pairs = tiny_pairs(tmp_path)
    with pytest.raises(DataError, match=r"has no column 'said'; it has text, text_pair, score"):
        load(pairs, EMBEDDINGS, columns=COLUMNS | {"text": "said"})
    with pytest.raises(DataError, match=r"has no column 'label'"):
        load(pairs, "text-regression")
    with pytest.raises(DataError, match=r"the numbers of a vector have no names, .*: leave data.labels out"):
        load(pairs, EMBEDDINGS, columns=COLUMNS, labels=["a"])


def test_a_score_may_be_missing_here_and_there(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text("text,text_pair,score\n" + "".join(f"a {n},b,{n if n % 2 else ''}\n" for n in range(40)))
    labels = load(path, EMBEDDINGS, columns=COLUMNS, validation_fraction=0.25).train.labels
    assert 8 <= np.isnan(labels).sum() <= 16 and len(labels) == 24


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_other_tables_may_lack_the_same_columns(tmp_path: Path, suffix: str) -> None:
    import pandas

    frame = pandas.DataFrame({"text": [f"row {number}" for number in range(9)]})
    path = tmp_path / f"train.{suffix}"
    frame.to_csv(path, index=False) if suffix == "csv" else frame.to_parquet(path)
    pairs, test = tiny_pairs(tmp_path), tiny_pairs(tmp_path, "test.jsonl")
    splits = load(path, EMBEDDINGS, columns=COLUMNS, validation=str(pairs), test=str(test))
    assert len(splits.train) == 9 and splits.train.texts == ([f"row {number}" for number in range(9)], None)


def test_the_loss_is_one_minus_the_cosine() -> None:
    student, wanted = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[0.6, 0.8], [0.0, 1.0]])
    assert float(Vectors().soft_loss(student, wanted, 2.0)) == pytest.approx((0.4 + 0.0) / 2)
    with pytest.raises(StageError, match=r"vectors are learned from a teacher alone: set distill.alpha to 1"):
        Vectors().loss({"logits": student}, torch.zeros(2, 3))


def test_importance_by_labels_is_refused(teacher: Model) -> None:
    feeds = [feeds_of().batch([0, 1])]
    with pytest.raises(
        ModelError, match=r"student: vectors are learned from a teacher alone: .* choose importance activat"
    ):
        derive_student(teacher, Student(ffn=16, importance="taylor"), 0, feeds, [np.zeros((2, 3), np.float32)])
    assert derive_student(teacher, Student(ffn=16, heads=2), 0, feeds, []).parameters < teacher.parameters


def test_similarities_compare_what_both_networks_find_alike_whatever_their_widths() -> None:
    term = Similarities(Distill(), SimpleNamespace())  # type: ignore[arg-type]
    student = SimpleNamespace(logits=torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
    # The teacher's cosine is 0.6, the student's 0: two of four entries differ.
    loss = term.loss(student, {"logits": torch.tensor([[1.0, 0.0, 0.0], [0.6, 0.0, 0.8]])}, None)  # type: ignore[arg-type]
    assert float(loss) == pytest.approx(2 * 0.36 / 4)


def test_the_teacher_has_the_whole_share_where_there_are_no_labels() -> None:
    assert (
        without_labels(Distill(), "t").alpha == 1.0
        and without_labels(Distill(alpha=1.0, hidden=2.0), "t").hidden == 2.0
    )
    for options in (Distill(alpha=0.5), Distill(control=True)):
        with pytest.raises(
            StageError, match=r"distill: t learns from its teacher alone, and labels are given a share: set"
        ):
            without_labels(options, "t")


def test_a_narrow_student_gives_vectors_as_wide_as_the_teachers(teacher: Model, tmp_path: Path) -> None:
    config = {"model_type": "bert", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
              "intermediate_size": 16, "vocab_size": 17}  # fmt: skip
    student = derive_student(teacher, Student(config=config, init="adapt"), 0, [feeds_of().batch([0, 1])], [])
    assert student.network.projection.weight.shape == (16, 8)
    student.save(tmp_path / "student")
    feeds = feeds_of().batch([0, 1, 2])
    given = vectors_of(Model.load(tmp_path / "student"), feeds)
    assert given.shape == (3, 16) and np.linalg.norm(given, axis=1) == pytest.approx(1.0, abs=1e-6)
    assert (given == vectors_of(student, feeds)).all()


def test_a_student_of_another_width_is_refused(teacher: Model, tmp_path: Path) -> None:
    narrow = tiny_sentence_teacher(tmp_path / "narrow", width=8)
    with pytest.raises(
        ModelError, match=r"student: SentenceEncoder gives logits of shape \[2, 8\] for 2 rows, the teacher \[2, 16\]"
    ):
        derive_student(teacher, Student(model=str(narrow)), 0, [feeds_of().batch([0, 1])], [])
    with pytest.raises(
        ModelError, match=r"student.hidden: the teacher's vectors are its hidden states, 16 wide, and w"
    ):
        derive_student(teacher, Student(hidden=8), 0, [feeds_of().batch([0, 1])], [])


class Bag(nn.Module):
    """The mean of the words' vectors, 12 wide."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(17, 12)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return mean_of(self.words(input_ids), attention_mask)


def test_a_network_of_ones_own_that_gives_vectors_teaches_an_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codes, "_BUILDERS", {})
    monkeypatch.setattr(codes, "GIVEN", {})
    codes.hand_over(Bag(), "teacher")
    monkeypatch.setattr("edgepress.compress.model.references.GIVEN", codes.GIVEN)
    network = own_network("python", None, (), Vectors().head(()), EMBEDDINGS, "teacher")
    signature = load_task(EMBEDDINGS).signature(network, tiny_tokenizer(token_types=False), DATA)
    assert signature.outputs[0].shape == ("batch", 12)
    config = {"model_type": "bert", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
              "intermediate_size": 16, "vocab_size": 17}  # fmt: skip
    student = derive_student(
        Model(network, EMBEDDINGS, signature), Student(config=config), 0, [feeds_of().batch([0])], []
    )
    assert student.network.projection.weight.shape == (12, 8) and vectors_of(student, feeds_of().batch([0])).shape == (
        1,
        12,
    )


def test_a_template_finds_the_columns_of_pairs_and_takes_a_file_of_texts(tmp_path: Path) -> None:
    columns: list[Any] = []
    for data in (str(tiny_pairs(tmp_path)), str(tiny_text_data(tmp_path)), None):
        (tmp_path / "recipe.yaml").write_text(recipe_template(EMBEDDINGS, data))
        columns.append(Recipe.load(tmp_path / "recipe.yaml").data.columns)
    assert {(found.text, found.text_pair, found.label) for found in columns} == {("text", "text_pair", "score")}
