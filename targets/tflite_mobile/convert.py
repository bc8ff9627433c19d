"""torch.export program → .tflite, in a process of its own: the converter logs and keeps its memory."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepress.targets.errors import TargetError, told
from edgepress.targets.graph.export import module_using
from edgepress.targets.process.quiet import quiet

if TYPE_CHECKING:
    import torch


def convert(request: dict[str, Any]) -> dict[str, Any]:
    """Runs in the child. `request`: `program` (a .pt2 file), `inputs` (names), `signatures` ({name: [shape, ...]}, one
    shape and dtype for each input) and `out`.

    Raises:
        TargetError: the converter refuses the program.
    """
    import torch

    with quiet():
        import litert_torch

        program = torch.export.load(request["program"])
        module = program.module(check_guards=False)
        make_contiguous(module)
        builder: Any = litert_torch
        for name, shapes in request["signatures"].items():
            examples = {
                key: _example(shape, dtype) for key, (shape, dtype) in zip(request["inputs"], shapes, strict=True)
            }
            builder = builder.signature(name, _wrapped(module, request["inputs"]), sample_kwargs=examples)
        try:
            builder.convert().export(request["out"])
        except Exception as fault:  # the converter's errors share no base class
            where = _where(program, str(fault))
            raise TargetError(f"litert-torch refused the model{where}: {told(fault)}") from fault
    return {"bytes": Path(request["out"]).stat().st_size}


def make_contiguous(module: torch.nn.Module) -> None:
    """The converter writes a non-contiguous weight, such as a factor of an SVD, as another matrix, without an error."""
    for tensor in (*module.parameters(), *module.buffers()):
        tensor.data = tensor.data.contiguous()


def _example(shape: list[int], dtype: str) -> torch.Tensor:
    import torch

    return torch.ones(shape, dtype=torch.int32 if dtype == "int64" else getattr(torch, dtype))


def _wrapped(module: torch.nn.Module, names: list[str]) -> torch.nn.Module:
    """Named int32 inputs, as the runtime takes them, for a module of positional int64 ones."""
    import torch

    class Named(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = module

        def forward(self, **inputs: torch.Tensor) -> dict[str, torch.Tensor]:
            given = [inputs[name] for name in names]
            wide = [value.long() if value.dtype == torch.int32 else value for value in given]
            return {"logits": self.inner(*wide)}

        def train(self, mode: bool = True) -> Named:
            return self  # an exported program is in eval mode and refuses to be told so

    return Named()


def _where(program: torch.export.ExportedProgram, message: str) -> str:
    """The module of the operation that `message` names first, in words; "" where it names none of the program's."""
    found = (module_using(program, operation) for operation in re.findall(r"\w+[.:]+(\w+)", message))
    return next(filter(None, found), "")
