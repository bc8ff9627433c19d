"""Networks of our own for what transformers has none: registered with its Auto classes, saved and loaded as its own."""

from __future__ import annotations

from functools import cache


@cache
def register() -> None:
    """Make `keyword-cnn` and `vector-mlp` known to transformers; once a process."""
    from transformers import AutoConfig, AutoModelForAudioClassification

    from edgepress.compress.architectures.keyword_cnn import KeywordCnn, KeywordCnnConfig
    from edgepress.compress.architectures.vector_mlp import AutoModelForVectorClassification, VectorMlp, VectorMlpConfig

    AutoConfig.register(KeywordCnnConfig.model_type, KeywordCnnConfig)
    AutoModelForAudioClassification.register(KeywordCnnConfig, KeywordCnn)
    AutoConfig.register(VectorMlpConfig.model_type, VectorMlpConfig)
    AutoModelForVectorClassification.register(VectorMlpConfig, VectorMlp)
