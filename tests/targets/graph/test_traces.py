"""Networks whose trace was refused, or lost an input, for no reason of their own."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig

from edgepress.compress.model.model import Model, network_from_config
from edgepress.targets import load
from edgepress.targets.errors import TargetError
from edgepress.targets.graph.export import export_program
from edgepress.targets.records import Candidate, Signature, TensorSpec
from tests.compress.tiny_models import TEXT

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 32}
LANGUAGE = TEXT | SIZES | {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
NETWORKS: dict[str, dict[str, Any]] = {
    "deberta-v2": LANGUAGE | {"type_vocab_size": 0},
    "mobilebert": LANGUAGE
    | {"embedding_size": 16, "intra_bottleneck_size": 16, "true_hidden_size": 16, "num_feedforward_networks": 2},
    "gemma2": LANGUAGE | {"num_key_value_heads": 2, "head_dim": 8, "sliding_window": 8},
    "longformer": LANGUAGE | {"attention_window": [4, 4]},
}


def model_of(name: str, *inputs: str) -> Model:
    torch.manual_seed(0)
    network = network_from_config(AutoConfig.for_model(name, **NETWORKS[name]), "text-classification").eval()
    signature = Signature(
        inputs=tuple(TensorSpec(name=one, dtype="int64", shape=("batch", "sequence")) for one in inputs),
        outputs=(TensorSpec(name="logits", dtype="float32", shape=("batch", 2)),),
        bounds={"batch": (1, 8), "sequence": (2, 20)},
    )
    return Model(network, "text-classification", signature)


def feeds_of(model: Model, length: int = 11, rows: int = 3) -> dict[str, np.ndarray]:
    ids = np.random.default_rng(0).integers(3, 50, (rows, length))
    known = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    return {spec.name: known[spec.name] for spec in model.signature.inputs}


@pytest.mark.parametrize(
    ("name", "inputs"),
    [
        ("deberta-v2", ("input_ids", "token_type_ids", "attention_mask")),
        ("mobilebert", ("input_ids", "attention_mask")),
        ("gemma2", ("input_ids", "attention_mask")),
    ],
)
def test_a_network_answers_like_torch_at_every_length_and_with_every_input(
    name: str, inputs: tuple[str, ...], tmp_path: Path
) -> None:
    model, target = model_of(name, *inputs), load("onnxruntime-cpu")
    artifact = target.export(model, [feeds_of(model)], Candidate(name="fp32", precision="fp32"), tmp_path)
    assert [spec.name for spec in artifact.signature.inputs] == list(inputs)
    with target.open(artifact, tmp_path) as session:
        for length in (2, 3, 20):
            feeds = feeds_of(model, length)
            wanted = model.module(*(torch.from_numpy(feeds[name]) for name in inputs)).detach().numpy()
            np.testing.assert_allclose(session.infer(feeds)["logits"], wanted, atol=1e-5)


def test_a_refused_trace_is_one_line_that_names_the_module_and_the_place(capfd: pytest.CaptureFixture[str]) -> None:
    model = model_of("longformer", "input_ids", "attention_mask")
    with pytest.raises(TargetError) as told:
        export_program(model, feeds_of(model))
    message = str(told.value)
    assert message.startswith("torch.export refused the model (in module 'network.longformer.encoder.layer.0.")
    assert "\n" not in message and "modeling_longformer.py line " in message
    assert capfd.readouterr() == ("", "")
