"""A network of the user's own code is run only by leave, as the file that was recorded, with weights that fit."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from edgepress.compress.model.code import code_reference, network_from_code
from edgepress.targets.errors import ModelError

CODE = "from torch import nn\n\ndef build():\n    return nn.Linear(2, 1)\n"


def _file(folder: Path, text: str = CODE) -> str:
    (folder / "model.py").write_text(text, encoding="utf-8")
    return f"{folder / 'model.py'}:build"


def test_the_network_computes_with_the_weights_of_the_file(tmp_path: Path) -> None:
    save_file({"weight": torch.tensor([[2.0, 3.0]]), "bias": torch.tensor([1.0])}, tmp_path / "w.safetensors")
    network = network_from_code(code_reference(_file(tmp_path)), tmp_path / "w.safetensors", allow_code=True)
    assert network(torch.tensor([[10.0, 100.0]])).tolist() == [[321.0]]
    assert not network.training


def test_the_digest_is_the_files(tmp_path: Path) -> None:
    assert code_reference(_file(tmp_path)).sha256 == hashlib.sha256(CODE.encode()).hexdigest()


def test_code_is_not_run_without_leave(tmp_path: Path) -> None:
    reference = code_reference(_file(tmp_path, f"open({str(tmp_path / 'ran')!r}, 'w')\n{CODE}"))
    with pytest.raises(ModelError, match=r"is code and would be run.*give --allow-code"):
        network_from_code(reference, None, allow_code=False)
    assert not (tmp_path / "ran").exists()


def test_changed_code_is_noticed(tmp_path: Path) -> None:
    reference = code_reference(_file(tmp_path))
    _file(tmp_path, CODE + "# other\n")
    with pytest.raises(ModelError, match=r"has changed: its sha256 was .* and is "):
        network_from_code(reference, None, allow_code=True)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("def build(:\n", "cannot be run"),
        ("x = 1\n", "has no function 'build'"),
        ("def build():\n    return 3\n", "gives a int; it must give a torch.nn.Module"),
        ("def build():\n    raise ValueError('no size')\n", "fails: .*no size"),
    ],
)
def test_bad_code_is_told(tmp_path: Path, code: str, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        network_from_code(code_reference(_file(tmp_path, code)), None, allow_code=True)


def test_weights_that_do_not_fit_are_told(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(1, 2)}, tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match="lacks 1 weights, first 'bias'"):
        network_from_code(code_reference(_file(tmp_path)), tmp_path / "w.safetensors", allow_code=True)


@pytest.mark.parametrize(("text", "words"), [("model.py", "Write it as model.py:build"), ("no.py:build", "no file")])
def test_bad_references_are_told(text: str, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        code_reference(text)
