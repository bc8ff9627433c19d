from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from torch import Tensor, nn

from edgepress.targets.errors import ArtifactError
from edgepress.targets.pytorch import count_macs, load_program
from edgepress.targets.records import Candidate, Signature, TensorSpec
from tests.targets.tiny import Exported

FP32 = Candidate(name="fp32", precision="fp32")


def macs(module: nn.Module, *shape: int) -> int:
    x = TensorSpec(name="x", dtype="float32", shape=shape)
    model: Any = SimpleNamespace(module=module.eval(), signature=Signature(inputs=(x,), outputs=(), bounds={}))
    return count_macs(model, {"x": np.zeros(shape, np.float32)})


class Attention(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x @ x.transpose(1, 2)).softmax(-1) @ x


def test_macs_of_a_linear_layer() -> None:
    assert macs(nn.Linear(5, 7), 2, 3, 5) == 2 * 3 * 5 * 7


def test_macs_of_a_convolution() -> None:
    # 4 x 4 outputs, each of 3 x 3 x 2 products, in 6 channels.
    assert macs(nn.Conv2d(2, 6, 3), 1, 2, 6, 6) == 4 * 4 * 3 * 3 * 2 * 6


def test_macs_of_attention_count_both_products_of_activations() -> None:
    assert macs(Attention(), 2, 10, 4) == 2 * (10 * 10 * 4 + 10 * 10 * 4)


def test_the_archive_holds_no_pickle_and_no_example(exported: Callable[..., Exported]) -> None:
    case = exported("pytorch", "bert", FP32)
    with zipfile.ZipFile(case.folder / "model.pt2") as archive:
        sizes = {entry.filename: entry.file_size for entry in archive.infolist() if "sample_inputs" in entry.filename}
        assert set(sizes.values()) == {0}
        assert not any(archive.read(name).startswith(b"\x80\x02") for name in archive.namelist())


@pytest.mark.parametrize("hiding_place", ["sample_inputs/model.pt", "model_weights_config.json"])
def test_an_archive_with_a_pickle_is_refused(
    exported: Callable[..., Exported], tmp_path: Path, hiding_place: str
) -> None:
    source = exported("pytorch", "resnet", FP32).folder / "model.pt2"
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(tmp_path / "model.pt2", "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name.endswith(hiding_place):
                data = b"\x80\x02evil" if name.endswith(".pt") else _with_pickle(data)
            new.writestr(name, data)
    with pytest.raises(ArtifactError, match=f"holds pickled data .*{hiding_place}.*, which can run code"):
        load_program(tmp_path / "model.pt2")


def _with_pickle(config: bytes) -> bytes:
    content = json.loads(config)
    next(iter(content["config"].values()))["use_pickle"] = True
    return json.dumps(content).encode()
