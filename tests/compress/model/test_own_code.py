"""A network of the user's own code is run only by leave, as the file that was recorded, with weights that fit."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from edgepress.compress.model import code as codes
from edgepress.compress.model.code import allow, hand_over, network_of
from edgepress.compress.model.model import Model
from edgepress.compress.model.own import own_network
from edgepress.compress.model.references import CodeReference, code_reference
from edgepress.compress.recipe.recipe import Student, Teacher
from edgepress.compress.tasks import load_task
from edgepress.compress.tasks.outputs.classes import Classes
from edgepress.compress.tasks.trial import forward_names
from edgepress.targets.errors import ModelError
from edgepress.targets.records import Signature, TensorSpec

CODE = "from torch import nn\n\ndef build():\n    return nn.Linear(2, 1)\n"
TASK = "vector-classification"
HEAD = Classes().head(["a"])


@pytest.fixture(autouse=True)
def no_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is allowed before a test allows it."""
    monkeypatch.setattr(codes, "_BUILDERS", {})
    codes.GIVEN.clear()


def _file(folder: Path, text: str = CODE) -> str:
    (folder / "model.py").write_text(text, encoding="utf-8")
    return f"{folder / 'model.py'}:build"


def built(reference: CodeReference) -> nn.Module:
    allow(reference)
    return network_of(reference.sha256, reference.function, str(reference.path))


def own(text: str, **options: Any) -> Any:
    return own_network(text, options.get("weights"), options.get("states", ()), HEAD, TASK, "teacher")


def test_the_network_computes_with_the_weights_of_the_file(tmp_path: Path) -> None:
    save_file({"weight": torch.tensor([[2.0, 3.0]]), "bias": torch.tensor([1.0])}, tmp_path / "w.safetensors")
    allow(code_reference(_file(tmp_path)))
    network = own(_file(tmp_path), weights=str(tmp_path / "w.safetensors"))
    assert network(features=torch.tensor([[10.0, 100.0]])).logits.tolist() == [[321.0]]
    assert not network.own.training


def test_weights_that_do_not_fit_are_told_by_name(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(1, 3), "bias": torch.zeros(1)}, tmp_path / "w.safetensors")
    allow(code_reference(_file(tmp_path)))
    with pytest.raises(ModelError, match=r"'weight' has shape \(1, 3\), the structure has shape \(1, 2\)"):
        own(_file(tmp_path), weights=str(tmp_path / "w.safetensors"))


def test_the_digest_is_the_files(tmp_path: Path) -> None:
    assert code_reference(_file(tmp_path)).sha256 == hashlib.sha256(CODE.encode()).hexdigest()


def test_code_is_not_run_without_leave(tmp_path: Path) -> None:
    text = _file(tmp_path, f"open({str(tmp_path / 'ran')!r}, 'w')\n{CODE}")
    with pytest.raises(ModelError, match=r"model.py is code and would be run. Read it; if you trust it, give --allow-"):
        own(text)
    assert not (tmp_path / "ran").exists()


def test_leave_is_of_the_bytes_that_were_read(tmp_path: Path) -> None:
    allow(reference := code_reference(_file(tmp_path)))
    other = code_reference(_file(tmp_path, CODE + "# other\n"))
    with pytest.raises(ModelError, match="is code and would be run"):
        network_of(other.sha256, other.function, "model.py")
    with pytest.raises(ModelError, match=r"has changed: its sha256 was .* and is "):
        network_of(reference.sha256, reference.function, "model.py")


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
        built(code_reference(_file(tmp_path, code)))


@pytest.mark.parametrize("text", ["model.py", "model:build", "model.py:", "model.py:a b", ""])
def test_what_is_no_reference_is_told(text: str) -> None:
    with pytest.raises(ModelError, match=r"student.code .* names no function of a Python file. Write it as model.py:"):
        code_reference(text, "student")


def test_a_missing_file_and_a_module_that_nobody_handed_over_are_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"teacher.code .*: .*none.py cannot be read \(No such file or directory\)"):
        code_reference(f"{tmp_path}/none.py:build")
    with pytest.raises(
        ModelError, match=r"teacher.code is python: hand the module over, run\(recipe, teacher=module\)"
    ):
        code_reference("python")


class Given(nn.Module):
    """Gives what `form` makes of its logits."""

    def __init__(self, form: Callable[[torch.Tensor], Any] = lambda logits: logits) -> None:
        super().__init__()
        self.stem = nn.Linear(2, 3)
        self.head = nn.Linear(3, 1)
        self.form = form

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> Any:
        return self.form(self.head(self.stem(left + right)))


ROW = {"left": torch.ones(1, 2), "right": torch.ones(1, 2)}


