"""The folder that transformers.js and optimum read: `onnx/model*.onnx` beside configuration and tokenizer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from edgepress.targets.errors import EdgepressError
from edgepress.targets.records import Artifact

SUFFIXES = {"fp32": ("", "fp32"), "fp16": ("_fp16", "fp16"), "int8": ("_quantized", "q8"), "int4": ("_q4", "q4")}
"""Precision → what the file's name has of it, and what transformers.js calls it."""
MODEL, CONFIG = "model.onnx", "config.json"
BESIDE = ("tokenizer.json", "preprocessor_config.json", "vocab.txt", "special_tokens_map.json")


def lay(artifact: Artifact, source: Path, place: Path, name: str) -> None:
    """Write the layout of an ONNX artifact.

    Args:
        artifact: its record.
        source: its folder.
        place: where the layout goes, an empty folder.
        name: of the release.

    Raises:
        EdgepressError: its weights lie beside the graph, or it is no transformers model.
    """
    paths = {entry.path for entry in artifact.files}
    if MODEL not in paths or CONFIG not in paths or any(path.startswith(f"{MODEL}.") for path in paths):
        raise EdgepressError(
            f"the layout transformers-js needs {MODEL} in one file and {CONFIG} of transformers, and {name} has "
            f"{', '.join(sorted(paths))[:300]}. Leave the layout out"
        )
    suffix, dtype = SUFFIXES.get(artifact.precision, ("", "fp32"))
    (place / "onnx").mkdir()
    shutil.copyfile(source / MODEL, place / "onnx" / f"model{suffix}.onnx")
    config: dict[str, Any] = _read(source / CONFIG)
    _write(place / CONFIG, {**_portable(config), "transformers.js_config": {"dtype": dtype}})
    for path in sorted(paths & set(BESIDE)):
        shutil.copyfile(source / path, place / path)
    if "tokenizer_config.json" in paths:
        _write(place / "tokenizer_config.json", _tokenizer(_read(source / "tokenizer_config.json"), artifact))


def _portable(config: dict[str, Any]) -> dict[str, Any]:
    """Without the folder of the run that the model was saved in."""
    return {key: value for key, value in config.items() if key != "_name_or_path"}


def _tokenizer(config: dict[str, Any], artifact: Artifact) -> dict[str, Any]:
    """The class that tokenizer.json alone is enough for, and the longest row that the model takes."""
    left = {"backend", "is_local", "local_files_only"}
    longest = artifact.programs["main"].bounds.get("sequence")
    return {
        **{key: value for key, value in config.items() if key not in left},
        "tokenizer_class": "PreTrainedTokenizerFast",
        **({"model_max_length": longest[1]} if longest is not None else {}),
    }


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_bytes((json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())
