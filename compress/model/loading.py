"""A teacher or student from a local folder or the hub: checked before it is trusted, fp32, eager attention."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgepress.compress.model.hub import auto_config, find_file, network_class, quiet, unreachable
from edgepress.compress.model.model import TaskName, without_cache
from edgepress.compress.recipe.paths import in_home, pinned
from edgepress.compress.tasks import load_task
from edgepress.targets.errors import ModelError, told

PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle", "*.h5", "*.msgpack")
FINE_TUNE = "or have it fine-tuned in the run: teacher.training"


@dataclass(frozen=True)
class Loaded:
    """A classification model, and the names of those of its weights that no file had, random so far."""

    network: nn.Module
    fresh: tuple[str, ...]


def load_network(
    source: str, task: TaskName, trust_remote_code: bool, num_labels: int | None = None, fresh_head: bool = False
) -> nn.Module:
    """The classification model of a folder or hub id, in eval mode.

    Args:
        source: the folder or hub id.
        task: a key of `TASKS`, whose network class is loaded.
        trust_remote_code: whether the model may run code of its own.
        num_labels: the classes of the data; None takes the model's own.
        fresh_head: the classifier may be missing or of another size and is then initialised at random, for a
            student that is going to be trained. A teacher's must be there.

    Raises:
        ModelError: files are missing, pickled or damaged, weights don't fit the configuration or are not finite, the
            number of classes differs, or the model brings code of its own and is not trusted with it.
    """
    return _loaded(source, task, trust_remote_code, num_labels, fresh_head).network


def load_to_train(source: str, task: TaskName, trust_remote_code: bool, num_labels: int) -> Loaded:
    """A classifier or a backbone alone, of a folder or hub id, for a training on data of `num_labels` classes.

    A head (what transformers puts on the backbone, the pooler within it too) that is missing or of another size is
    initialised at random; what fits is kept.

    Raises:
        ModelError: as `load_network`, and where the backbone itself lacks weights.
    """
    return _loaded(source, task, trust_remote_code, num_labels, fresh_head=True)


def _loaded(source: str, task: TaskName, trust: bool, num_labels: int | None, fresh_head: bool) -> Loaded:
    _check_config(source, trust)
    folder = Path(in_home(source))
    if folder.is_dir():
        _check_weight_files(folder, task)
    network, report = _load(source, task, trust, num_labels if fresh_head else None)
    fresh = _check_report(network, report, source, fresh_head)
    classes = int(network.config.num_labels)  # type: ignore[union-attr,arg-type]
    if num_labels is not None and classes != num_labels:
        raise ModelError(
            f"{source} knows {classes} classes and the data has {num_labels}. Name the model's classes in "
            f"data.labels, take a model that was trained on these, {FINE_TUNE}."
        )
    _check_finite(network, source)
    return Loaded(without_cache(network).eval(), fresh)


def label_names(source: str, task: TaskName, trust_remote_code: bool, fine_tuned: bool = False) -> tuple[str, ...]:
    """The names of the outputs of the model of a folder or hub id, in its order, without loading its weights.

    Args:
        source: the folder or hub id.
        task: a key of `TASKS`, whose kind of outputs the model must have.
        trust_remote_code: whether the model may run code of its own.
        fine_tuned: it is going to be trained on other rows, and what its head was for does not matter.

    Raises:
        ModelError: there is no model, it wants to run code of its own and is not trusted with it, or its classes do not
            count from 0.
    """
    _check_config(source, trust_remote_code)
    folder = Path(in_home(source))
    try:
        with quiet():
            path, revision = (str(folder), None) if folder.is_dir() else pinned(source)
            config = auto_config().from_pretrained(path, revision=revision, trust_remote_code=trust_remote_code)
        names: dict[Any, Any] = dict(config.id2label)
        classes = int(config.num_labels)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as fault:
        raise ModelError(f"{source}: config.json cannot be used: {told(fault)}") from None
    outputs = load_task(task).outputs
    named = outputs.labels(config) if fine_tuned else outputs.names_of(config, source)
    if sorted(names, key=str) != sorted(range(classes), key=str):
        listed = ", ".join(map(str, list(names)[:5])) + (", ..." if len(names) > 5 else "")
        raise ModelError(
            f"{source}: id2label in config.json counts {listed}, and the classes of a model count from 0 to "
            f"{classes - 1}. Mend id2label and label2id there."
        )
    return named


def _check_config(source: str, trust_remote_code: bool) -> None:
    path = find_file(source, "config.json")
    if path is None:
        raise ModelError(
            f"{source} has no config.json: it is no transformers model folder. Save the model with save_pretrained."
        )
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as fault:
        raise ModelError(f"{path} is no JSON ({told(fault)}). Fetch or save the model again.") from None
    if not isinstance(config, dict):
        raise ModelError(f"{path} holds no mapping. Fetch or save the model again.")
    if "auto_map" in config and not trust_remote_code:
        raise ModelError(
            f"{source} wants to run code of its own (auto_map in config.json). Read that code; if you trust it, set "
            f"teacher.trust_remote_code: true."
        )


def _check_weight_files(folder: Path, task: TaskName) -> None:
    if any(folder.glob("*.safetensors")):
        return
    pickled = sorted(path.name for pattern in PICKLED for path in folder.glob(pattern))
    if pickled:
        raise ModelError(
            f"{folder} holds pickled weights ({pickled[0]}), which can run code when they are loaded and are refused. "
            f"If you trust them, convert them once: "
            f'python -c "from transformers import {_reader(task)} as M; '
            f"M.from_pretrained('{folder}').save_pretrained('{folder}')\""
        )
    raise ModelError(f"{folder} has no weights: model.safetensors is missing. Save the model with save_pretrained.")


def _reader(task: TaskName) -> str:
    """The class of transformers that reads the task's weights; AutoModel where the task's own is one of ours."""
    import transformers

    name = load_task(task).network
    return name if hasattr(transformers, name) else "AutoModel"


def _load(source: str, task: TaskName, trust: bool, num_labels: int | None) -> tuple[nn.Module, dict[str, Any]]:
    from safetensors import SafetensorError

    factory = network_class(load_task(task).network)
    options: dict[str, Any] = {"dtype": torch.float32, "use_safetensors": True, "output_loading_info": True}
    options |= {"trust_remote_code": trust, "attn_implementation": "eager"}
    if num_labels is not None:
        options |= {"num_labels": num_labels, "ignore_mismatched_sizes": True}
    folder = Path(in_home(source))
    path, revision = (str(folder), None) if folder.is_dir() else pinned(source)
    try:
        with quiet():
            network, report = factory.from_pretrained(path, revision=revision or "main", **options)
    except SafetensorError as fault:
        raise ModelError(f"{source}: the weights are damaged ({told(fault)}). Fetch or save the model again.") from None
    except ImportError as fault:
        raise ModelError(f"{source} needs a package that is not installed: {told(fault)}") from None
    except OSError as fault:
        if Path(path).is_dir():
            raise ModelError(f"{source} cannot be loaded: {told(fault)}") from None
        raise unreachable(source, fault) from None
    except (ValueError, KeyError) as fault:
        raise ModelError(f"{source} is no {task} model: {told(fault)}") from None
    except RuntimeError as fault:
        reason = told(fault)
        if "ignore_mismatched_sizes" in reason:  # advice to who calls transformers; its report is not shown
            reason = "some have other sizes than it gives them; check its sizes, and that num_labels counts the classes"
        raise ModelError(f"{source}: the weights do not fit config.json: {reason}") from None
    return network, report


def _check_report(network: nn.Module, report: dict[str, Any], source: str, fresh_head: bool) -> tuple[str, ...]:
    """Whether every weight has its place and every place its weight; the names of those that may start at random."""
    # Each entry is a name, or (name, shape there, shape wanted).
    mismatched = [entry if isinstance(entry, str) else entry[0] for entry in report["mismatched_keys"]]
    fresh = tuple(sorted([*report["missing_keys"], *mismatched]))
    in_backbone = [name for name in fresh if not _is_head(network, name)]
    if lacking := in_backbone or (() if fresh_head else fresh):
        way = f"fine-tune it first, {FINE_TUNE}" if not in_backbone else "fine-tune it first, or mend config.json"
        need = "Only its head may start fresh; mend config.json" if fresh_head else ""
        need = need or f"A teacher must be a trained {type(network).__name__}; {way}"
        raise ModelError(
            f"{source} lacks {len(lacking)} weights that config.json asks for, first {lacking[0]!r}: they would "
            f"be random. {need}."
        )
    for name in sorted(report["unexpected_keys"]):
        if (layers := _layers_of(network, name)) is not None:
            raise ModelError(
                f"{source} has the weight {name!r}, but config.json builds only {layers} such layers. Mend config.json."
            )
    return fresh


def _is_head(network: nn.Module, name: str) -> bool:
    """Whether a weight lies outside of the backbone, or belongs to its pooler, which only a classifier uses."""
    backbone = _backbone_name(network)
    if not name.startswith(f"{backbone}."):
        return True
    inner = name.removeprefix(f"{backbone}.")
    # timm's classifier lies within its network, under a name that differs from one to the next.
    find: Any = getattr(network.get_submodule(backbone), "get_classifier", None)
    classifier = find() if find is not None else None
    inside = [path for path, module in network.get_submodule(backbone).named_modules() if module is classifier]
    return any(inner.startswith(f"{path}.") for path in ("pooler", *inside))


def _backbone_name(network: nn.Module) -> str:
    """The submodule that is the backbone: as transformers calls it, else the one with most of the weights."""
    prefix = str(getattr(network, "base_model_prefix", ""))
    if isinstance(getattr(network, prefix, None), nn.Module) and prefix:
        return prefix
    sizes = {name: sum(value.numel() for value in child.parameters()) for name, child in network.named_children()}
    return max(sizes, key=lambda name: sizes[name], default="")


def _layers_of(network: nn.Module, name: str) -> int | None:
    """How many layers the list has that weight `name` would belong to; None where the network has no such list."""
    match = re.match(r"(.+?)\.\d+\.", name)
    if match is None:
        return None
    try:
        parent = network.get_submodule(match[1])
    except AttributeError:
        return None
    return len(parent) if isinstance(parent, nn.ModuleList | nn.Sequential) else None


def _check_finite(network: nn.Module, source: str) -> None:
    for name, value in network.state_dict().items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            count = int((~torch.isfinite(value)).sum())
            raise ModelError(
                f"{source}: weight {name!r} has {count} NaN or infinite values of {value.numel()}. Its training "
                f"diverged or the file is damaged; take an earlier checkpoint."
            )
