"""Which layers train as int8, which of them read one tensor, and with which ranges they start."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from edgepress.compress.methods.qat.folding import fold_norms
from edgepress.compress.methods.qat.options import QuantizationAware
from edgepress.compress.model.edits import Edit, apply_edits
from edgepress.compress.model.fake_layers import FAKE_KINDS, products
from edgepress.compress.model.fake_quant import AFFINE, SYMMETRIC
from edgepress.compress.model.model import Model
from edgepress.compress.network.probing import hooked, observe, tensors
from edgepress.targets.calibration.calibrators import choose_range
from edgepress.targets.calibration.statistics import Histogram, Range
from edgepress.targets.errors import StageError
from edgepress.targets.graph.export import is_transformer
from edgepress.targets.records import Feeds, Record

KINDS = dict(zip(("observed", "learned"), FAKE_KINDS, strict=True))


class InputPlan(Record):
    """One tensor, the layers that read it, and the range that it starts with."""

    modules: tuple[str, ...]
    low: float
    high: float

    def describe(self) -> str:
        return f"[{self.low:9.4f}, {self.high:9.4f}]  {', '.join(self.modules)}"


class QatPlan(Record):
    """All layers that train as int8, by what they read, and the names of the batch norms that are folded before."""

    options: QuantizationAware
    inputs: tuple[InputPlan, ...]
    folded: tuple[str, ...]

    @property
    def changes(self) -> bool:
        """A training always does."""
        return True

    @property
    def summary(self) -> str:
        """One line: how many layers, what ranges follow, and the norms."""
        layers = sum(len(one.modules) for one in self.inputs)
        asked = f"{self.options.method} ranges, {self.options.activations} activations, start {self.options.start}"
        return f"{layers} layers train as int8: {asked}, {len(self.folded)} batch norms folded"

    def describe(self) -> str:
        return "\n".join([self.summary, *(one.describe() for one in self.inputs)])

    def __str__(self) -> str:
        return self.describe()

    @property
    def edits(self) -> tuple[Edit, ...]:
        """What turns the layers into those that multiply as int8 does."""
        levels = AFFINE if self.options.activations == "affine" else SYMMETRIC
        kind: Any = KINDS[self.options.method]
        return tuple(
            Edit(kind=kind, module=name, sizes={"levels": levels, "input": number})
            for number, one in enumerate(self.inputs, 1)
            for name in one.modules
        )


def plan_qat(model: Model, options: QuantizationAware, calibration: Sequence[Feeds]) -> QatPlan:
    """Find the layers, and calibrate what they read.

    Args:
        options: say how ranges start.
        calibration: batches that the first ranges are taken from, each `{input: array}`.

    Raises:
        StageError: there is no such layer, none of them was run, or activations are not finite.
    """
    folded, norms = fold(model, calibration)
    groups = readers(folded.network, multiplied(folded.network), calibration[0])
    if not groups:
        raise StageError(
            f"qat: {type(model.network).__name__} has no Linear or Conv2d layer that runs: nothing would be int8. "
            f"Leave the stage out."
        )
    histograms = dict.fromkeys((names[0] for names in groups), Histogram())

    def see(name: str) -> Any:
        def add(_: nn.Module, values: torch.Tensor, *__: Any) -> None:
            if not torch.isfinite(values).all():
                raise StageError(f"qat: what {name} reads is not finite. Check the weights and the calibration data.")
            histograms[name] = histograms[name].add(values.float().cpu().numpy())

        return add

    observe(folded.network, {name: see(name) for name in histograms}, calibration)
    ranges = {name: choose_range(options.start, histogram) for name, histogram in histograms.items()}
    return QatPlan(options=options, inputs=tuple(_planned(names, ranges[names[0]]) for names in groups), folded=norms)


def multiplied(network: nn.Module) -> list[str]:
    """The layers that targets make int8, by name: ONNX Runtime and TFLite leave the convolutions of transformers float,
    those that make patches of a picture."""
    found = products(network)
    linear_alone = bool(found) and is_transformer(network)
    return [name for name, layer in found.items() if not (linear_alone and isinstance(layer, nn.Conv2d))]


def _planned(names: Sequence[str], found: Range) -> InputPlan:
    return InputPlan(modules=tuple(names), low=found.low, high=found.high)


def fold(model: Model, calibration: Sequence[Feeds]) -> tuple[Model, tuple[str, ...]]:
    """A copy of `model` with its batch norms folded, and their names.

    Raises:
        StageError: there is no calibration batch.
    """
    if not calibration:
        raise StageError("qat: no calibration data: ranges need at least one batch. Raise `data.calibration`.")
    copied = model.copy()
    return copied, fold_norms(copied.network, calibration[0])


def readers(network: nn.Module, layers: Iterable[str], feeds: Feeds) -> list[list[str]]:
    """The layers that run, those together that read the very same values: query, key and value of a head.

    Args:
        network: that they are in.
        layers: their names.
        feeds: a batch, which shows it.
    """
    seen: dict[str, list[tuple[int, int, int]]] = {}
    held: list[torch.Tensor] = []  # a tensor that is gone leaves its place to the next one

    def reads(name: str) -> Any:
        def note(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            held.append(inputs[0])
            # The version tells a tensor from itself after an operation in place.
            seen.setdefault(name, []).append((inputs[0].data_ptr(), inputs[0].numel(), inputs[0]._version))

        return note

    handles = [network.get_submodule(name).register_forward_pre_hook(reads(name)) for name in layers]
    with hooked(network, handles):
        network(**tensors(feeds, network))
    groups: dict[tuple[tuple[int, int, int], ...], list[str]] = {}
    for name, places in seen.items():
        groups.setdefault(tuple(places), []).append(name)
    return list(groups.values())


def prepared(model: Model, plan: QatPlan, calibration: Sequence[Feeds]) -> Model:
    """`model` as it trains: norms folded, layers that multiply as int8 does, their ranges at the start."""
    copied, norms = fold(model, calibration)
    assert norms == plan.folded, "the plan is of another model"
    apply_edits(copied.network, plan.edits)
    for one in plan.inputs:
        layer: Any = copied.network.get_submodule(one.modules[0])
        layer.input_range.start(one.low, one.high)
    return replace(copied, edits=copied.edits + plan.edits)
