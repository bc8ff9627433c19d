"""A released decoder: a text in, the text that follows out, piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgepress.targets.errors import ArtifactError, DataError
from edgepress.targets.inference.generation import Generation, Sampling, Timing, Translation
from edgepress.targets.preprocess.tokens import FILE_NAME, PREFIX, SETTINGS_NAME, load_tokenizer, read_settings
from edgepress.targets.protocols import Session
from edgepress.targets.records import ENCODE, STEP, Signature
from edgepress.targets.text import whole_text

UNFINISHED = "\N{REPLACEMENT CHARACTER}"
"""What a piece ends with of whose last character bytes are missing: they come with the next token."""


@dataclass
class Text:
    """The text that follows a prompt; iterate over it for its pieces, or take `str(...)` of it, once.

    `timing` says how long it took, as far as it has come.
    """

    tokens: Generation
    decode: Callable[[list[int]], str]

    @property
    def timing(self) -> Timing:
        """How long it took so far."""
        return self.tokens.timing

    def __iter__(self) -> Iterator[str]:
        made: list[int] = []
        yielded = ""
        for token in self.tokens:
            made.append(token)
            text = self.decode(made)
            if not text.endswith(UNFINISHED):
                yield text[len(yielded) :]
                yielded = text
        if (text := self.decode(made)) != yielded:
            yield text[len(yielded) :]

    def __str__(self) -> str:
        return "".join(self)


class Decoder:
    """What turns texts into the tokens of a decoder's steps and back."""

    def __init__(self, folder: Path, signature: Signature, config: Mapping[str, Any]) -> None:
        """
        Args:
            folder: of the artifact, with tokenizer.json.
            signature: of the step.
            config: the model's config.json, which says which tokens end a text.

        Raises:
            ModelError: the tokenizer is missing or damaged.
            ArtifactError: config.json names end tokens that are none.
        """
        self._signature = signature
        self._tokenizer = load_tokenizer(folder / FILE_NAME)
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._ends = end_tokens(config, str(folder / "config.json"))

    def generate(self, session: Session, prompt: str, sampling: Sampling) -> Text:
        """The text that follows.

        Args:
            session: the opened artifact.
            prompt: as the model was trained to have it; a chat's template is applied by who asks.
            sampling: how tokens are chosen.

        Raises:
            DataError: the prompt is no text, has no token, or more than the model has positions.
        """
        tokens = self._tokens(prompt)
        found = Generation(session, self._signature, tokens, sampling, self._ends)
        return self._text(found)

    def _tokens(self, prompt: str) -> np.ndarray:
        if not isinstance(prompt, str):
            raise DataError(f"a prompt is a text, got {prompt!r:.60}.")
        return np.array(self._tokenizer.encode(whole_text(prompt)).ids, np.int64)

    def _text(self, tokens: Generation) -> Text:
        return Text(tokens, lambda made: str(self._tokenizer.decode(made, skip_special_tokens=True)))


class SourceDecoder(Decoder):
    """What turns sources into the tokens of an encoder-decoder's programs, and its targets back into texts."""

    def __init__(self, folder: Path, signatures: Mapping[str, Signature], config: Mapping[str, Any]) -> None:
        """
        Args:
            folder: of the artifact, with tokenizer.json and tokenizer_config.json.
            signatures: of its programs.
            config: the model's config.json, which says which tokens begin a target, end one, and pad.

        Raises:
            ModelError: the tokenizer is missing or damaged.
            ArtifactError: config.json names no token that begins a target, or one that is none.
        """
        super().__init__(folder, signatures[STEP], config)
        self._encode = signatures[ENCODE]
        self._prefix = str(read_settings(folder / SETTINGS_NAME).get(PREFIX, ""))
        self._start, self._padding = config.get("decoder_start_token_id"), config.get("pad_token_id")
        vocabulary = int(signatures[STEP].outputs[0].shape[-1])
        for name, token in (("decoder_start_token_id", self._start), ("pad_token_id", self._padding)):
            if not isinstance(token, int) or not 0 <= token < vocabulary:
                raise ArtifactError(
                    f"{folder / 'config.json'}: {name} is {token!r:.60}, which is none of {vocabulary} tokens. Fetch "
                    f"the release again."
                )

    def generate(self, session: Session, prompt: str, sampling: Sampling) -> Text:
        """The text that the model makes of a source.

        Args:
            session: the opened artifact.
            prompt: the source, without the prefix that the model was trained with, which is put before it.
            sampling: how tokens are chosen.

        Raises:
            DataError: the source is no text, is empty, or has more tokens than the model has positions.
        """
        if isinstance(prompt, str) and not prompt.strip():
            raise DataError("the source is empty. Give a text.")
        source = self._tokens(self._prefix + prompt if isinstance(prompt, str) else prompt)
        begin = np.array([self._start], np.int64)
        found = Translation(
            session, self._signature, begin, sampling, self._ends, source=source, encode=self._encode,
            padding=self._padding,
        )  # fmt: skip
        return self._text(found)


def decoder_of(folder: Path, signatures: Mapping[str, Signature], config: Mapping[str, Any]) -> Decoder | None:
    """What generates texts with the programs of an artifact; None where it has no steps.

    Args:
        folder: of the artifact.
        signatures: of its programs.
        config: the model's config.json.

    Raises:
        ModelError: the tokenizer is missing or damaged.
        ArtifactError: config.json names tokens that are none.
    """
    if STEP not in signatures:
        return None
    return (
        SourceDecoder(folder, signatures, config) if ENCODE in signatures else Decoder(folder, signatures[STEP], config)
    )


def end_tokens(config: Mapping[str, Any], origin: str) -> frozenset[int]:
    """The tokens that end a text, by a transformers configuration: one, several, or none.

    Args:
        config: the content of config.json.
        origin: names it in messages.

    Raises:
        ArtifactError: what it says are no tokens.

    >>> sorted(end_tokens({"eos_token_id": [2, 7]}, "config.json")), end_tokens({}, "config.json")
    ([2, 7], frozenset())
    """
    said = config.get("eos_token_id")
    found = [] if said is None else said if isinstance(said, list) else [said]
    if not all(isinstance(token, int) and token >= 0 for token in found):
        raise ArtifactError(f"{origin}: eos_token_id is {said!r:.60}, which are no tokens. Fetch the release again.")
    return frozenset(found)
