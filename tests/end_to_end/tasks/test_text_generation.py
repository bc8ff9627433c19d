"""A decoder through a run: fine-tuned, pruned, recovered under its teacher, int8, released; text without torch."""

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
from edgepress.targets.records import STEP, Artifact
from tests.compress.rows import lines
from tests.compress.tiny import tiny_decoder, tiny_stories
from tests.end_to_end.conftest import finish, made_once
from tests.end_to_end.recipes import BENCHMARK, GENERATE_ALONE, edgepress, environment, stage_folder

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        targets.probe_all()["onnxruntime-cpu"].state == "missing", reason="the extra onnxruntime is not installed"
    ),
]

RECIPE: dict[str, Any] = {
    "name": "stories",
    "task": "text-generation",
    "data": {"train": "train.jsonl", "test": "test.jsonl", "max_length": 16, "calibration": 8,
             "validation_fraction": 0.2},
    "teacher": {"model": "teacher", "training": {"epochs": 12, "batch_size": 16, "learning_rate": 1e-2}},
    "stages": [
        {"prune": {"ffn": 0.25, "heads": 0.5, "importance": "taylor", "max_drop": 100.0,
                   "recover": {"epochs": 8, "batch_size": 16, "learning_rate": 1e-2}}},
        {"quantize": {"candidates": ["int8-dynamic"], "max_drop": 5.0, "min_int8_share": 0.05}},
    ],
    "targets": ["onnxruntime-cpu"],
    "benchmark": BENCHMARK,
    "gates": {"metrics": {"perplexity": {"max": 6.0}}},
}  # fmt: skip
PROMPT = "good bad fine"


def write_inputs(folder: Path) -> Path:
    tiny_decoder(folder / "teacher")
    lines(folder / "train.jsonl", tiny_stories(300))
    lines(folder / "test.jsonl", tiny_stories(60))
    return folder


@pytest.fixture(scope="module")
def run(shared_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    done = made_once(shared_folder / "stories", finish(RECIPE, write_inputs))
    return shutil.copytree(done, tmp_path_factory.mktemp("stories") / "copy")


def test_the_run_ends_with_an_int8_decoder_judged_by_perplexity(run: Path) -> None:
    """The best a model can do with steps of 1 (80 %) and 3 (20 %) is about 1.65; the vocabulary has 16 tokens."""
    report = json.loads((run / "runs/stories/report/report.json").read_text())
    (chosen,) = [row for row in report["candidates"] if row["chosen"]]
    figures = {figure["key"]: figure for figure in chosen["metrics"]}
    assert list(figures) == ["perplexity", "next-token-accuracy", "next-token-agreement"]
    assert chosen["precision"] == "int8" and 1.4 < figures["perplexity"]["value"] < 6.0
    assert figures["perplexity"]["low"] < figures["perplexity"]["value"] < figures["perplexity"]["high"]
    assert [gate["passed"] for gate in report["gates"]] == [True]
    assert "edgepress generate" in (run / "stdout").read_text()


def test_the_release_generates_what_torch_generates_with_its_model(run: Path) -> None:
    """fp32, token by token, of the student that was quantized: the very file that the release's int8 was made of."""
    from transformers import AutoTokenizer

    model = Model.load(stage_folder(run / "runs/stories", "03-prune"))
    made = stage_folder(run / "runs/stories", "04-quantize")
    fp32 = next(path.parent for path in made.rglob("artifact.json") if path.parent.name == "fp32")
    tokenizer = AutoTokenizer.from_pretrained(run / "teacher")
    with targets.open_bundle(fp32) as bundle:
        for prompt in (PROMPT, "plot", "a the not very actor scene good"):
            ids = tokenizer(prompt, return_tensors="pt")
            model.network.config.use_cache = True
            wanted = model.network.generate(  # type: ignore[operator,union-attr]
                input_ids=ids["input_ids"], attention_mask=ids["attention_mask"], max_new_tokens=16, do_sample=False,
                pad_token_id=2,
            )[0, ids["input_ids"].shape[1] :]  # fmt: skip
            text = bundle.generate(prompt, Sampling(max_new_tokens=16))
            assert str(text) == tokenizer.decode(wanted, skip_special_tokens=True)
            assert text.timing.new_tokens == len(wanted)


def test_a_student_that_lost_heads_keeps_a_smaller_cache(run: Path) -> None:
    artifact = Artifact.read(run / "runs/stories/release/onnxruntime-cpu/artifact.json")
    heads = [spec.shape[1] for spec in artifact.programs[STEP].inputs if spec.name.endswith(".key")]
    assert len(heads) == 2 and max(heads) <= 2
    assert [path.name for path in (run / "runs/stories/release/onnxruntime-cpu").glob("*.onnx")] == ["model.onnx"]


def test_text_is_generated_without_torch_and_streamed(run: Path) -> None:
    release = run / "runs/stories/release"
    command = [sys.executable, "-c", GENERATE_ALONE, str(release), PROMPT]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=120)
    assert done.returncode == 0, done.stderr
    pieces = json.loads(done.stdout)
    assert len(pieces) > 1
    told = edgepress(run, "generate", "runs/stories", PROMPT, "--max-new-tokens", "200")
    assert told.stdout.strip() == "".join(pieces).strip()
    assert "tokens/s" in told.stderr and "of the prompt: the first after" in told.stderr
    found = edgepress(run, "generate", "runs/stories", PROMPT, "--temperature", "1", "--top-k", "2", "--json")
    assert {"text", "first_ms", "tokens_per_second"} <= set(json.loads((found.stdout + found.stderr).splitlines()[-1]))


def test_what_cannot_be_done_is_one_line(run: Path) -> None:
    for arguments, words in (
        (("generate", "runs/stories", "good", "--top-p", "0.5"), "temperature 0 draws nothing"),
        (("generate", "runs/stories", "good " * 70), "and the model has 64 positions. Shorten it"),
        (("serve", "runs/stories/release"), "goes on with a text; rows alone are served"),
    ):
        done = edgepress(run, *arguments)
        assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr
