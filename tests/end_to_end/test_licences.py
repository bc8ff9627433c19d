"""A whole run whose teacher's card restricts: stopped, accepted, packaged as a stranger's tools read it, verified."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.end_to_end.recipes import edgepress

pytestmark = pytest.mark.slow
ACCEPTED = ("--recipe", "recipe.yaml", "--set", "accept_licence.teacher=we asked", "--set", "licences.data=cc0-1.0")


def package(folder: Path, *options: str) -> tuple[int, str]:
    done = edgepress(folder, "package", "runs/plain", *options)
    return done.returncode, done.stderr


def test_a_teacher_whose_card_restricts_is_packaged_with_a_reason_alone(plain_copy: Path) -> None:
    record = json.loads(Path("runs/plain/provenance.json").read_text())
    assert [one["part"] for one in record["inputs"]] == ["teacher.model", "data.train", "data.test"]
    Path("teacher/README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n")
    code, told = package(plain_copy)
    assert code == 3 and "the licence of teacher.model teacher is CC-BY-NC-4.0 by card, which restricts" in told
    code, told = package(plain_copy, *ACCEPTED, "--layout", "transformers-js")
    assert code == 0, told
    release = Path("runs/plain/release")
    manifest = json.loads((release / "manifest.json").read_text())
    assert [(one["verdict"], one["accepted"]) for one in manifest["inputs"]] == [
        ("restricts", "we asked"), ("permits", ""), ("permits", ""),
    ]  # fmt: skip
    done = edgepress(plain_copy, "verify", "runs/plain/release")
    assert (done.returncode, done.stderr) == (0, "")
    check_layout(release)


def check_layout(release: Path) -> None:
    """transformers and ONNX Runtime alone get from the layout what the released artifact gives."""
    from onnxruntime import InferenceSession
    from transformers import AutoConfig, AutoTokenizer

    from edgepress.targets import open_bundle

    place = release / "layouts/transformers-js"
    tokenizer, config = AutoTokenizer.from_pretrained(place), AutoConfig.from_pretrained(place)
    text = "good film"
    feeds = {name: value.astype(np.int64) for name, value in tokenizer(text, return_tensors="np").items()}
    (logits,) = InferenceSession(place / "onnx/model.onnx").run(None, feeds)
    assert (config.model_type, tokenizer.model_max_length) == ("bert", 32)
    with open_bundle(release) as bundle:
        (answer,) = bundle.predict([text])
    exact = np.exp(logits[0]) / np.exp(logits[0]).sum()
    assert np.allclose(list(answer.scores.values()), exact, atol=1e-6)
