"""Encoder-decoders: a file reads the source, another makes the target step by step, and "main" is both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgepress import targets
from edgepress.compress.model.loading import load_network
from edgepress.compress.model.model import Model
from edgepress.compress.recipe.data import Data
from edgepress.compress.tasks import load_task
from edgepress.targets.acceptance.seq2seq import accept_pair
from edgepress.targets.device.needs import handed_on
from edgepress.targets.errors import TargetError
from edgepress.targets.exportable import stepping_of
from edgepress.targets.records import ENCODE, STEP, Candidate
from tests.compress.tiny import tiny_pair

TASK, DATA = "text-to-text", Data(train="unused", max_length=16)
FP32 = Candidate(name="fp32", precision="fp32")
ARCHITECTURES = ("t5", "marian", "bart")


def pair(folder: Path, architecture: str = "t5") -> Model:
    tiny_pair(folder, architecture)
    task = load_task(TASK)
    network = load_network(str(folder), TASK, trust_remote_code=False)
    return Model(network, TASK, task.signature(network, task.load_processor(str(folder)), DATA))


def batches() -> list[dict[str, np.ndarray]]:
    random = np.random.default_rng(0)
    ids, before = random.integers(3, 15, (2, 4, 8))
    mask = np.ones_like(ids)
    mask[1, 5:] = 0
    return [{"input_ids": ids, "attention_mask": mask, "decoder_input_ids": before}]


class InTorch:
    """The torch model's own programs as a session; `spoil` changes what it is fed."""

    def __init__(self, stepping: Any, spoil: Any = None) -> None:
        self.stepping, self.spoil = stepping, spoil

    def infer(self, feeds: Any, program: str = "main") -> dict[str, np.ndarray]:
        from edgepress.targets.acceptance.reference import run_torch

        part = self.stepping.encoder if program == ENCODE else self.stepping
        (found,) = run_torch(part, [self.spoil(feeds) if self.spoil else feeds])
        return dict(found)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_steps_in_torch_are_the_whole_target(tmp_path: Path, architecture: str) -> None:
    """The logits of the last of seven tokens are the same at once and by three, three and one."""
    model = pair(tmp_path, architecture)
    step = model.stepping
    assert step is not None and step.encoder is not None
    (feeds,) = batches()
    tokens = torch.from_numpy(feeds["decoder_input_ids"][:, :7])
    source, mask = torch.from_numpy(feeds["input_ids"]), torch.from_numpy(feeds["attention_mask"])
    with torch.no_grad():
        whole = model.network(input_ids=source, attention_mask=mask, decoder_input_ids=tokens).logits
        names = [spec.name for spec in step.encoder.signature.outputs]
        given: Any = handed_on(dict(zip(names, step.encoder.module(source, mask), strict=True)))
        feeds = {name: torch.from_numpy(value) for name, value in step.signature.zeros(
            batch=4, source=8, sequence=1, past=0).items()} | given  # fmt: skip
        for start, end in ((0, 3), (3, 6), (6, 7)):
            feeds |= {"input_ids": tokens[:, start:end], "encoder_attention_mask": mask}
            logits, *state = step.module(*(feeds[spec.name] for spec in step.signature.inputs))
            feeds |= dict(zip(step.signature.state.values(), state, strict=True))
    assert torch.allclose(logits[:, -1], whole[:, -1], atol=1e-5)


def test_a_mask_or_cache_that_is_passed_over_is_refused(tmp_path: Path) -> None:
    model = pair(tmp_path)
    step = stepping_of(model)
    assert step is not None
    accept_pair(InTorch(step), model, step, "fp32")

    def unmasked(feeds: Any) -> Any:
        return {name: np.ones_like(value) if name.endswith("mask") else value for name, value in feeds.items()}

    def forgetful(feeds: Any) -> Any:
        return {name: value * 0 if ".decoder." in name else value for name, value in feeds.items()}

    def of_another(feeds: Any) -> Any:
        return {name: value[::-1].copy() if ".encoder." in name else value for name, value in feeds.items()}

    for spoil in (unmasked, forgetful, of_another):
        with pytest.raises(TargetError, match=r"encoder-decoder differs from the torch model over 12 steps: SQNR"):
            accept_pair(InTorch(step, spoil), model, step, "fp32")


def test_two_files_answer_whole_rows_as_torch_does(tmp_path: Path) -> None:
    model = pair(tmp_path / "model", "marian")
    target = targets.load("onnxruntime-cpu")
    int8 = next(one for one in target.candidates(model, "int8") if one.name == "int8-dynamic")
    results = list(target.export_all(model, batches(), [FP32, int8], tmp_path / "out"))
    assert [getattr(result, "reason", "") for result in results] == ["", ""]
    for artifact, most in zip(results, (1e-4, 0.5), strict=True):
        assert set(artifact.programs) == {"main", ENCODE, STEP}  # type: ignore[union-attr]
        folder = tmp_path / "out" / artifact.candidate.name
        assert sorted(path.name for path in folder.glob("*.onnx*")) == ["decoder_model.onnx", "encoder_model.onnx"]
        with targets.of(artifact).open(artifact, folder) as session:  # type: ignore[arg-type]
            (feeds,) = batches()
            with torch.no_grad():
                want = model.network(**{name: torch.from_numpy(value) for name, value in feeds.items()}).logits
            assert np.abs(session.infer(feeds)["logits"] - want.numpy()).max() < most
        macs = targets.of(artifact).macs(artifact, folder, feeds)  # type: ignore[arg-type]
        assert macs is not None and macs.total > 0 and (macs.int8 > 0) == (artifact.candidate.precision == "int8")
