"""Recordings of class folders and table columns: decoded when asked for, one at a time, within bounds."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepress.compress.data.images import LazyImages, files_of, image_column, image_files
from edgepress.targets.errors import DataError, told
from edgepress.targets.preprocess.sounds import about_the_middle

if TYPE_CHECKING:
    from soundfile import SoundFile

AUDIO_SUFFIXES = (".wav", ".flac", ".ogg")
# libsndfile opens some twenty-five formats by content, and a data set's file is one of these.
FORMATS = ("WAV", "WAVEX", "FLAC", "OGG")
MOST_SAMPLES = 30_000_000
"""Of all channels of one file: ten minutes at 48 kHz. A few kB of FLAC can unpack to hours of silence."""
RATES = (1_000, 768_000)
"""Samples a second that a recording may have."""
NO_CLASSES = ("background_noise", "_background_noise_")
"""Folders of Speech Commands and its kin that hold noise to mix in: they are no class."""

Clip = tuple[np.ndarray, int]
"""float32 `[samples]` in -1..1, and samples a second."""


class Clips(LazyImages):
    """A sequence of `Clip`, decoded on access. `key` identifies one in a digest."""

    def take(self, indices: np.ndarray) -> Clips:
        """The recordings at `indices`, in that order."""
        return Clips([self._sources[index] for index in indices], self._read, self._key)


def clip_column(values: Sequence[Any], folder: Path, origin: str) -> Clips:
    """Recordings of a table's column: paths relative to the table's folder, bytes, or `datasets`' {bytes, path}.

    Args:
        values: of the column.
        folder: what paths are relative to.
        origin: names the table in messages.
    """
    lazy = image_column(values, folder, origin, decode_clip, "audio")
    return Clips(lazy._sources, lazy._read, lazy._key)


def clip_files(folder: Path) -> list[Path]:
    """The recordings of one subfolder a class, in a fixed order; folders of background noise are no class."""
    found = files_of(folder, AUDIO_SUFFIXES)
    return [path for path in found if path.relative_to(folder).parts[0].lower() not in NO_CLASSES]


def clips_of(paths: Sequence[Path]) -> Clips:
    """Files on disk, known in a digest by path, size and time of change."""
    lazy = image_files(paths, decode_clip)
    return Clips(lazy._sources, lazy._read, lazy._key)


def read_clip_folder(folder: Path) -> tuple[Clips, list[str]]:
    """Recordings of one subfolder a class, and the class name of each, in a fixed order.

    Raises:
        DataError: there are none.
    """
    paths = clip_files(folder)
    if not paths:
        kinds = ", ".join(AUDIO_SUFFIXES)
        raise DataError(f"{folder} is empty: it needs one subfolder a class with recordings ({kinds}) in it.")
    return clips_of(paths), [path.relative_to(folder).parts[0] for path in paths]


def decode_clip(source: Path | bytes, origin: str) -> Any:
    """A `Clip`, channels averaged to one.

    Raises:
        DataError: the file is missing, damaged, empty, of another format, or longer than `MOST_SAMPLES`; or soundfile
            is not installed.
    """
    try:
        import soundfile
    except (ImportError, OSError):
        raise DataError(
            "Recordings are decoded by soundfile, which is not installed. Fix: pip install 'edgepress[audio]'"
        ) from None
    try:
        with soundfile.SoundFile(io.BytesIO(source) if isinstance(source, bytes) else str(source)) as file:
            return _samples(file, origin), int(file.samplerate)
    except DataError:
        raise
    except Exception as fault:  # of a damaged file libsndfile and its wrapper raise what they happen to meet
        if isinstance(source, Path) and not source.is_file():
            raise DataError(f"{origin} is missing. Paths are relative to the file that names them.") from None
        raise DataError(f"{origin} is no readable recording ({told(fault)}). Mend or remove it.") from None


def _samples(file: SoundFile, origin: str) -> np.ndarray:
    if file.format not in FORMATS:
        raise DataError(f"{origin} is of the format {file.format}, and wav, flac and ogg are read. Convert it.")
    if file.frames == 0:
        raise DataError(f"{origin} is empty: it has no samples. Record it again or remove it.")
    if file.frames * file.channels > MOST_SAMPLES:
        raise DataError(
            f"{origin} has {file.frames} samples in {file.channels} channels, and at most {MOST_SAMPLES} in all are "
            f"read. Cut it into windows."
        )
    if not RATES[0] <= file.samplerate <= RATES[1]:
        raise DataError(f"{origin} has {file.samplerate} samples a second, not {RATES[0]} to {RATES[1]}. Mend it.")
    samples = file.read(frames=file.frames, dtype="float32", always_2d=True).mean(axis=1)
    if len(samples) != file.frames:
        raise DataError(f"{origin} is cut off: {len(samples)} of {file.frames} samples are there. Fetch it again.")
    if not np.isfinite(samples).all():
        raise DataError(f"{origin} has NaN or infinite samples. Mend or remove it.")
    whole: np.ndarray = samples.astype(np.float32)
    return whole


def windowed(clip: Clip, rate: int, samples: int) -> np.ndarray:
    """A recording at another rate, cut or padded with silence about its middle.

    Args:
        clip: the recording.
        rate: samples a second that come out; resampled by soxr where they differ.
        samples: of the window.

    Returns:
        float32 `[samples]`.

    >>> windowed((np.array([1.0, 2.0, 3.0], np.float32), 8), 8, 1).tolist()
    [2.0]
    >>> windowed((np.array([1.0, 2.0], np.float32), 8), 8, 5).tolist()
    [0.0, 1.0, 2.0, 0.0, 0.0]
    """
    values, own = clip
    if own != rate:
        values = _resampled(values, own, rate)
    return about_the_middle(values, samples)


def _resampled(values: np.ndarray, own: int, rate: int) -> np.ndarray:
    try:
        import soxr
    except ImportError:
        raise DataError(
            f"a recording has {own} samples a second and the model takes {rate}; soxr, which resamples, is not "
            f"installed. Fix: pip install 'edgepress[audio]'"
        ) from None
    changed: np.ndarray = soxr.resample(values, own, rate)
    return changed


def audio_share(values: Sequence[Any]) -> float:
    """Share of values that are encoded recordings or names of audio files."""
    named = [isinstance(value, bytes | Mapping) or str(value).lower().endswith(AUDIO_SUFFIXES) for value in values]
    return sum(named) / len(values)
