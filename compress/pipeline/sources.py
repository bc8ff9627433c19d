"""What a model that a recipe names is known by: the content of a folder, the name of a hub id."""

from __future__ import annotations

import hashlib
from pathlib import Path

from edgepress.targets.errors import ModelError
from edgepress.targets.records import sha256_of

# Weights, configurations, vocabularies (SentencePiece's are *.model) and a trusted model's own code.
SOURCE_FILES = ("*.safetensors", "*.json", "*.txt", "*.model", "*.py")


def source_digest(source: str | None) -> str:
    """Digest of a local model folder's files; a hub id stands for itself."""
    if source is None:
        return ""
    folder = Path(source)
    if not folder.is_dir():
        looks_local = source.startswith((".", "/", "~")) or folder.exists() or source.count("/") > 1
        if looks_local:
            raise ModelError(f"the model folder {source} does not exist. Give a transformers folder or a hub id.")
        return source
    digest = hashlib.sha256()
    for path in sorted({path for pattern in SOURCE_FILES for path in folder.glob(pattern)}):
        digest.update(f"{path.name} {sha256_of(path)}\n".encode())
    return digest.hexdigest()
