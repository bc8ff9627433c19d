"""Sources and targets: read, tokenized, cut, learned, distilled from the teacher's likeliest tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgepress.benchmarks.metrics.tokens import IGNORED
from edgepress.compress.cli.init import recipe_template
from edgepress.compress.data.rows import Rows
from edgepress.compress.data.splits import load_splits
from edgepress.compress.methods.student import derive_student
from edgepress.compress.model.loading import load_network
from edgepress.compress.model.model import Model
from edgepress.compress.recipe.data import Columns, Data
from edgepress.compress.recipe.recipe import Recipe, Student, parse_recipe
from edgepress.compress.tasks import load_task
from edgepress.compress.tasks.inference import logits_of, metric_of
from edgepress.compress.tasks.inputs.seq2seq import PairInputs, Pairs
from edgepress.compress.tasks.outputs.next_tokens import TargetTokens
from edgepress.compress.training.ragged import load_ragged, save_ragged
from edgepress.compress.training.teacher_cache import TeacherCache, Wanted
from edgepress.compress.training.written import rewritten_rows, write_targets
from edgepress.targets.errors import DataError, ModelError, RecipeError, StageError
from edgepress.targets.preprocess.tokens import PREFIX
from edgepress.targets.progress import WarningsOnly
from tests.compress.rows import lines
from tests.compress.tiny import tiny_decoder, tiny_decoder_tokenizer, tiny_pair, tiny_pairs_of_texts

TASK = "text-to-text"
DATA = Data(train="unused", max_length=8)
GOOD, BAD, FINE, FILM = 3, 4, 5, 7  # numbers of words
START, END, PAD = 1, 2, 15


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_pair(tmp_path_factory.mktemp("pair"), "marian")


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    task = load_task(TASK)
    network = load_network(str(folder), TASK, trust_remote_code=False)
    return Model(network, TASK, task.signature(network, task.load_processor(str(folder)), DATA))


def features(folder: Path, first: list[str], second: list[str], data: Data = DATA) -> Pairs:
    tokenizer = PairInputs().load_processor(str(folder), "AutoModelForSeq2SeqLM")
    rows = Rows(np.zeros(len(first), np.int64), "mine", texts=(first, second))
    return PairInputs().features(rows, PairInputs().fit_processor(tokenizer, rows, data), data)


def test_the_decoder_is_fed_the_target_behind_its_first_token_and_learns_the_target_with_its_end(folder: Path) -> None:
    found = features(folder, ["good bad", "good"], ["fine", "fine bad good"])
    feeds = found.batch(np.arange(2))
    assert feeds["input_ids"].tolist() == [[1, GOOD, BAD, PAD, PAD], [1, GOOD, PAD, PAD, PAD]]
    assert feeds["attention_mask"].tolist() == [[1, 1, 1, 0, 0], [1, 1, 0, 0, 0]]
    # The tiny tokenizer puts <s> before targets too, as BART's does; the first token is the configuration's.
    assert feeds["decoder_input_ids"].tolist() == [[START, 1, FINE, PAD, PAD], [START, 1, FINE, BAD, GOOD]]
    assert found.labels.tolist() == [[1, FINE, END, IGNORED, IGNORED], [1, FINE, BAD, GOOD, END]]
    assert found.lengths.tolist() == [3, 5] and found.note == ""


def test_a_prefix_is_put_before_every_source_and_travels_with_the_tokenizer(folder: Path, tmp_path: Path) -> None:
    data = DATA.model_copy(update={"prefix": "film film "})
    found = features(folder, ["good"], ["fine"], data)
    assert found.batch([0])["input_ids"].tolist() == [[1, FILM, FILM, GOOD]]
    tokenizer = PairInputs().load_processor(str(folder), "AutoModelForSeq2SeqLM")
    PairInputs().save_processor(PairInputs().fit_processor(tokenizer, Rows(np.zeros(1), "mine"), data), tmp_path)
    assert json.loads((tmp_path / "tokenizer_config.json").read_text())[PREFIX] == "film film "


def test_what_is_longer_is_cut_and_told_and_a_target_that_is_cut_does_not_end(folder: Path) -> None:
    found = features(folder, ["good " * 9, "bad"], ["fine", "fine " * 9])
    assert found.batch(np.arange(2))["input_ids"].shape == (2, 8)
    assert found.labels[1].tolist() == [1] + [FINE] * 7
    assert found.note == (
        "mine: 1 sources and 1 targets of 2 are longer than data.max_length (8 tokens) and are cut"
    )  # fmt: skip
    with pytest.raises(DataError, match=r"data.prefix has 10 tokens, and data.max_length 8 leaves nothing of a source"):
        features(folder, ["good"], ["fine"], DATA.model_copy(update={"prefix": "film " * 9}))


def test_an_empty_source_or_target_is_one_line_with_its_row(tmp_path: Path) -> None:
    for side in ("source", "target"):
        rows: list[dict[str, Any]] = [dict(row) for row in tiny_pairs_of_texts(20)]
        rows[2][side] = "  "
        data = Data(train=str(lines(tmp_path / "a.jsonl", rows)))
        with pytest.raises(DataError, match=rf"a\.jsonl, row 3: '{side}' is empty\. Give a text, or remove the row"):
            load_splits(data, load_task(TASK), 0)
    with pytest.raises(DataError, match="no column 'en'"):
        load_splits(data.model_copy(update={"columns": Columns(source="en")}), load_task(TASK), 0)
    data = Data(train=str(lines(tmp_path / "b.jsonl", tiny_pairs_of_texts(60))), labels=("a", "b"))
    with pytest.raises(DataError, match=r"sources and targets have no labels: leave data.labels out"):
        load_splits(data, load_task(TASK), 0)


def test_a_tokenizer_needs_a_token_that_pads_and_one_that_ends_a_text() -> None:
    with pytest.raises(ModelError, match="the tokenizer of here has no padding token"):
        PairInputs().check_tokenizer(tiny_decoder_tokenizer(), "here")
    without = tiny_decoder_tokenizer(pad=True)
    without.eos_token = None
    with pytest.raises(ModelError, match=r"no token that ends a text .* without it a target never ends"):
        PairInputs().check_tokenizer(without, "here")


def test_a_model_and_its_tokenizer_agree_on_what_begins_and_ends_a_target(folder: Path, tmp_path: Path) -> None:
    inputs, network = PairInputs(), load_network(str(folder), TASK, trust_remote_code=False)
    tokenizer = inputs.load_processor(str(folder), "AutoModelForSeq2SeqLM")
    network.config.decoder_start_token_id = 5  # type: ignore[union-attr]
    with pytest.raises(ModelError, match=r"begins targets with token 5 \(decoder_start_token_id\), and its tokenizer"):
        inputs.trial(network, tokenizer, DATA)
    network.config.decoder_start_token_id, network.config.eos_token_id = 1, 9  # type: ignore[union-attr]
    with pytest.raises(ModelError, match=r"ends targets with token 9 \(eos_token_id\), and its tokenizer with 2"):
        inputs.trial(network, tokenizer, DATA)
    alone = load_network(str(tiny_decoder(tmp_path)), "text-generation", trust_remote_code=False)
    with pytest.raises(ModelError, match=r"LlamaForCausalLM has no encoder\. .* or make the task text-generation"):
        inputs.trial(alone, tokenizer, DATA)


def test_the_perplexity_of_a_model_is_that_of_its_own_loss_over_target_tokens(folder: Path, model: Model) -> None:
    rows = tiny_pairs_of_texts(40)
    found = features(folder, [row["source"] for row in rows], [row["target"] for row in rows])
    feeds = {name: torch.from_numpy(value) for name, value in found.batch(np.arange(len(found))).items()}
    with torch.no_grad():
        loss = TargetTokens().loss({"logits": model.network(**feeds).logits}, torch.from_numpy(found.labels))
        theirs = model.network(
            input_ids=feeds["input_ids"], attention_mask=feeds["attention_mask"], labels=torch.from_numpy(found.labels),
            decoder_input_ids=feeds["decoder_input_ids"][:, : found.labels.shape[1]],
        ).loss  # fmt: skip
    assert float(loss) == pytest.approx(float(theirs), rel=1e-5)
    assert logits_of(model, found).shape == (*found.labels.shape, 2)
    assert metric_of(model, found, "perplexity") == pytest.approx(float(torch.exp(loss)), rel=1e-4)


def test_the_teachers_likeliest_tokens_are_kept_for_targets_and_hidden_states_for_sources(
    folder: Path, model: Model, tmp_path: Path
) -> None:
    """A target of five tokens of a source of two: other lengths, in one cache."""
    found = features(folder, ["good", "bad fine good"], ["fine bad good", "film"])
    cache = TeacherCache.open(tmp_path, model, found, Wanted(likeliest=4, hidden=(1,)), WarningsOnly())
    kept = cache.rows(np.arange(2))
    feeds = {name: torch.from_numpy(value) for name, value in found.batch(np.arange(2)).items()}
    with torch.no_grad():
        output = model.network(**feeds, output_hidden_states=True)
    wanted = TargetTokens().kept(output.logits, 4, 1.0)
    assert kept["logits"].shape == (2, 5, 9) and kept["hidden"][0].shape == (2, 4, 16)
    for row, (target, source) in enumerate(((5, 2), (3, 4))):
        assert torch.allclose(kept["logits"][row, :target], wanted[row, :target], atol=1e-5)
        states = output.encoder_hidden_states[1][row, :source]
        assert torch.allclose(kept["hidden"][0][row, :source].float(), states, atol=1e-2)


def test_a_teachers_own_targets_take_the_place_of_a_share_of_the_true_ones(folder: Path, model: Model) -> None:
    rows = tiny_pairs_of_texts(12)
    found = features(folder, [row["source"] for row in rows], [row["target"] for row in rows])
    places = rewritten_rows(found, 0.25, 0, TASK)
    written = dict(write_targets(model, found, places, WarningsOnly()))
    assert len(places) == 3 and sorted(written) == places.tolist()
    other = found.with_targets(places, [written[row] for row in places.tolist()])
    for row in range(12):
        target = other.labels[row][other.labels[row] != IGNORED].tolist()
        if row not in written:
            assert target == found.labels[row][found.labels[row] != IGNORED].tolist()
            continue
        source = torch.from_numpy(found.source(row)[None])
        wanted = model.network.generate(  # type: ignore[operator,union-attr]
            input_ids=source, attention_mask=torch.ones_like(source), do_sample=False, num_beams=1, max_new_tokens=8,
            eos_token_id=END, decoder_start_token_id=START, pad_token_id=PAD, suppress_tokens=[PAD],
            forced_eos_token_id=None,
        )[0, 1:].tolist()  # fmt: skip
        assert target == wanted and other.references[row] == other.text(target)
    assert other.digest != found.digest


def test_other_tasks_have_no_targets_that_a_teacher_could_write() -> None:
    with pytest.raises(StageError, match=r"distill.written: text-generation has no targets that a teacher could write"):
        rewritten_rows(object(), 0.5, 0, "text-generation")  # type: ignore[arg-type]


def test_encoder_and_decoder_lose_layers_apart(model: Model, tmp_path: Path) -> None:
    for options, encoder, decoder in (({"layers": 1}, 1, 2), ({"decoder_layers": (1,)}, 2, 1)):
        student = derive_student(model, Student(**options), 0, [], [])
        config: Any = student.network.config
        assert (config.encoder_layers, config.decoder_layers) == (encoder, decoder)
        assert student.stepping is not None and len(student.stepping.signature.state) == 2 * decoder
        student.save(tmp_path / str(encoder))
        assert Model.load(tmp_path / str(encoder)).parameters == student.parameters < model.parameters
    with pytest.raises(ModelError, match=r"student.hidden: MarianMTModel has an encoder and a decoder that reads it"):
        derive_student(model, Student(hidden=8), 0, [], [])


def test_a_network_without_a_decoder_has_no_decoder_layers(tmp_path: Path) -> None:
    network = load_network(str(tiny_decoder(tmp_path)), "text-generation", trust_remote_code=False)
    task = load_task("text-generation")
    alone = Model(network, task.name, task.signature(network, task.load_processor(str(tmp_path)), DATA))
    with pytest.raises(ModelError, match=r"student.decoder_layers: LlamaForCausalLM has no decoder beside an encoder"):
        derive_student(alone, Student(decoder_layers=1), 0, [], [])


def test_a_student_from_a_configuration_takes_the_teachers_tokens(model: Model) -> None:
    config = {"model_type": "marian", "d_model": 8, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 16,
              "decoder_ffn_dim": 16, "encoder_attention_heads": 2, "decoder_attention_heads": 2, "vocab_size": 16,
              "max_position_embeddings": 64}  # fmt: skip
    found: Any = derive_student(model, Student(config=config), 0, [], []).network.config
    assert (found.pad_token_id, found.eos_token_id, found.decoder_start_token_id) == (PAD, END, START)


def test_init_finds_the_columns_and_its_template_is_a_recipe(tmp_path: Path) -> None:
    rows = [{"en": f"a man number {i}", "de": f"ein Mann {i}"} for i in range(20)]
    path = lines(tmp_path / "pairs.jsonl", rows)
    text = recipe_template(TASK, str(path))
    assert 'source: "en"' in text and 'target: "de"' in text
    (tmp_path / "recipe.yaml").write_text(text)
    assert Recipe.load(tmp_path / "recipe.yaml").benchmark.generated == 100


def test_metrics_of_generated_texts_are_asked_for_where_texts_are_made() -> None:
    recipe = {"name": "x", "task": TASK, "data": {"train": "a"}, "teacher": {"model": "b"}, "stages": [],
              "targets": ["onnxruntime-cpu"]}  # fmt: skip
    asked = {**recipe, "gates": {"metrics": {"bleu": {"min": 20}}}}
    with pytest.raises(RecipeError, match=r"'bleu' is of generated texts; say in benchmark.generated of how many"):
        parse_recipe(asked, "r")
    assert parse_recipe({**asked, "benchmark": {"generated": 10}}, "r").gates.metric_keys == ("bleu",)
    with pytest.raises(RecipeError, match=r"metric: text-to-text does not take 'bleu'"):
        parse_recipe({**recipe, "metric": "bleu"}, "r")
    with pytest.raises(RecipeError, match=r"benchmark.generated: text-generation makes no texts of sources"):
        parse_recipe({**recipe, "task": "text-generation", "benchmark": {"generated": 10}}, "r")


@pytest.mark.parametrize("rows", [[], [[3, 2], [], [4, 5, 2]]])
def test_rows_of_tokens_are_read_as_they_were_written(tmp_path: Path, rows: list[list[int]]) -> None:
    save_ragged(tmp_path, [np.array(row, np.int64) for row in rows])
    assert [row.tolist() for row in load_ragged(tmp_path)] == rows
