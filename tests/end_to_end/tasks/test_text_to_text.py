"""An encoder-decoder through a run: trained from a configuration, distilled, int8, released; text without torch."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgepress import targets
from edgepress.compress.model.model import Model
from edgepress.targets.inference.generation import Sampling
from edgepress.targets.records import ENCODE, STEP, Artifact
from tests.compress.rows import lines
from tests.compress.tiny import tiny_decoder_tokenizer, tiny_pairs_of_texts
from tests.end_to_end.conftest import finish, made_once
from tests.end_to_end.recipes import BENCHMARK, GENERATE_ALONE, edgepress, environment, stage_folder

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        targets.probe_all()["onnxruntime-cpu"].state == "missing", reason="the extra onnxruntime is not installed"
    ),
]

MARIAN = {
    "model_type": "marian", "d_model": 32, "encoder_layers": 1, "decoder_layers": 2, "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64, "encoder_attention_heads": 4, "decoder_attention_heads": 4, "vocab_size": 16,
    "max_position_embeddings": 64, "dropout": 0.0, "init_std": 0.1,
}  # fmt: skip
RECIPE: dict[str, Any] = {
    "name": "nextwords",
    "task": "text-to-text",
    "data": {"train": "train.jsonl", "test": "test.jsonl", "max_length": 16, "calibration": 8, "prefix": "film : ",
             "validation_fraction": 0.2},
    "teacher": {"config": MARIAN, "tokenizer": "tokenizer",
                "training": {"epochs": 20, "batch_size": 16, "learning_rate": 5e-3}},
    "student": {"decoder_layers": 1, "layers": 1},
    "stages": [
        {"distill": {"hidden": 1.0, "written": 0.5,
                     "training": {"epochs": 10, "batch_size": 16, "learning_rate": 3e-3}}},
        {"quantize": {"candidates": ["int8-dynamic"], "max_drop": 5.0, "min_int8_share": 0.05}},
    ],
    "targets": ["onnxruntime-cpu"],
    "benchmark": {**BENCHMARK, "generated": 20},
    "gates": {"metrics": {"perplexity": {"max": 2.0}, "chrf": {"min": 80, "max_drop": 20}}},
}  # fmt: skip
SOURCE = "good bad fine"


def write_inputs(folder: Path) -> Path:
    tiny_decoder_tokenizer(pad=True).save_pretrained(folder / "tokenizer")
    lines(folder / "train.jsonl", tiny_pairs_of_texts(400))
    lines(folder / "test.jsonl", tiny_pairs_of_texts(60))
    return folder


@pytest.fixture(scope="module")
def run(shared_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    done = made_once(shared_folder / "nextwords", finish(RECIPE, write_inputs))
    return shutil.copytree(done, tmp_path_factory.mktemp("nextwords") / "copy")


def test_the_run_ends_with_an_int8_model_judged_by_perplexity(run: Path) -> None:
    report = json.loads((run / "runs/nextwords/report/report.json").read_text())
    (chosen,) = [row for row in report["candidates"] if row["chosen"]]
    figures = {figure["key"]: figure for figure in chosen["metrics"]}
    of_texts = ["bleu", "chrf", "exact-match"]
    assert list(figures) == ["perplexity", "next-token-accuracy", "next-token-agreement", *of_texts]
    assert figures["perplexity"]["primary"] and not any(figures[key]["primary"] for key in of_texts)
    assert 80 < figures["chrf"]["low"] <= figures["chrf"]["value"] <= figures["chrf"]["high"] <= 100
    assert figures["bleu"]["difference_low"] <= figures["bleu"]["difference"] <= figures["bleu"]["difference_high"]
    assert 0.5 < figures["exact-match"]["value"] <= 1
    assert chosen["precision"] == "int8" and 1.0 < figures["perplexity"]["value"] < 2.0
    assert [gate["passed"] for gate in report["gates"]] == [True, True, True]
    assert "edgepress generate" in (run / "stdout").read_text()


def test_the_release_generates_what_torch_generates_with_its_model(run: Path) -> None:
    """fp32, token by token, of the student that was quantized: the very files that the release's int8 was made of."""
    from transformers import AutoTokenizer

    model = Model.load(stage_folder(run / "runs/nextwords", "03-distill"))
    made = stage_folder(run / "runs/nextwords", "04-quantize")
    fp32 = next(path.parent for path in made.rglob("artifact.json") if path.parent.name == "fp32")
    tokenizer = AutoTokenizer.from_pretrained(run / "tokenizer")
    with targets.open_bundle(fp32) as bundle:
        for source in (SOURCE, "plot", "a the not very actor scene good"):
            ids = tokenizer(f"film : {source}", return_tensors="pt")
            model.network.config.use_cache = True
            wanted = model.network.generate(  # type: ignore[operator,union-attr]
                input_ids=ids["input_ids"], attention_mask=ids["attention_mask"], max_new_tokens=16, do_sample=False,
                num_beams=1, suppress_tokens=[15], eos_token_id=2, decoder_start_token_id=15,
            )[0, 1:]  # fmt: skip
            text = bundle.generate(source, Sampling(max_new_tokens=16))
            assert str(text) == tokenizer.decode(wanted, skip_special_tokens=True)
            assert text.timing.new_tokens == len(wanted)


def test_the_release_is_an_encoder_and_a_decoder(run: Path) -> None:
    folder = run / "runs/nextwords/release/onnxruntime-cpu"
    artifact = Artifact.read(folder / "artifact.json")
    assert set(artifact.programs) == {"main", ENCODE, STEP}
    assert sorted(path.name for path in folder.glob("*.onnx")) == ["decoder_model.onnx", "encoder_model.onnx"]


def test_text_is_generated_without_torch_and_streamed(run: Path) -> None:
    release = run / "runs/nextwords/release"
    command = [sys.executable, "-c", GENERATE_ALONE, str(release), SOURCE]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=120)
    assert done.returncode == 0, done.stderr
    pieces = json.loads(done.stdout)
    assert "".join(pieces) == "bad fine poor"
    told = edgepress(run, "generate", "runs/nextwords", SOURCE)
    assert told.stdout.strip() == "".join(pieces).strip()
    assert "tokens/s" in told.stderr


def test_what_cannot_be_done_is_one_line(run: Path) -> None:
    for arguments, words in (
        (("generate", "runs/nextwords", " "), "the source is empty. Give a text"),
        (("generate", "runs/nextwords", "good " * 70), "and the model has 64 positions. Shorten it"),
        (("serve", "runs/nextwords/release"), "goes on with a text; rows alone are served"),
    ):
        done = edgepress(run, *arguments)
        assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr
