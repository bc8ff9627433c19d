"""Students of fewer layers, of architectures whose layers differ or whose configuration says more than a number."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers import AutoConfig

from edgepress.compress.methods.student import derive_student
from edgepress.compress.model.model import Model, network_from_config
from edgepress.compress.network.layer_count import fitting
from edgepress.compress.recipe.recipe import Student
from edgepress.targets.errors import ModelError
from tests.compress.tiny_models import IMAGE, TEXT, image_signature, text_signature

SIZES = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 16}
LANGUAGE = TEXT | SIZES | {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
VISION = SIZES | {"image_size": 16, "patch_size": 8}
SWIN = {"image_size": 16, "patch_size": 4, "embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "window_size": 2}
NETWORKS: dict[str, dict[str, Any]] = {
    "longformer": LANGUAGE | {"attention_window": [4, 8, 4, 8]},
    "modernbert": LANGUAGE | {"cls_token_id": 1, "sep_token_id": 2, "global_attn_every_n_layers": 2},
    "llama": LANGUAGE,
    "gpt2": TEXT | {"n_embd": 16, "n_layer": 4, "n_head": 2, "pad_token_id": 0},
    "fnet": LANGUAGE,
    "beit": IMAGE | VISION,
    "dinov2": IMAGE | VISION,
    "siglip": {"num_labels": 3, "vision_config": VISION, "text_config": LANGUAGE},
}


def teacher_of(name: str) -> Model:
    torch.manual_seed(0)
    text = name in ("longformer", "modernbert", "llama", "gpt2", "fnet", "albert", "funnel", "t5")
    fields = NETWORKS.get(name) or {"albert": LANGUAGE | {"embedding_size": 8}, "swin": IMAGE | SWIN}[name]
    task = "text-classification" if text else "image-classification"
    network = network_from_config(AutoConfig.for_model(name, **fields), task).eval()
    return Model(network, task, text_signature() if text else image_signature(3, 16))  # type: ignore[arg-type]


def logits(model: Model) -> np.ndarray:
    ids = torch.arange(3, 15).view(2, 6)
    feeds = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if model.task == "image-classification":
        feeds = {"pixel_values": torch.linspace(-1, 1, 2 * 3 * 16 * 16).view(2, 3, 16, 16)}
    with torch.no_grad():
        found: np.ndarray = model.network.eval()(**feeds).logits.numpy()
    return found


@pytest.mark.parametrize("name", NETWORKS)
def test_a_student_of_half_the_layers_is_saved_and_read_again_as_it_is(name: str, tmp_path: Path) -> None:
    student = derive_student(teacher_of(name), Student(layers=2), 0, [], [])
    student.save(tmp_path)
    assert student.parameters < teacher_of(name).parameters
    np.testing.assert_array_equal(logits(Model.load(tmp_path)), logits(student))


def test_a_layer_that_is_built_otherwise_keeps_its_place() -> None:
    first, other = nn.Linear(2, 2, bias=False), [nn.Linear(2, 2) for _ in range(3)]
    assert fitting([first, *other], (1, 3)) == (0, 3)
    assert fitting(other, (0, 2)) == (0, 2)
    with pytest.raises(ModelError, match="no layer of the teacher from 3 on fits in place 1"):
        fitting([other[0], first, other[1]], (2, 2))


@pytest.mark.parametrize(
    ("name", "layers", "message"),
    [
        ("albert", 2, "AlbertForSequenceClassification uses one layer 4 times, so fewer of them are no smaller"),
        ("swin", 2, "SwinForImageClassification works in stages of different sizes, and none can be left out"),
        ("modernbert", (1, 2), r"layer 1 cannot take place 0, it is built otherwise than layer 0 \(attn_norm.weight\)"),
    ],
)
def test_what_has_no_layers_to_leave_out_says_why(name: str, layers: Any, message: str) -> None:
    with pytest.raises(ModelError, match=f"student.layers: {message}"):
        derive_student(teacher_of(name), Student(layers=layers), 0, [], [])
