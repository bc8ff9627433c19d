"""Which pre-processing lies beside an artifact, found by its files: each makes feeds of raw rows."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from edgepress.targets.errors import ArtifactError, DataError, told
from edgepress.targets.inference.masks import MaskedPictures
from edgepress.targets.inference.passages import SPAN_LOGITS
from edgepress.targets.inference.pictures import Pictures
from edgepress.targets.inference.questions import Questions
from edgepress.targets.inference.words import WordRows
from edgepress.targets.preprocess import image_config, sounds, standardise, tokens
from edgepress.targets.records import Feeds, Signature

CONFIG, PROCESSOR = "config.json", "preprocessor_config.json"
MOST_BYTES = 16 << 20
"""A configuration is not read beyond it."""


class Prepares(Protocol):
    """Raw rows → what the network takes."""

    @property
    def content(self) -> str:
        """What a row is, for messages and pages."""
        ...

    def feeds(self, rows: Sequence[Any]) -> Feeds:
        """name → array `[batch, ...]`. Raises DataError where a row is none of the kind."""
        ...


class Texts:
    """A row is a text, or a pair of two."""

    content = "a text, or a pair of two"

    def __init__(self, folder: Path, signature: Signature) -> None:
        shortest, longest = signature.bounds.get("sequence", (2, 512))
        self._tokens = tokens.Tokens(folder, [spec.name for spec in signature.inputs], shortest, longest)

    def feeds(self, rows: Sequence[Any]) -> Feeds:
        """See `Tokens.apply`."""
        return self._tokens.apply(rows)


class Sounds:
    """A row is a .wav file's path or bytes, or samples float32 in -1..1 at the model's rate."""

    content = "a recording: a .wav file's path or bytes, or samples float32 in -1..1"

    def __init__(self, windows: sounds.PcmWindows) -> None:
        self._windows = windows

    def feeds(self, rows: Sequence[Any]) -> Feeds:
        """float32 `[batch, samples]`."""
        return self._windows.apply([self._samples(row) for row in rows])

    def _samples(self, row: Any) -> np.ndarray:
        if isinstance(row, str | os.PathLike):
            return sounds.read_wav(Path(row), str(row), self._windows.rate)
        if isinstance(row, bytes):
            return sounds.read_wav(row, "this recording", self._windows.rate)
        samples = np.asarray(row)
        if samples.ndim != 1 or not np.issubdtype(samples.dtype, np.floating) or not np.isfinite(samples).all():
            raise DataError(f"{self.content} is asked for, got {samples.dtype} {list(samples.shape)}.")
        return samples


class Vectors:
    """A row is a sequence of numbers."""

    content = "a sequence of numbers"

    def __init__(self, standardisation: standardise.Standardisation) -> None:
        self._standardisation = standardisation

    def feeds(self, rows: Sequence[Any]) -> Feeds:
        """float32 `[batch, features]`."""
        try:
            values = np.asarray(rows, np.float64)
        except (TypeError, ValueError):
            values = np.zeros(0)
        if values.ndim != 2 or not np.isfinite(values).all():
            raise DataError(f"{self.content} is asked for, {len(self._standardisation.mean)} finite ones a row.")
        return self._standardisation.apply(values)


def preparer_of(folder: Path, signature: Signature) -> Prepares | None:
    """What makes feeds of raw rows for the artifact in `folder`; None where no file says it.

    Args:
        folder: of the artifact.
        signature: of its program "main".

    Raises:
        ModelError: a file is damaged, or asks for what is not known here.
    """
    if (folder / tokens.FILE_NAME).is_file():
        if signature.outputs[0].name == SPAN_LOGITS:
            return Questions(folder, signature)
        return (WordRows if "sequence" in signature.outputs[0].shape else Texts)(folder, signature)
    if (folder / standardise.FILE_NAME).is_file():
        return Vectors(standardise.read_standardisation(folder / standardise.FILE_NAME))
    first, config = signature.inputs[0], read_json(folder / CONFIG)
    pictures = MaskedPictures if len(signature.outputs[0].shape) == 4 else Pictures
    if not (folder / PROCESSOR).is_file():
        found = config.get("pretrained_cfg")
        return pictures(image_config.read_timm(found, str(folder / CONFIG)), first.name) if found else None
    settings, origin = read_json(folder / PROCESSOR), str(folder / PROCESSOR)
    if "feature_extractor_type" in settings and len(first.shape) == 2:
        return Sounds(sounds.read_extractor(settings, origin, first.name, int(first.shape[1])))
    return pictures(image_config.read_config(settings, origin, int(first.shape[1])), first.name)


def read_json(path: Path) -> dict[str, Any]:
    """A configuration as it is; an empty one where there is no file.

    Raises:
        ArtifactError: it is no JSON mapping, or far too large.
    """
    if not path.is_file():
        return {}
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"{path.stat().st_size} bytes")
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError) as fault:
        raise ArtifactError(f"{path} is no JSON mapping ({told(fault)}). Fetch the release again.") from None
