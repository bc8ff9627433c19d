"""Decoders: one graph is prefill and step, its steps are compared with torch, and "main" begins without a cache."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgepress import targets
from edgepress.compress.model.loading import load_network
from edgepress.compress.model.model import Model
from edgepress.compress.model.stepping import Cached, number_layers
from edgepress.compress.recipe.data import Data
from edgepress.compress.tasks import load_task
from edgepress.targets.acceptance.steps import accept_steps
from edgepress.targets.errors import ModelError, TargetError
from edgepress.targets.exportable import stepping_of
from edgepress.targets.records import STEP, Candidate
from tests.compress.tiny import tiny_decoder

TASK, DATA = "text-generation", Data(train="unused", max_length=16)
FP32 = Candidate(name="fp32", precision="fp32")


def decoder(folder: Path, architecture: str = "llama", layers: int = 2) -> Model:
    tiny_decoder(folder, architecture, layers)
    task = load_task(TASK)
    network = load_network(str(folder), TASK, trust_remote_code=False)
    return Model(network, TASK, task.signature(network, task.load_processor(str(folder)), DATA))


def batches() -> list[dict[str, np.ndarray]]:
    random = np.random.default_rng(0)
    ids = random.integers(3, 15, (4, 8))
    return [{"input_ids": ids, "attention_mask": np.ones_like(ids)}]


class InTorch:
    """The torch model's own steps as a session; `spoil` changes what it gives."""

    def __init__(self, stepping: Any, spoil: Any = None) -> None:
        self.stepping, self.spoil = stepping, spoil

    def infer(self, feeds: Any, program: str = "main") -> dict[str, np.ndarray]:
        from edgepress.targets.acceptance.reference import run_torch

        (found,) = run_torch(self.stepping, [self.spoil(feeds) if self.spoil else feeds])
        return dict(found)


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gpt_neox"])
def test_steps_in_torch_are_the_whole_sequence(tmp_path: Path, architecture: str) -> None:
    """The logits of the last token of seven are the same at once and by three, three and one."""
    model = decoder(tmp_path, architecture)
    step = model.stepping
    assert step is not None
    ids = torch.from_numpy(np.random.default_rng(1).integers(3, 15, (2, 7)))
    with torch.no_grad():
        whole = model.network(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        state = [torch.zeros(2, spec.shape[1], 0, spec.shape[3]) for spec in step.signature.inputs[2:]]
        for start, end in ((0, 3), (3, 6), (6, 7)):
            logits, *state = step.module(ids[:, start:end], torch.ones(2, end, dtype=torch.int64), *state)
    assert torch.allclose(logits[:, -1], whole[:, -1], atol=1e-5)


def test_layers_of_a_student_are_numbered_as_a_cache_counts_them(tmp_path: Path) -> None:
    network: Any = decoder(tmp_path, layers=3).network
    del network.model.layers[1]
    number_layers(network)
    assert [layer.self_attn.layer_idx for layer in network.model.layers] == [0, 1]


def test_a_network_without_caches_is_one_line(tmp_path: Path) -> None:
    model = decoder(tmp_path)

    class NoCache(torch.nn.Module):
        def __init__(self, network: Any) -> None:
            super().__init__()
            self.network, self.config = network, network.config

        def forward(self, input_ids: Any, attention_mask: Any, use_cache: bool = False, **_: Any) -> Any:
            return self.network(input_ids=input_ids, attention_mask=attention_mask)

    with pytest.raises(ModelError, match="NoCache gives no keys and values of each layer for a next step to take"):
        _ = replace(model, network=NoCache(model.network)).stepping


def test_a_cache_or_mask_that_is_passed_over_is_refused(tmp_path: Path) -> None:
    step = stepping_of(decoder(tmp_path))
    assert step is not None and isinstance(step.module, Cached)
    accept_steps(InTorch(step), step, "fp32")

    def unmasked(feeds: Any) -> Any:
        return {**feeds, "attention_mask": np.ones_like(feeds["attention_mask"])}

    def forgetful(feeds: Any) -> Any:
        return {name: value * 0 if name.startswith("past") else value for name, value in feeds.items()}

    for spoil in (unmasked, forgetful):
        with pytest.raises(TargetError, match=r"the exported decoder differs from the torch model over 12 steps: SQNR"):
            accept_steps(InTorch(step, spoil), step, "fp32")

    def frozen(feeds: Any) -> Any:
        if feeds["attention_mask"].shape[1] > 7:
            raise RuntimeError("Got invalid dimensions for input: past_key_values.0.key")
        return feeds

    with pytest.raises(TargetError, match=r"the exported decoder fails at step 3: .*Got invalid dimensions"):
        accept_steps(InTorch(step, frozen), step, "fp32")


def test_one_file_is_prefill_and_step_and_generates_what_torch_generates(tmp_path: Path) -> None:
    model = decoder(tmp_path / "model")
    target = targets.load("onnxruntime-cpu")
    int8 = next(one for one in target.candidates(model, "int8") if one.name == "int8-dynamic")
    results = list(target.export_all(model, batches(), [FP32, int8], tmp_path / "out"))
    assert [getattr(result, "reason", "") for result in results] == ["", ""]
    for artifact, most in zip(results, (1e-4, 0.5), strict=True):
        assert set(artifact.programs) == {"main", STEP}  # type: ignore[union-attr]
        folder = tmp_path / "out" / artifact.candidate.name
        assert [path.name for path in folder.glob("*.onnx*")] == ["model.onnx"]
        with targets.of(artifact).open(artifact, folder) as session:  # type: ignore[arg-type]
            (feeds,) = batches()
            with torch.no_grad():
                want = model.network(**{name: torch.from_numpy(value) for name, value in feeds.items()}).logits
            assert np.abs(session.infer(feeds)["logits"] - want.numpy()).max() < most
