"""A compressed model: torch module, signature, structural edits and lineage.

Saved as the transformers configuration it started from, the edits made to its structure (JSON) and the weights
(safetensors), and rebuilt from those three alone: never a pickle, and free to be trained further.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from edgepress.compress.model.edits import Edit, apply_edits
from edgepress.compress.model.fake_layers import LayerRange, trained_inputs
from edgepress.compress.model.hub import auto_config, network_class
from edgepress.compress.model.sparsity import sparse_names
from edgepress.compress.tasks import TASKS, load_task
from edgepress.targets.errors import ModelError, told
from edgepress.targets.records import Description, Record, Signature

if TYPE_CHECKING:
    from edgepress.compress.model.stepping import Stepping
    from edgepress.targets.exportable import TrainedInput

TaskName = str
"""A key of `TASKS`."""


class Step(Record):
    """One line of lineage: what was done, and a summary a person can read."""

    stage: str
    summary: str


class ModelCard(Record):
    """The JSON beside the weights."""

    format: Literal[1] = 1
    task: TaskName
    signature: Signature
    edits: tuple[Edit, ...]
    lineage: tuple[Step, ...]
    ranges: tuple[LayerRange, ...] = ()


class Logits(nn.Module):
    """`network(**inputs).logits` as a module of positional tensors, the form that exporters take."""

    def __init__(self, network: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.network = network
        self.names = names

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.network(**dict(zip(self.names, inputs, strict=True))).logits
        return logits


@dataclass(frozen=True)
class Model:
    """A network of a known task. `network` is a transformers classification model, edited or not; `ranges` are those
    that its weights were trained with, for targets that make it int8."""

    network: nn.Module
    task: TaskName
    signature: Signature
    edits: tuple[Edit, ...] = ()
    lineage: tuple[Step, ...] = ()
    ranges: tuple[LayerRange, ...] = ()

    @property
    def module(self) -> nn.Module:
        """The network in eval mode: inputs in signature order -> logits `[batch, classes]`."""
        if load_task(self.task).outputs.decodes:
            from edgepress.compress.model.seq2seq import whole_of

            return whole_of(self.network).eval()
        return Logits(self.network, tuple(spec.name for spec in self.signature.inputs)).eval()

    @property
    def description(self) -> Description:
        """The class names of the network's configuration."""
        return Description(labels=load_task(self.task).outputs.labels(self.network.config))

    @property
    def stepping(self) -> Stepping | None:
        """The network with its cache as inputs and outputs, for targets that decode; None where nothing is decoded.

        Raises:
            ModelError: the network's cache is of no kind that can be handed back in.
        """
        from edgepress.compress.model.seq2seq import steps_of

        if not load_task(self.task).outputs.decodes:
            return None
        return steps_of(self.network, self.signature, self.description)

    @property
    def parameters(self) -> int:
        """Number of parameters, shared ones counted once."""
        return sum(parameter.numel() for parameter in self.network.parameters())

    @property
    def sparse_modules(self) -> tuple[str, ...]:
        """Names of the layers whose zeros must stay."""
        return sparse_names(self.network, self.edits)

    @property
    def trained_inputs(self) -> tuple[TrainedInput, ...]:
        """What targets need to find the trained ranges in their graphs."""
        return trained_inputs(self.network, self.ranges)

    def after(self, stage: str, summary: str, edits: tuple[Edit, ...] = (), network: nn.Module | None = None) -> Model:
        """This model with one more step of lineage; `edits` are those that the step made. Trained ranges are those of
        the weights before it, and go."""
        return replace(
            self,
            network=network if network is not None else self.network,
            edits=self.edits + edits,
            lineage=(*self.lineage, Step(stage=stage, summary=summary)),
            ranges=(),
        )

    def copy(self) -> Model:
        """A model with weights of its own, so that a stage never changes its input."""
        import copy

        return replace(self, network=copy.deepcopy(self.network))

    def save(self, folder: Path) -> None:
        """Write config.json, model.json and model.safetensors into `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        card = ModelCard(
            task=self.task, signature=self.signature, edits=self.edits, lineage=self.lineage, ranges=self.ranges
        )
        card.write(folder / "model.json")
        config: Any = self.network.config
        (folder / "config.json").write_text(json.dumps(config.to_dict(), indent=1, default=str) + "\n")
        state = {name: value.detach().cpu().contiguous() for name, value in unique_state(self.network).items()}
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})

    @classmethod
    def load(cls, folder: Path) -> Model:
        """Rebuild a saved model: configuration, then edits, then weights.

        Raises:
            ModelError: a file is missing, damaged, or does not fit the structure.
        """
        from edgepress.targets.errors import ArtifactError

        try:
            card = ModelCard.read(folder / "model.json")
        except ArtifactError as fault:
            raise ModelError(str(fault)) from None
        if card.task not in TASKS:
            raise ModelError(
                f"{folder} holds a model of the task {card.task!r}, which is not registered; there are "
                f"{', '.join(TASKS)}. Import what adds it to TASKS first."
            )
        network = build_network(folder, card.task)
        apply_edits(network, card.edits)
        load_weights(network, folder / "model.safetensors")
        return cls(network.eval(), card.task, card.signature, card.edits, card.lineage, card.ranges)


def build_network(folder: Path, task: TaskName) -> nn.Module:
    """The transformers architecture of `folder/config.json`, randomly initialised, fp32, eager attention.

    Raises:
        ModelError: the configuration is missing, damaged, or of no architecture known here.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise ModelError(f"{path} is missing. Run the stage that writes it again.")
    try:
        config = auto_config().from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, TypeError) as fault:
        raise ModelError(f"{path} is damaged or of an unknown architecture: {told(fault)}") from None
    return network_from_config(config, task)


