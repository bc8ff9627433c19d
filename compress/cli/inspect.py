"""What `edgepress inspect` says of a model: parameters, shapes, MACs, and what it could give another configuration."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepress.compress.recipe.data import Data
from edgepress.targets.errors import ModelError, told
from edgepress.targets.records import Signature, TensorSpec

if TYPE_CHECKING:
    from rich.table import Table
    from torch import nn

    from edgepress.compress.cli.console import Console
    from edgepress.compress.model.model import Model
    from edgepress.compress.network.adapt import Fit

LARGEST_CONFIG = 1 << 20


def inspect_model(source: str, task: str | None, sequence: int, fits_config: Path | None, console: Console) -> None:
    """Print the table of a model's tensors, or that of what a model of `fits_config` would start from.

    Args:
        source: a transformers folder, a hub id, or the folder of a stage of a run.
        task: whose network class reads the model; None: told by the model itself.
        sequence: tokens of the row whose MACs are counted, where rows have tokens.
        fits_config: a transformers config.json.
        console: where it is printed.

    Raises:
        ModelError: the model or the configuration cannot be read.
    """
    model, why = read_model(source, task, sequence)
    if fits_config is None:
        console.table(tensors_table(model.network))
        console.line(totals(model, why))
        return
    from edgepress.compress.network.adapt import fits

    found = fits(_from_config(fits_config, model), model.network)
    console.table(fits_table(found))
    console.line(", ".join(f"{count} {how}" for how, count in Counter(fit.how for fit in found).items()))


def read_model(source: str, task: str | None, sequence: int) -> tuple[Model, str]:
    """The model, and why its inputs are not known; empty where they are."""
    from edgepress.compress.model.loading import load_network
    from edgepress.compress.model.model import Model
    from edgepress.compress.tasks import load_task

    if (Path(source) / "model.json").is_file():
        return Model.load(Path(source)), ""
    known = load_task(task or guessed_task(source))
    network = load_network(source, known.name, False)
    data = Data(train=source, max_length=sequence)
    try:
        signature, why = known.signature(network, known.load_processor(source), data), ""
    except ModelError as fault:
        signature, why = Signature(inputs=(), outputs=(), bounds={}), str(fault)
    return Model(network.eval(), known.name, signature), why


def guessed_task(source: str) -> str:
    """The first task whose network class has the ending that config.json names.

    Raises:
        ModelError: there is none.
    """
    from edgepress.compress.model.hub import find_file
    from edgepress.compress.tasks import TASKS

    path = find_file(source, "config.json")
    if path is None:
        raise ModelError(f"{source} has no config.json. Give a transformers folder, a hub id or the folder of a stage.")
    named = str(read_config(path).get("architectures"))
    for name, task in TASKS.items():
        if task.network.removeprefix("AutoModel") in named:
            return name
    raise ModelError(
        f"{source}: config.json names {named}, which no task reads. Name one by --task: {', '.join(TASKS)}."
    )


def _from_config(path: Path, like: Model) -> nn.Module:
    """A network of the configuration without memory for its weights; with as many classes as `like` where it names
    none."""
    import torch

    from edgepress.compress.model.hub import auto_config
    from edgepress.compress.model.model import network_from_config

    fields = read_config(path)
    classes: Any = like.network.config
    fields.setdefault("num_labels", classes.num_labels)
    try:
        config = auto_config().for_model(fields.pop("model_type"), **fields)
        with torch.device("meta"):
            return network_from_config(config, like.task)
    except Exception as fault:  # each architecture checks its fields with exceptions of its own
        raise ModelError(f"{path}: {told(fault)}") from fault


def read_config(path: Path) -> dict[str, Any]:
    """The mapping in a transformers config.json.

    Raises:
        ModelError: it is no file, no JSON, or says no `model_type`.
    """
    try:
        with path.open("rb") as file:
            content = json.loads(file.read(LARGEST_CONFIG))
    except (OSError, ValueError, RecursionError) as fault:
        raise ModelError(f"{path} is no configuration: {told(fault)}. Give a transformers config.json.") from None
    if not isinstance(content, dict) or not isinstance(content.get("model_type"), str):
        raise ModelError(f'{path} says no model_type, e.g. {{"model_type": "bert"}}. Give a transformers config.json.')
    return content


def tensors_table(network: nn.Module) -> Table:
    """A row for each parameter: shape, count, share of all."""
    from rich.table import Table

    total = sum(parameter.numel() for parameter in network.parameters())
    table = Table(title=f"{type(network).__name__}: parameters")
    for column in ("parameter", "shape", "count", "share"):
        table.add_column(column, justify="left" if column == "parameter" else "right")
    for name, parameter in network.named_parameters():
        shape, count = " x ".join(map(str, parameter.shape)) or "1", parameter.numel()
        table.add_row(name, shape, f"{count:,}", f"{100 * count / total:.1f} %")
    return table


def fits_table(found: tuple[Fit, ...]) -> Table:
    """A row for each tensor of the student: what it would start from."""
    from rich.table import Table

    table = Table(title="What the weights would start from (student: {config: …, init: adapt})")
    for column in ("tensor", "start", "shape"):
        table.add_column(column)
    for fit in found:
        table.add_row(fit.name, fit.how, fit.described)
    return table


def totals(model: Model, why: str) -> str:
    """Parameters, bytes in fp32, and MACs of one row at its largest; `why` there are none where no row can be made."""
    count = model.parameters
    known = f"{count:,} parameters, {4 * count:,} bytes in fp32"
    if why:
        return f"{known}; MACs unknown: {why}"
    from edgepress.targets.pytorch import count_macs

    feeds = {spec.name: np.ones(_sizes(model, spec), spec.dtype) for spec in model.signature.inputs}
    row = ", ".join(f"{name} {' x '.join(map(str, value.shape))}" for name, value in feeds.items())
    return f"{known}, {count_macs(model, feeds):,} MACs for one row: {row}"


def _sizes(model: Model, spec: TensorSpec) -> tuple[int, ...]:
    """Of one row: every free size but the batch at its largest."""
    most = {name: high for name, (_, high) in model.signature.bounds.items()} | {"batch": 1}
    return tuple(most[size] if isinstance(size, str) else size for size in spec.shape)
