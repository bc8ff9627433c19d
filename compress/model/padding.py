"""Which token pads, and which begins a target: a model and the tokenizer that feeds it have to agree, or a decoder
reads padding."""

from __future__ import annotations

from typing import Any

START = "decoder_start_token_id"
"""What configurations, and tokenizers of sources and targets, call the token that every target begins with."""


def adopt_padding(config: Any, token: int | None, owner: str) -> str | None:
    """Write the padding token of `owner` into a configuration that names none; what to tell the user, if anything.

    A decoder's classifier takes the last token that is not padding, so it cannot take batches without. Where the
    configuration names another token nothing is changed: its weights were trained with that.

    Args:
        config: a transformers configuration, changed in place.
        token: number of the token that fills up short rows; None where there are no tokens.
        owner: who says so, e.g. "the tokenizer".
    """
    if token is None:
        return None
    own = getattr(config, "pad_token_id", None)
    if own is None:
        config.pad_token_id = token
        return f"config.json names no pad_token_id; {owner}'s is taken: {token}"
    if own != token and reads_last_token(config):
        return (
            f"config.json says pad_token_id {own} and {owner} pads with {token}: the answer is read at the last token "
            f"that is not {own}, which is padding. If the model was not trained so, write {token} into config.json"
        )
    return None


def tokens_of_targets(processor: Any) -> dict[str, int]:
    """What a configuration of an encoder-decoder has to say of its tokens, by the tokenizer of its rows: those that
    pad, end a target and begin one; nothing of any other processor."""
    start = getattr(processor, "init_kwargs", {}).get(START)
    if start is None:
        return {}
    return {"pad_token_id": processor.pad_token_id, "eos_token_id": processor.eos_token_id, START: start}


def adopt_start(config: Any, processor: Any) -> None:
    """Write the token that begins a target into a configuration that names none.

    Args:
        config: a transformers configuration, changed in place.
        processor: the tokenizer of sources and targets; nothing is written for any other.
    """
    found = tokens_of_targets(processor)
    if found and getattr(config, START, None) is None:
        setattr(config, START, found[START])


def reads_last_token(config: Any) -> bool:
    """Whether the architecture looks for the last token that is not padding, as decoders do: those that also generate
    text, and no encoder-decoder; XLNet takes the last place, whatever stands there."""
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    )

    kind = config.model_type
    decoder = kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and kind not in (*MODEL_FOR_MASKED_LM_MAPPING_NAMES, "xlnet")
    return decoder and not getattr(config, "is_encoder_decoder", False)
