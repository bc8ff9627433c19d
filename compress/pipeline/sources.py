"""What a model that a recipe names is known by: the content of a folder, the name of a hub id."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from edgepress.compress.model.references import code_reference
from edgepress.compress.recipe.paths import PYTHON, in_home, kind_of
from edgepress.targets.errors import ModelError
from edgepress.targets.files import sha256_of

if TYPE_CHECKING:
    from edgepress.compress.recipe.recipe import Recipe

# Weights, configurations, vocabularies (SentencePiece's are *.model) and a trusted model's own code.
SOURCE_FILES = ("*.safetensors", "*.json", "*.txt", "*.model", "*.py")


def source_digest(source: str | None) -> str:
    """Digest of a local model folder's files; a hub id stands for itself.

    Args:
        source: a folder or hub id; None gives "".

    Raises:
        ModelError: a folder that does not exist, or a file of it that cannot be read.
    """
    if source is None:
        return ""
    folder = Path(source)
    kind = kind_of(folder)
    if kind != "folder":
        if kind is not None or source.startswith((".", "/", "~")) or source.count("/") > 1:
            raise ModelError(f"the model folder {source} does not exist. Give a transformers folder or a hub id.")
        return source
    digest = hashlib.sha256()
    try:
        for path in sorted({path for pattern in SOURCE_FILES for path in folder.glob(pattern) if path.is_file()}):
            digest.update(os.fsencode(path.name) + f" {sha256_of(path)}\n".encode())
    except OSError as fault:
        raise ModelError(f"{fault.filename} of the model cannot be read: {fault.strerror}. Mend its rights.") from None
    return digest.hexdigest()


def code_digest(code: str, weights: str | None, role: str) -> str:
    """Digest of a network of the user's own code: of its file or module, and of its weights.

    Args:
        code: `model.py:build`, or `python`.
        weights: a safetensors file; None where it has those that it is built with.
        role: whose it is, teacher or student.

    Raises:
        ModelError: a file is missing, or no module was handed over.
    """
    found = code_reference(code, role)
    try:
        return f"{found.sha256} {found.function} {sha256_of(Path(in_home(weights))) if weights is not None else ''}"
    except OSError as fault:
        raise ModelError(
            f"{role}.weights: {weights} cannot be read ({fault.strerror}). Give a safetensors file."
        ) from None


def allow_code_of(recipe: Recipe) -> None:
    """The user trusts the code that a recipe names, as it is now: from here on it may be run in this process.

    Raises:
        ModelError: a reference is none, or its file is missing.
    """
    from edgepress.compress.model.code import allow

    for text, role in ((recipe.teacher.code, "teacher"), (recipe.student.code, "student")):
        if text is not None and text != PYTHON:
            allow(code_reference(text, role))
