"""Saving and loading edited models, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from edgepress.compress.methods.factorize.options import Factorize
from edgepress.compress.methods.factorize.svd import apply_ranks, plan_ranks
from edgepress.compress.methods.prune.options import Prune
from edgepress.compress.methods.prune.structured import apply_pruning, plan_pruning
from edgepress.compress.model.model import Model
from edgepress.compress.network.probing import probe_logits
from edgepress.targets.errors import ModelError
from tests.compress.tiny_models import feeds_of, tiny


def compressed(name: str) -> Model:
    """Pruned to odd sizes, then factorized."""
    model = tiny(name)
    feeds = feeds_of(model)
    shares = {"channels": 0.4} if name in ("resnet", "mobilenet_v2") else {"heads": 0.25, "ffn": 0.35}
    model = apply_pruning(model, plan_pruning(model, Prune(**shares), feeds, []))
    return apply_ranks(model, plan_ranks(model, Factorize(budget=0.6), feeds))


@pytest.mark.parametrize("name", ["bert", "distilbert", "electra", "vit", "resnet", "mobilenet_v2"])
def test_a_pruned_and_factorized_model_gives_the_same_logits_after_loading(name: str, tmp_path: Path) -> None:
    model = compressed(name)
    model.save(tmp_path)
    loaded = Model.load(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.json", "model.safetensors"]
    assert {edit.kind for edit in loaded.edits} == {"resize", "low_rank"}
    assert (loaded.edits, loaded.lineage, loaded.signature) == (model.edits, model.lineage, model.signature)
    assert loaded.parameters == model.parameters < tiny(name).parameters
    for feeds in feeds_of(model):
        assert torch.equal(probe_logits(loaded.network, feeds), probe_logits(model.network, feeds))


def test_a_loaded_model_can_be_trained_further(tmp_path: Path) -> None:
    compressed("bert").save(tmp_path)
    model = Model.load(tmp_path)
    feeds = {name: torch.from_numpy(value) for name, value in feeds_of(model)[0].items()}
    optimizer = torch.optim.SGD(model.network.parameters(), lr=0.1)
    losses = []
    for _ in range(5):
        loss = torch.nn.functional.cross_entropy(model.network(**feeds).logits, torch.tensor([0, 1, 0, 1]))
        optimizer.zero_grad()
        loss.backward()
        assert all(parameter.grad is not None for parameter in model.network.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_the_module_takes_inputs_in_signature_order_and_is_in_eval_mode() -> None:
    model = tiny("bert")
    feeds = feeds_of(model)[0]
    logits = model.module(*(torch.from_numpy(feeds[spec.name]) for spec in model.signature.inputs))
    assert torch.equal(logits, probe_logits(model.network, feeds))
    assert not model.module.training


def test_a_copy_has_weights_of_its_own() -> None:
    model = tiny("vit")
    with torch.no_grad():
        next(model.copy().network.parameters()).fill_(7)
    assert not bool((next(model.network.parameters()) == 7).all())


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    tiny("vit").save(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["config.json", "model.json", "model.safetensors"])
def test_a_missing_file_is_named(saved: Path, name: str) -> None:
    (saved / name).unlink()
    with pytest.raises(ModelError, match=f"{name} is missing. Run the stage that writes it again"):
        Model.load(saved)


@pytest.mark.parametrize("name", ["config.json", "model.json", "model.safetensors"])
def test_a_file_cut_short_is_called_damaged(saved: Path, name: str) -> None:
    path = saved / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ModelError, match=f"{name} is damaged"):
        Model.load(saved)


def test_an_unknown_architecture_is_refused(saved: Path) -> None:
    (saved / "config.json").write_text(json.dumps({"model_type": "no_such_model"}))
    with pytest.raises(ModelError, match="damaged or of an unknown architecture"):
        Model.load(saved)


def test_an_architecture_of_another_task_is_refused(saved: Path) -> None:
    (saved / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ModelError, match="BertConfig is no image-classification model"):
        Model.load(saved)


def test_weights_that_lack_one_are_refused(saved: Path) -> None:
    state = load_file(saved / "model.safetensors")
    del state["classifier.weight"]
    save_file(state, saved / "model.safetensors")
    with pytest.raises(ModelError, match=r"lacks 1 weights, first 'classifier\.weight'"):
        Model.load(saved)


def test_weights_of_another_size_are_refused(saved: Path) -> None:
    state = load_file(saved / "model.safetensors")
    state["classifier.weight"] = torch.zeros(3, 31)
    save_file(state, saved / "model.safetensors")
    with pytest.raises(ModelError, match=r"'classifier.weight' has shape \(3, 31\), the structure has shape \(3, 32\)"):
        Model.load(saved)


def test_edits_of_another_architecture_are_refused(saved: Path) -> None:
    card = json.loads((saved / "model.json").read_text())
    card["edits"] = [{"kind": "resize", "module": "bert.pooler", "sizes": {"in_features": 3}}]
    (saved / "model.json").write_text(json.dumps(card))
    with pytest.raises(ModelError, match=r"names module 'bert.pooler', which this architecture lacks"):
        Model.load(saved)


def test_a_stage_folder_that_wants_to_run_code_of_its_own_is_refused_without_a_question(saved: Path) -> None:
    """transformers asks on a terminal whether to run it; a run folder may be anybody's."""
    config = json.loads((saved / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Own"}}
    (saved / "config.json").write_text(json.dumps(config))
    (saved / "own.py").write_text("raise SystemExit('it ran')")
    with pytest.raises(ModelError, match=r"config.json is damaged or of an unknown architecture: "):
        Model.load(saved)
