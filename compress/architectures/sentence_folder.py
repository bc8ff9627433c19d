"""What the folder of a sentence-transformers model says of its vectors: modules.json and 1_Pooling/config.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from edgepress.targets.errors import ArtifactError, ModelError, told
from edgepress.targets.files import within

Pooling = Literal["mean", "cls"]
MODULES, CONFIG = "modules.json", "config.json"
MOST_BYTES, MOST_MODULES = 1 << 20, 16
"""Neither is believed beyond these: real ones have a few hundred bytes and two to four modules."""
MODES: dict[str, Pooling] = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}


def pooling_of(source: str, width: int) -> Pooling:
    """How the model of a folder or hub id makes one vector of a text's tokens; `mean` where nothing says it, as
    sentence-transformers itself takes a plain encoder.

    Args:
        source: the folder or hub id.
        width: of the encoder's hidden states.

    Raises:
        ModelError: a file is damaged or far too large, names a place outside of the folder, or asks for a module or a
            pooling that is not known here.
    """
    path = _found(source, MODULES)
    if path is None:
        return "mean"
    modules = _read(path)
    if (
        not isinstance(modules, list)
        or len(modules) > MOST_MODULES
        or not all(isinstance(one, dict) for one in modules)
    ):
        raise ModelError(f"{path} lists no modules. Fetch the model again.")
    places = {_kind(module): module.get("path") for module in modules}
    if unknown := sorted(set(places) - {"Transformer", "Pooling", "Normalize"}):
        raise ModelError(
            f"{path} names a module {unknown[0]!r:.60}, which is not known here: an encoder, its pooling and a "
            f"normalisation are. Take another model."
        )
    if places.get("Transformer", "") != "":
        raise ModelError(
            f"{path}: the encoder lies in {places['Transformer']!r:.60}; put its files beside modules.json."
        )
    return _mode(source, places["Pooling"], width) if "Pooling" in places else "mean"


def _kind(module: dict[str, Any]) -> str:
    """`Pooling` of `sentence_transformers.models.Pooling`, and of `sentence_transformers.models.pooling.Pooling`."""
    return str(module.get("type")).rpartition(".")[2]


def _mode(source: str, place: Any, width: int) -> Pooling:
    path = _found(source, f"{place}/{CONFIG}")
    if path is None:
        raise ModelError(f"{source}: {MODULES} says that {place!r:.60} holds the pooling, and {CONFIG} is not there.")
    config = _read(path)
    if not isinstance(config, dict):
        raise ModelError(f"{path} holds no mapping. Fetch the model again.")
    asked = sorted(name for name, on in config.items() if name.startswith("pooling_mode_") and on is not False)
    modes = [config["pooling_mode"]] if "pooling_mode" in config else [MODES.get(name, name) for name in asked]
    if len(modes) != 1 or modes[0] not in MODES.values():
        told_modes = ", ".join(f"{mode!r:.40}" for mode in modes[:5]) or "nothing"
        raise ModelError(f"{path} pools by {told_modes}; mean and cls are known here, one of them.")
    if (dimension := config.get("word_embedding_dimension", width)) != width:
        raise ModelError(
            f"{path} pools states of {dimension!r:.20} numbers, and the encoder gives {width}. Fetch the model again."
        )
    mode: Pooling = modes[0]
    return mode


def _found(source: str, name: str) -> Path | None:
    """A file of the folder itself, or of the hub; None where it is not there."""
    folder = Path(source)
    try:
        if folder.is_dir():
            place = within(folder, name)
            return place if place.is_file() else None
        within(Path(), name)
    except ArtifactError:
        raise ModelError(f"{source}: {MODULES} names {name!r:.80}, which leads out of its folder.") from None
    from transformers.utils import cached_file

    try:
        found = cached_file(source, name, _raise_exceptions_for_missing_entries=False)
    except (OSError, ValueError) as fault:
        raise ModelError(
            f"{source}: {name} could not be had ({told(fault)}). Fetch it once: hf download {source}"
        ) from None
    return Path(found) if found else None


def _read(path: Path) -> Any:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"{path.stat().st_size} bytes")
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as fault:
        raise ModelError(f"{path} is no JSON ({told(fault)}). Fetch the model again.") from None
