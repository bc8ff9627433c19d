"""Recordings → windows of raw PCM, as networks that read it were trained on."""

from __future__ import annotations

import io
import wave
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgepress.targets.errors import DataError, ModelError, told
from edgepress.targets.records import Feeds

RAW_EXTRACTOR = "Wav2Vec2FeatureExtractor"
"""The one of transformers' extractors that hands on samples; all others make spectrograms with code of their own."""
LONGEST = 1 << 28
"""Samples of a file that is read."""


@dataclass(frozen=True)
class PcmWindows:
    """Windows of `samples` at `rate` samples a second; `normalise` brings each to mean 0 and variance 1."""

    name: str
    rate: int
    samples: int
    normalise: bool = False

    def apply(self, recordings: list[np.ndarray]) -> Feeds:
        """float32 `[batch, samples]` of recordings float32 `[any]` in -1..1 at the model's rate."""
        windows = np.stack([about_the_middle(row, self.samples) for row in recordings])
        if self.normalise:
            mean, variance = windows.mean(1, keepdims=True), windows.var(1, keepdims=True)
            windows = (windows - mean) / np.sqrt(variance + 1e-7)
        return {self.name: np.ascontiguousarray(windows, np.float32)}


def about_the_middle(values: np.ndarray, samples: int) -> np.ndarray:
    """A recording cut or padded with silence about its middle, float32 `[samples]`.

    >>> about_the_middle(np.array([1.0, 2.0, 3.0]), 1).tolist(), about_the_middle(np.array([1.0, 2.0]), 5).tolist()
    ([2.0], [0.0, 1.0, 2.0, 0.0, 0.0])
    """
    start = max(0, (len(values) - samples) // 2)
    values = values[start : start + samples]
    before = (samples - len(values)) // 2
    return np.pad(values, (before, samples - len(values) - before)).astype(np.float32)


def read_extractor(settings: Mapping[str, Any], origin: str, name: str, samples: int) -> PcmWindows:
    """What the preprocessor_config.json of an audio model says.

    Args:
        settings: its content.
        origin: names the file in messages.
        name: of the network's input.
        samples: of a window, which the artifact's signature says.

    Raises:
        ModelError: its extractor is not one of raw samples, or a setting is missing.
    """
    kind = settings.get("feature_extractor_type")
    if kind != RAW_EXTRACTOR:
        raise ModelError(
            f"{origin}: {kind!r:.60} makes spectrograms with code of transformers. Feed what it makes with "
            f"Bundle.infer, or train a network that reads raw PCM."
        )
    try:
        return PcmWindows(name, int(settings["sampling_rate"]), samples, bool(settings.get("do_normalize", True)))
    except (KeyError, TypeError, ValueError, OverflowError) as fault:
        raise ModelError(f"{origin} cannot be used ({told(fault)}). Fetch the release again.") from None


def read_wav(source: Path | bytes, origin: str, rate: int) -> np.ndarray:
    """A .wav file of 16-bit PCM at `rate`, channels averaged: float32 `[samples]` in -1..1.

    Raises:
        DataError: it is missing, damaged, of another width or rate, or very long.
    """
    try:
        with wave.open(io.BytesIO(source) if isinstance(source, bytes) else str(source), "rb") as file:
            width, own, channels, frames = (
                file.getsampwidth(),
                file.getframerate(),
                file.getnchannels(),
                file.getnframes(),
            )
            if width != 2 or own != rate or frames * channels > LONGEST:
                raise DataError(
                    f"{origin} has {8 * width} bits, {own} samples a second and {frames} frames; 16 bits and {rate} "
                    f"samples a second are read. Give the samples themselves, float32 in -1..1."
                )
            values = np.frombuffer(file.readframes(frames), "<i2").astype(np.float32) / 32768
    except (OSError, EOFError, wave.Error) as fault:
        raise DataError(f"{origin} is no readable .wav file ({told(fault)}). Mend or remove it.") from None
    mixed: np.ndarray = values[: len(values) // channels * channels].reshape(-1, channels).mean(1)
    return mixed
