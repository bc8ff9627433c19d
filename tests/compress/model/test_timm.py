"""timm's models as teachers, with a torchvision that was built for another torch than the one that is here."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from edgepress.compress.data.rows import Rows
from edgepress.compress.model.hub import allow_foreign_torchvision
from edgepress.compress.model.loading import label_names, load_network
from edgepress.compress.model.model import Model
from edgepress.compress.recipe.data import Data
from edgepress.compress.tasks import load_task
from edgepress.compress.tasks.inference import logits_of
from tests.compress.rows import IMAGE
from tests.end_to_end.recipes import environment

FOREIGN = """
import torch

@torch.library.register_fake("torchvision::nms")
def one(dets, scores, iou_threshold):
    return dets

@torch.library.register_fake("torchvision::qnms")
def other(dets, scores, iou_threshold):
    return dets

LOADED = True
"""
"""What torchvision does on import, its compiled half missing."""


@pytest.mark.parametrize(("content", "words"), [(FOREIGN, "True"), ("raise RuntimeError('of its own')", "of its own")])
def test_a_torchvision_of_another_build_is_imported_for_what_needs_no_kernel(
    tmp_path: Path, content: str, words: str
) -> None:
    (tmp_path / "torchvision.py").write_text(content)
    code = "from edgepress.compress.model.hub import allow_foreign_torchvision as allow; allow(); allow()"
    path = environment()["PYTHONPATH"]
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; import torchvision; print(torchvision.LOADED)"],
        env=environment(PYTHONPATH=f"{tmp_path}:{path}"), capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert words in (done.stdout if words == "True" else done.stderr)


@pytest.mark.skipif(find_spec("timm") is None, reason="needs timm and torchvision: the extra timm")
def test_a_timm_model_is_a_teacher(tmp_path: Path) -> None:
    allow_foreign_torchvision()
    import timm
    from safetensors.torch import save_file

    torch.manual_seed(0)
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=3).eval()
    weights = {f"timm_model.{name}": value.contiguous() for name, value in network.state_dict().items()}
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    pixels = {"input_size": [3, 32, 32], "interpolation": "bicubic", "mean": [0.5] * 3, "std": [0.5] * 3}
    said = {"model_type": "timm_wrapper", "architecture": "tf_efficientnet_lite0", "num_classes": 3}
    named = {"label_names": ["a", "b", "c"], "pretrained_cfg": pixels | {"crop_pct": 1.0, "num_classes": 3}}
    (tmp_path / "config.json").write_text(json.dumps(said | named))

    task, data = load_task(IMAGE), Data(train="unused")
    assert label_names(str(tmp_path), IMAGE, trust_remote_code=False) == ("a", "b", "c")
    loaded, made = load_network(str(tmp_path), IMAGE, False), task.load_processor(str(tmp_path))
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    features = task.features(Rows(np.array([0, 1]), "mine", images=images), made, data)
    found = logits_of(Model(loaded, IMAGE, task.signature(loaded, made, data)), features)
    with torch.no_grad():
        wanted = network(torch.from_numpy((images / 255 - 0.5) / 0.5).permute(0, 3, 1, 2).float())
    assert found == pytest.approx(wanted.numpy(), rel=1e-4, abs=1e-4)
