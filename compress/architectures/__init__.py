"""Networks of our own for what transformers has none: registered with its Auto classes, saved and loaded as its own."""

from __future__ import annotations

from functools import cache


@cache
def register() -> None:
    """Make `keyword-cnn`, `vector-mlp` and `own-code` known to transformers; once a process."""
    from transformers import (
        AutoConfig,
        AutoModelForAudioClassification,
        AutoModelForImageClassification,
        AutoModelForSequenceClassification,
    )

    from edgepress.compress.architectures.keyword_cnn import KeywordCnn, KeywordCnnConfig
    from edgepress.compress.architectures.own_code import OwnCode, OwnCodeConfig
    from edgepress.compress.architectures.vector_mlp import AutoModelForVectorClassification, VectorMlp, VectorMlpConfig

    AutoConfig.register(KeywordCnnConfig.model_type, KeywordCnnConfig)
    AutoModelForAudioClassification.register(KeywordCnnConfig, KeywordCnn)
    AutoConfig.register(VectorMlpConfig.model_type, VectorMlpConfig)
    AutoModelForVectorClassification.register(VectorMlpConfig, VectorMlp)
    AutoConfig.register(OwnCodeConfig.model_type, OwnCodeConfig)
    for kind in (
        AutoModelForAudioClassification,
        AutoModelForImageClassification,
        AutoModelForSequenceClassification,
        AutoModelForVectorClassification,
    ):
        kind.register(OwnCodeConfig, OwnCode)
