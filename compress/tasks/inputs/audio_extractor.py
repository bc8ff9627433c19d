"""transformers' feature extractors of audio models: loaded from beside a model, or made to fit a configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgepress.compress.model.hub import find_file, quiet
from edgepress.compress.recipe.paths import in_home, pinned
from edgepress.targets.errors import ModelError, told

FILE_NAME = "preprocessor_config.json"
RAW = (
    "keyword-cnn",
    "wav2vec2",
    "wav2vec2-bert",
    "hubert",
    "wavlm",
    "unispeech",
    "unispeech-sat",
    "data2vec-audio",
    "sew",
    "own-code",
)
"""Architectures that read raw PCM."""
RATE = 16_000


def load_extractor(source: str) -> Any:
    """The feature extractor of a folder or hub id.

    Raises:
        ModelError: there is none, or it cannot be used.
    """
    from transformers import AutoFeatureExtractor

    if find_file(source, FILE_NAME) is None:
        raise ModelError(
            f"{source} has no {FILE_NAME}: nothing says what becomes of samples. Save the extractor there."
        )
    try:
        with quiet():
            name, revision = pinned(in_home(source))
            found = AutoFeatureExtractor.from_pretrained(name, revision=revision, trust_remote_code=False)
    except Exception as fault:  # each extractor checks its settings with exceptions of its own
        raise ModelError(f"{source}/{FILE_NAME} cannot be used: {told(fault)}") from None
    if not hasattr(found, "sampling_rate"):
        raise ModelError(f"{source}/{FILE_NAME} is of {type(found).__name__}, which takes no sound.")
    return found


def begin_extractor(config: Mapping[str, Any]) -> Any:
    """The extractor of an architecture, in the sizes of its configuration.

    Args:
        config: the recipe's `teacher.config`.

    Raises:
        ModelError: the architecture is none that is known to read sound.
    """
    import transformers

    kind = str(config.get("model_type"))
    rate = int(config.get("sampling_rate", RATE))
    if kind in RAW:
        return transformers.Wav2Vec2FeatureExtractor(
            sampling_rate=rate, do_normalize=kind not in ("keyword-cnn", "own-code"), return_attention_mask=False
        )
    if kind == "audio-spectrogram-transformer":
        sizes = {"num_mel_bins": config.get("num_mel_bins", 128), "max_length": config.get("max_length", 1024)}
        return transformers.ASTFeatureExtractor(sampling_rate=rate, **sizes)
    if kind == "whisper":
        # Its encoder halves 100 frames a second.
        seconds = max(1, int(config.get("max_source_positions", 1500)) * 2 // 100)
        bands = int(config.get("num_mel_bins", 80))
        return transformers.WhisperFeatureExtractor(feature_size=bands, sampling_rate=rate, chunk_length=seconds)
    known = ", ".join((*RAW, "audio-spectrogram-transformer", "whisper"))
    raise ModelError(f"teacher.config: of {kind!r} it is not known how it reads sound; known are {known}.")
