"""A teacher or student from a local folder or the hub: checked before it is trusted, fp32, eager attention."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgepress.compress.model.model import TaskName, without_cache
from edgepress.targets.errors import ModelError

PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle", "*.h5", "*.msgpack")
AUTO_CLASSES: dict[TaskName, str] = {
    "text-classification": "AutoModelForSequenceClassification",
    "image-classification": "AutoModelForImageClassification",
}
HUB_ID = re.compile(r"[\w][\w.-]*(/[\w][\w.-]*)?")


@contextmanager
def quiet() -> Iterator[None]:
    """transformers without progress bars, load reports and advice."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def find_file(source: str, name: str) -> Path | None:
    """A file of a local folder or of a hub repository; None where it has no such file.

    Raises:
        ModelError: the source is neither a folder nor a hub id that can be reached.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder / name if (folder / name).is_file() else None
    if folder.exists() or not HUB_ID.fullmatch(source):
        raise ModelError(f"{source} is no folder (paths are relative to {Path.cwd()}) and no hub id.")
    from transformers.utils import cached_file

    # Where the hub cannot be reached, only a file that every model has can tell it from a file that is not there.
    options = {"_raise_exceptions_for_missing_entries": name == "config.json"}
    try:
        with quiet():
            found = cached_file(source, name, **options)
    except (OSError, ValueError) as fault:
        raise _unreachable(source, fault) from None
    return Path(found) if found else None


def _unreachable(source: str, fault: Exception) -> ModelError:
    reason = _first_line(fault).rstrip(".")
    return ModelError(
        f"{source} is no folder here, and as a hub id it could not be had: {reason}. "
        f"Check the name, or fetch it once with a network: `hf download {source}`."
    )


def load_network(
    source: str, task: TaskName, trust_remote_code: bool, num_labels: int | None = None, fresh_head: bool = False
) -> nn.Module:
    """The classification model of a folder or hub id, in eval mode.

    Args:
        num_labels: the classes of the data; None takes the model's own.
        fresh_head: the classifier may be missing or of another size and is then initialised at random, for a
            student that is going to be trained. A teacher's must be there.

    Raises:
        ModelError: files are missing, pickled or damaged, weights don't fit the configuration or are not finite, the
            number of classes differs, or the model brings code of its own and is not trusted with it.
    """
    _check_config(source, trust_remote_code)
    folder = Path(source).expanduser()
    if folder.is_dir():
        _check_weight_files(folder, task)
    network, report = _load(source, task, trust_remote_code, num_labels if fresh_head else None)
    _check_report(network, report, source, fresh_head)
    classes = int(network.config.num_labels)  # type: ignore[union-attr,arg-type]
    if num_labels is not None and classes != num_labels:
        raise ModelError(
            f"{source} knows {classes} classes and the data has {num_labels}. Name the model's classes in "
            f"data.labels, or take a model that was trained on these."
        )
    _check_finite(network, source)
    return without_cache(network).eval()


def label_names(source: str, trust_remote_code: bool) -> tuple[str, ...]:
    """The classes of the model of a folder or hub id, in its order, without loading its weights.

    Raises:
        ModelError: there is no model, or it wants to run code of its own and is not trusted with it.
    """
    from transformers import AutoConfig

    _check_config(source, trust_remote_code)
    folder = Path(source).expanduser()
    try:
        with quiet():
            config = AutoConfig.from_pretrained(
                str(folder) if folder.is_dir() else source, trust_remote_code=trust_remote_code
            )
    except (OSError, ValueError, KeyError) as fault:
        raise ModelError(f"{source}: config.json cannot be used: {_first_line(fault)}") from None
    return tuple(str(config.id2label[number]) for number in range(config.num_labels))


def _check_config(source: str, trust_remote_code: bool) -> None:
    path = find_file(source, "config.json")
    if path is None:
        raise ModelError(
            f"{source} has no config.json: it is no transformers model folder. Save the model with save_pretrained."
        )
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as fault:
        raise ModelError(f"{path} is no JSON ({fault}). Fetch or save the model again.") from None
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
            f'If you trust them, convert them once: python -c "from transformers import {AUTO_CLASSES[task]} as M; '
            f"M.from_pretrained('{folder}').save_pretrained('{folder}')\""
        )
    raise ModelError(f"{folder} has no weights: model.safetensors is missing. Save the model with save_pretrained.")


def _load(source: str, task: TaskName, trust: bool, num_labels: int | None) -> tuple[nn.Module, dict[str, Any]]:
    import transformers
    from safetensors import SafetensorError

    factory: Any = getattr(transformers, AUTO_CLASSES[task])
    options: dict[str, Any] = {"dtype": torch.float32, "use_safetensors": True, "output_loading_info": True}
    options |= {"trust_remote_code": trust, "attn_implementation": "eager"}
    if num_labels is not None:
        options |= {"num_labels": num_labels, "ignore_mismatched_sizes": True}
    path = str(Path(source).expanduser()) if Path(source).expanduser().is_dir() else source
    try:
        with quiet():
            network, report = factory.from_pretrained(path, **options)
    except SafetensorError as fault:
        raise ModelError(f"{source}: the weights are damaged ({fault}). Fetch or save the model again.") from None
    except ImportError as fault:
        raise ModelError(f"{source} needs a package that is not installed: {_first_line(fault)}") from None
    except OSError as fault:
        if Path(path).is_dir():
            raise ModelError(f"{source} cannot be loaded: {_first_line(fault)}") from None
        raise _unreachable(source, fault) from None
    except (ValueError, KeyError) as fault:
        raise ModelError(f"{source} is no {task} model: {_first_line(fault)}") from None
    except RuntimeError as fault:
        reason = _first_line(fault)
        if "ignore_mismatched_sizes" in reason:  # advice to who calls transformers; its report is not shown
            reason = "some have other sizes than it gives them; check its sizes, and that num_labels counts the classes"
        raise ModelError(f"{source}: the weights do not fit config.json: {reason}") from None
    return network, report


def _first_line(fault: Exception) -> str:
    lines = [line.strip() for line in str(fault).splitlines() if line.strip()]
    return lines[0] if lines else type(fault).__name__


def _check_report(network: nn.Module, report: dict[str, Any], source: str, fresh_head: bool) -> None:
    """Whether every weight has its place and every place its weight."""
    base = f"{getattr(network, 'base_model_prefix', '')}."
    # Each entry is a name, or (name, shape there, shape wanted).
    mismatched = [entry if isinstance(entry, str) else entry[0] for entry in report["mismatched_keys"]]
    lacking = sorted([*report["missing_keys"], *mismatched])
    if fresh_head:
        lacking = [name for name in lacking if name.startswith(base)]
    if lacking:
        raise ModelError(
            f"{source} lacks {len(lacking)} weights that config.json asks for, first {lacking[0]!r}: they would "
            f"be random. A teacher must be a trained {type(network).__name__}; fine-tune it first, or mend config.json."
        )
    for name in sorted(report["unexpected_keys"]):
        if (layers := _layers_of(network, name)) is not None:
            raise ModelError(
                f"{source} has the weight {name!r}, but config.json builds only {layers} such layers. Mend config.json."
            )


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