def network_from_config(config: Any, task: TaskName) -> nn.Module:
    """Eager attention everywhere: it exports to the smallest graphs, and its attention maps can be distilled."""
    factory = network_class(load_task(task).network)
    options = {"attn_implementation": "eager", "dtype": torch.float32, "trust_remote_code": False}
    unnamed = config.architectures is None
    if unnamed:  # where an architecture has two classifiers (DeiT, LeViT), transformers looks for its name in here
        config.architectures = []
    try:
        network: nn.Module = factory.from_config(config, **options)
    except ValueError as fault:
        if "attention" not in str(fault).lower():
            raise ModelError(f"{type(config).__name__} is no {task} model: {told(fault)}") from None
        network = factory.from_config(config, dtype=torch.float32, trust_remote_code=False)
    if unnamed:
        config.architectures = [type(network).__name__]
    return without_cache(network)


def without_cache(network: nn.Module) -> nn.Module:
    """The same network, told to keep no keys and values for a next token: a classifier has none, and the windows of a
    cache tie a trace to the lengths that it was made at (Gemma 2)."""
    config: Any = network.config
    if getattr(config, "use_cache", False):
        config.use_cache = False
    return network


def unique_state(network: nn.Module) -> dict[str, torch.Tensor]:
    """The state dict with each shared tensor once, under its first name."""
    seen: set[tuple[int, torch.Size]] = set()
    state = {}
    for name, value in network.state_dict().items():
        key = (value.data_ptr(), value.shape)
        if value.numel() and key in seen:
            continue
        seen.add(key)
        state[name] = value
    return state


def load_weights(network: nn.Module, path: Path) -> None:
    """Load safetensors into `network`, in the network's own dtype; every weight must be there and fit."""
    try:
        state = load_file(path)
    except FileNotFoundError:
        raise ModelError(f"{path} is missing. Run the stage that writes it again.") from None
    except SafetensorError as fault:
        raise ModelError(f"{path} is damaged ({told(fault)}). Run the stage that writes it again.") from None
    wanted = unique_state(network)
    if missing := sorted(set(wanted) - set(state)):
        raise ModelError(
            f"{path} lacks {len(missing)} weights, first {missing[0]!r}: weights and structure don't match"
        )
    for name, value in state.items():
        if name not in wanted or wanted[name].shape != value.shape:
            want = f"shape {tuple(wanted[name].shape)}" if name in wanted else "no such weight"
            raise ModelError(f"{path}: {name!r} has shape {tuple(value.shape)}, the structure has {want}")
    network.load_state_dict(state, strict=False)
