"""A small convolutional network over log-mel energies for short commands, with raw PCM as its input."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from edgepress.compress.architectures.log_mel import LogMel


class KeywordCnnConfig(PretrainedConfig):  # type: ignore[misc]
    """`channels` and `strides` of 3 x 3 convolutions, and the spectrogram before them: see `LogMel`.

    Times are in samples, frequencies in Hz.
    """

    model_type = "keyword-cnn"
    sampling_rate: int = 16_000
    window: int = 400
    hop: int = 320
    fft: int = 512
    mels: int = 40
    low: float = 20.0
    high: float = 8_000.0
    floor: float = 1e-5
    channels: list[int] | None = None
    strides: list[int] | None = None
    dropout: float = 0.1

    def __init__(self, channels: Any = (32, 64, 64), strides: Any = (2, 1, 2), **options: Any) -> None:
        names = ("sampling_rate", "window", "hop", "fft", "mels", "low", "high", "floor", "dropout")
        given = {name: options.pop(name, getattr(type(self), name)) for name in names}
        super().__init__(**options)
        for name, value in given.items():
            setattr(self, name, value)
        self.channels, self.strides = list(channels), list(strides)
        if fault := _fault(self):
            raise ValueError(fault)


class KeywordCnn(PreTrainedModel):  # type: ignore[misc]
    """PCM `input_values`, float32 `[batch, samples]` in -1..1 → logits `[batch, classes]`.

    A network of the kind of Sainath and Parada, Interspeech 2015 (cnn-trad), with batch normalisation and a mean over
    time and frequency in place of the large dense layers.
    """

    config_class = KeywordCnnConfig
    base_model_prefix = "encoder"
    main_input_name = "input_values"

    def __init__(self, config: KeywordCnnConfig) -> None:
        super().__init__(config)
        self.log_mel = LogMel(
            config.sampling_rate, config.window, config.hop, config.fft, config.mels, config.low, config.high,
            config.floor,
        )  # fmt: skip
        self.norm = nn.BatchNorm2d(1)
        widths = [1, *(config.channels or ())]
        self.encoder = nn.Sequential(
            *(
                _block(before, after, stride)
                for before, after, stride in zip(widths, widths[1:], config.strides or (), strict=False)
            )
        )
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(widths[-1], config.num_labels)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        # As torch initialises layers: transformers' small normal numbers are meant for transformers.
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.kaiming_uniform_(module.weight, a=5**0.5)
            nn.init.zeros_(module.bias)

    def forward(self, input_values: torch.Tensor) -> SequenceClassifierOutput:
        """Logits of windows of sound."""
        found = self.encoder(self.norm(self.log_mel(input_values)))
        return SequenceClassifierOutput(logits=self.classifier(self.dropout(found.mean((2, 3)))))


def _block(before: int, after: int, stride: int) -> nn.Sequential:
    layer = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(after), nn.ReLU())


def _fault(config: KeywordCnnConfig) -> str:
    """What is wrong with a configuration; empty where nothing is."""
    channels, strides = config.channels or [], config.strides or []
    if not channels or len(channels) != len(strides) or min(*channels, *strides, 1) < 1:
        return f"channels and strides are of the same length, whole and positive; got {channels} and {strides}"
    if not 1 <= config.window <= config.fft or config.hop < 1:
        return f"1 <= window <= fft and hop >= 1; got window {config.window}, fft {config.fft}, hop {config.hop}"
    if not 0 <= config.low < config.high <= config.sampling_rate / 2:
        return f"0 <= low < high <= half of sampling_rate; got {config.low} and {config.high} Hz"
    return ""