@pytest.mark.parametrize(
    "form",
    [
        lambda logits: logits,
        lambda logits: (logits, "features"),
        lambda logits: {"features": 1, "logits": logits},
        lambda logits: SimpleNamespace(logits=logits),
    ],
)
def test_logits_come_alone_first_or_by_name(form: Any) -> None:
    hand_over(module := Given(form), "teacher")
    network = own("python")
    wanted = module.head(module.stem(torch.full((1, 2), 2.0)))
    assert torch.equal(network(**ROW).logits, wanted)
    assert forward_names(network) == {"left", "right", "input"}


def test_an_output_without_logits_is_told() -> None:
    hand_over(Given(lambda logits: {"x": logits}), "teacher")
    with pytest.raises(TypeError, match="forward gives a dict: it must give logits, alone, first or by that name"):
        own("python")(**ROW)


def test_states_are_the_outputs_of_the_modules_that_they_name() -> None:
    hand_over(module := Given(), "teacher")
    states = own("python", states=("stem", "head"))(**ROW, output_hidden_states=True).hidden_states
    stem = module.stem(torch.full((1, 2), 2.0))
    assert torch.equal(states[0][:, 0], stem) and torch.equal(states[1][:, 0], module.head(stem))
    assert not any(one._forward_hooks for one in module.modules())
    with pytest.raises(ModelError, match=r"states: the network has no module 'stam'; it has head, stem"):
        own("python", states=("stam",))


def test_a_run_works_on_copies_of_what_was_handed_over() -> None:
    hand_over(module := Given(), "teacher")
    network, before = own("python"), module.head.weight.clone()
    with torch.no_grad():
        network.own.head.weight += 1
    assert torch.equal(module.head.weight, before) and torch.equal(own("python").own.head.weight, before)


def test_a_module_is_known_by_its_structure_and_weights() -> None:
    digests = set()
    torch.manual_seed(0)
    for module in (Given(), Given(), nn.Linear(2, 1)):
        hand_over(module, "teacher")
        digests.add(code_reference("python").sha256)
        hand_over(module, "teacher")
        assert code_reference("python").sha256 in digests
    assert len(digests) == 3


def test_another_forward_or_constant_is_another_module() -> None:
    """Of the same name, structure and weights, as an edited script gives it."""

    def made(scale: int, factor: float = 1.0) -> nn.Module:
        class Same(nn.Linear):
            def forward(self, features: torch.Tensor) -> torch.Tensor:
                return super().forward(features) * self.factor

        class Other(nn.Linear):
            def forward(self, features: torch.Tensor) -> torch.Tensor:
                return super().forward(features) * self.factor + 1

        Same.__qualname__ = Other.__qualname__ = Same.__name__ = Other.__name__ = "Net"
        torch.manual_seed(0)
        found = (Same if scale == 1 else Other)(2, 1)
        found.factor = factor  # type: ignore[assignment]
        return found

    def digest(module: nn.Module) -> str:
        hand_over(module, "teacher")
        return code_reference("python").sha256

    assert digest(made(1)) == digest(made(1))
    assert len({digest(made(1)), digest(made(2)), digest(made(1, 2.0))}) == 3


def test_what_becomes_of_a_module_after_it_was_handed_over_changes_no_run() -> None:
    hand_over(module := Given(), "teacher")
    before = own("python").own.head.weight.clone()
    with torch.no_grad():
        module.head.weight += 1
    assert torch.equal(own("python").own.head.weight, before)


def test_a_saved_model_is_rebuilt_from_reference_edits_and_weights_alone(tmp_path: Path) -> None:
    allow(code_reference(text := _file(tmp_path)))
    signature = Signature(
        inputs=(TensorSpec(name="features", dtype="float32", shape=("batch", 2)),),
        outputs=(TensorSpec(name="logits", dtype="float32", shape=("batch", 1)),),
        bounds={"batch": (1, 4)},
    )
    Model(own(text), TASK, signature).save(tmp_path / "saved")
    loaded: Any = Model.load(tmp_path / "saved").network
    assert sorted(path.name for path in (tmp_path / "saved").iterdir()) == [
        "config.json", "model.json", "model.safetensors",
    ]  # fmt: skip
    assert loaded.config.sha256 == code_reference(text).sha256 and load_task(TASK).outputs.labels(loaded.config) == (
        "a",
    )
    codes._BUILDERS.clear()
    with pytest.raises(ModelError, match="is code and would be run"):
        Model.load(tmp_path / "saved")


@pytest.mark.parametrize(
    ("section", "options", "words"),
    [
        (Teacher, {"model": "a", "code": "b.py:c"}, "give one of 'model' .*, 'config' .* and 'code'"),
        (Teacher, {}, "give one of 'model'"),
        (Teacher, {"model": "a", "weights": "w"}, "'weights' and 'states' go with 'code'"),
        (
            Student,
            {"layers": 2, "code": "b.py:c"},
            "'model', 'config', 'code' and sizes derived from the teacher exclude",
        ),
        (Student, {"states": ["a"]}, "'states' go with 'code'"),
    ],
)
def test_sources_exclude_each_other(section: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        section(**options)
