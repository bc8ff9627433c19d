"""What is asked of transformers and the hub before a model is loaded: its class, and files beside its weights."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from edgepress.compress.recipe.paths import in_home, pinned
from edgepress.targets.errors import ModelError, told

HUB_ID = re.compile(r"[\w][\w.-]*(/[\w][\w.-]*)?(@[\w][\w.-]*)?")

LACKING = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
"""What torchvision looks for on import, whether its compiled half could be loaded or not."""
_DECLARED: list[Any] = []


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
    folder = Path(in_home(source))
    if folder.is_dir():
        return folder / name if (folder / name).is_file() else None
    if folder.exists() or not HUB_ID.fullmatch(source):
        raise ModelError(f"{source} is no folder (paths are relative to {Path.cwd()}) and no hub id.")
    from transformers.utils import cached_file

    # Where the hub cannot be reached, only a file that every model has can tell it from a file that is not there.
    options = {"_raise_exceptions_for_missing_entries": name == "config.json"}
    try:
        with quiet():
            repository, revision = pinned(source)
            found = cached_file(repository, name, revision=revision, **options)
    except (OSError, ValueError) as fault:
        raise unreachable(source, fault) from None
    return Path(found) if found else None


def unreachable(source: str, fault: Exception) -> ModelError:
    """What a person is told of a source that is no folder and, as a hub id, raised `fault`."""
    reason = told(fault)
    return ModelError(
        f"{source} is no folder here, and as a hub id it could not be had: {reason}. "
        f"Check the name, or fetch it once with a network: `hf download {pinned(source)[0]}`."
    )


def auto_config() -> Any:
    """transformers' AutoConfig, with the architectures of this project registered."""
    allow_foreign_torchvision()
    from transformers import AutoConfig

    from edgepress.compress.architectures import register

    register()
    return AutoConfig


def allow_foreign_torchvision() -> None:
    """Make torchvision importable where it was built for another torch than the one that is here, as the one of PyPI
    for a torch without CUDA. transformers imports it wherever it is installed, and timm's models need its transforms on
    import; neither calls its compiled operators for a network of images.

    Its import fails over two operators that its compiled half would bring. They are declared, without an
    implementation, and it is imported again; whoever calls one is told by torch that there is none.
    """
    if find_spec("torchvision") is None:
        return
    try:
        import_module("torchvision")
    except RuntimeError as fault:
        if "operator torchvision::nms does not exist" not in told(fault):
            raise
        import torch

        library = torch.library.Library("torchvision", "FRAGMENT")
        for schema in LACKING:
            library.define(schema)
        _DECLARED.append(library)  # the operators are gone with it
        import_module("torchvision")


def network_class(name: str) -> Any:
    """The class of transformers that loads a task's models, e.g. `AutoModelForImageClassification`.

    Raises:
        ModelError: transformers has no such class.
    """
    allow_foreign_torchvision()
    import transformers

    from edgepress.compress.architectures import register, sentence_encoder, vector_mlp

    register()
    own = (getattr(module, name, None) for module in (vector_mlp, sentence_encoder))
    found = getattr(transformers, name, next(filter(None, own), None))
    if found is None:
        raise ModelError(f"transformers has no class {name!r}, which the task names as that of its networks.")
    return found
