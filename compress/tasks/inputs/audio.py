"""Recordings → windows of fixed length, and what a model's feature extractor makes of them."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepress.compress.data.clips import Clips, audio_share, clip_column, windowed
from edgepress.compress.data.rows import Kind, Raw, Rows, label_values
from edgepress.compress.recipe.data import Columns, Data
from edgepress.compress.tasks.base import MAX_BATCH, Features
from edgepress.compress.tasks.inputs.audio_extractor import begin_extractor, load_extractor
from edgepress.compress.tasks.inputs.columns import Column, first_named, most
from edgepress.compress.tasks.trial import Trial
from edgepress.targets.records import Description, Feeds, TensorSpec

if TYPE_CHECKING:
    from torch import nn

AUDIO = ("audio", "wav", "sound", "recording", "clip", "file", "file_name", "path")


@dataclass(frozen=True)
class Windows:
    """A processor: transformers' feature extractor beside a model, and the samples of a window (0 until fitted)."""

    extractor: Any
    samples: int = 0

    @property
    def rate(self) -> int:
        """Samples a second."""
        return int(self.extractor.sampling_rate)

    @property
    def name(self) -> str:
        """Of the network's input."""
        return str(self.extractor.model_input_names[0])

    def apply(self, windows: np.ndarray) -> Feeds:
        """What the network takes of windows float32 `[batch, samples]`."""
        rows = [np.ascontiguousarray(row) for row in windows]
        made = self.extractor(rows, sampling_rate=self.rate, return_tensors="np")
        return {self.name: np.ascontiguousarray(made[self.name], dtype=np.float32)}


class AudioFeatures:
    """Windows, decoded and resampled once into a file of their own, which the system keeps in memory as it can."""

    lengths: np.ndarray | None = None

    def __init__(self, clips: Clips, labels: np.ndarray, processor: Windows) -> None:
        self.labels = labels
        self._processor = processor
        self._windows = _stored(clips, processor)
        self.digest = self._digest(clips)

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: Sequence[int] | np.ndarray, length: int | None = None) -> dict[str, np.ndarray]:
        """The extractor's output for rows, float32 `[batch, ...]`; windows have no `length`."""
        return dict(self._processor.apply(self._windows[np.asarray(indices)]))

    def _digest(self, clips: Clips) -> str:
        said = [self._processor.extractor.to_dict(), self._processor.samples]
        digest = hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode())
        digest.update(np.ascontiguousarray(self.labels).tobytes())
        for index in range(len(clips)):
            digest.update(hashlib.sha256(clips.key(index)).digest())
        return digest.hexdigest()


@dataclass(frozen=True)
class AudioInputs:
    """A window of sound, for transformers' audio classifiers: raw PCM float32 `[batch, samples]`, or a spectrogram."""

    content: str = "recordings"
    kinds: frozenset[Kind] = frozenset({"folder", "table", "hub"})
    sequences: bool = False
    needs_tokenizer: bool = False
    example: str = "path/to/recordings"
    usual_names: tuple[str, ...] = AUDIO

    def columns(self, names: Columns) -> list[str]:
        """The recording's column."""
        return [names.audio]

    def read(self, table: Mapping[str, Sequence[Any]], names: Columns, folder: Path, origin: str) -> Raw:
        """Paths or encoded recordings of a table's column, decoded when asked for.

        Args:
            table: the columns.
            names: which one is which.
            folder: what paths are relative to.
            origin: names the table in messages.
        """
        return Raw(origin, label_values(table, names), clips=clip_column(table[names.audio], folder, origin))

    def load_processor(self, source: str, network: str) -> Windows:
        """preprocessor_config.json.

        Args:
            source: a folder or hub id.
            network: the transformers class that reads the model.

        Raises:
            ModelError: it is missing or of no known extractor.
        """
        return Windows(load_extractor(source))

    def begin_processor(self, config: Mapping[str, Any]) -> Windows:
        """The extractor that belongs to an architecture, in the sizes of its configuration.

        Args:
            config: of a teacher that is trained in the run.

        Raises:
            ModelError: the architecture has none.
        """
        return Windows(begin_extractor(config))

    def fit_processor(self, processor: Any | None, train: Rows, data: Data) -> Windows:
        """The window's samples, by the recipe's `window_seconds`.

        Args:
            processor: of the model's folder or configuration.
            train: nothing is learned of them.
            data: the recipe's section.
        """
        assert processor is not None  # the teacher has a folder or a configuration
        fitted: Windows = replace(processor, samples=max(1, round(data.window_seconds * processor.rate)))
        return fitted

    def features(self, rows: Rows, processor: Any, data: Data) -> AudioFeatures:
        """The rows' windows, and how they are prepared."""
        assert rows.clips is not None  # Task hands over rows of its own kind
        return AudioFeatures(rows.clips, rows.labels, processor)

    def apply(self, raw: Any, processor: Any, data: Data) -> Feeds:
        """The network's input of one batch of windows.

        Args:
            raw: PCM float32 `[batch, samples]` in -1..1 at the processor's rate; cut or padded about the middle.
            processor: a fitted one.
            data: the recipe's section; nothing of it matters here.
        """
        rate, samples = processor.rate, processor.samples
        rows: Feeds = processor.apply(np.stack([windowed((row, rate), rate, samples) for row in raw]))
        return rows

    def trial(self, network: nn.Module, processor: Any, data: Data) -> Trial:
        """One silent window."""
        feeds = processor.apply(np.zeros((1, processor.samples), np.float32))
        shape = feeds[processor.name].shape[1:]
        inputs = (TensorSpec(name=processor.name, dtype="float32", shape=("batch", *shape)),)
        hint = f"A window has {processor.samples} samples, {processor.rate} a second; see data.window_seconds."
        return Trial(inputs, {"batch": (1, MAX_BATCH)}, feeds, hint)

    def sample_feeds(self, features: Features, batch: int, sequence: int | None) -> Feeds:
        """The first rows, again from the start where they are too few; windows have no `sequence`."""
        return features.batch(np.resize(np.arange(len(features)), batch))

    def describe(self, processor: Any) -> Description:
        """Nothing beside preprocessor_config.json."""
        return Description()

    def save_processor(self, processor: Any, folder: Path) -> None:
        """preprocessor_config.json, with the window's samples."""
        processor.extractor.save_pretrained(folder)

    def guess_columns(self, columns: Mapping[str, Column]) -> dict[str, str] | None:
        """`audio`: a column whose name says so, or the one with most names of audio files."""
        named = first_named(columns, AUDIO)
        return {"audio": named or most(columns, lambda column: audio_share(column.values))} if columns else None

    def python_feeds(self, specs: Sequence[TensorSpec]) -> tuple[str, str]:
        """One window of silence; preprocessor_config.json beside the model says what becomes of samples."""
        shape = ", ".join("1" if isinstance(size, str) else str(size) for size in specs[0].shape)
        zeros = f'{{"{specs[0].name}": np.zeros(({shape}), np.{specs[0].dtype})}}'
        return "numpy as np", f"{zeros}  # a window of sound, by preprocessor_config.json"


def _stored(clips: Clips, processor: Windows) -> np.ndarray:
    """float32 `[rows, samples]` in a file without a name, gone with the process."""
    with tempfile.TemporaryFile() as file:
        shape = (len(clips), processor.samples)
        windows = np.memmap(file, np.float32, "w+", shape=shape)
    for row in range(len(clips)):
        windows[row] = windowed(clips[row], processor.rate, processor.samples)  # type: ignore[arg-type]
    return windows
