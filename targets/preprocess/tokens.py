"""Texts → token numbers by the tokenizer.json beside a model, with the tokenizers package alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgepress.targets.errors import DataError, ModelError, TargetUnavailable, told
from edgepress.targets.records import Feeds
from edgepress.targets.text import whole_text

FILE_NAME, SETTINGS_NAME = "tokenizer.json", "tokenizer_config.json"
STRIDE = "doc_stride"
"""What tokenizer_config.json calls the tokens that windows of a long text share, as transformers' pipelines do."""
PREFIX = "source_prefix"
"""What tokenizer_config.json calls the text that is put before every source, such as T5's `summarize: `."""
MOST_BYTES = 256 << 20
"""A tokenizer.json is not read beyond it: the largest vocabularies make some 30 MB."""


class Tokens:
    """A tokenizer that gives what a model's signature asks for.

    Args:
        folder: with tokenizer.json and, of transformers, tokenizer_config.json.
        names: the model's inputs: `input_ids` and, of `attention_mask` and `token_type_ids`, those it takes.
        shortest: tokens of a row, at least; shorter ones are padded.
        longest: tokens of a row, at most; longer texts are cut, the longer one of a pair first.

    Raises:
        ModelError: a file is missing or damaged, or no token is there to pad with.
        TargetUnavailable: tokenizers is not installed.
    """

    def __init__(self, folder: Path, names: Sequence[str], shortest: int, longest: int) -> None:
        self._names = tuple(names)
        self._shortest = shortest
        settings = read_settings(folder / SETTINGS_NAME)
        self._longest = longest
        self._stride = settings.get(STRIDE, 0)
        self._tokenizer = load_tokenizer(folder / FILE_NAME)
        self._left = settings.get("padding_side") == "left"
        self._pad = self._padding(settings, folder)
        try:
            self._tokenizer.enable_truncation(longest, direction=settings.get("truncation_side", "right"))
        except (ValueError, TypeError) as fault:
            raise ModelError(f"{folder / SETTINGS_NAME} cannot be used ({told(fault)}).") from None
        self._tokenizer.no_padding()

    def apply(self, texts: Sequence[str | tuple[str, str]]) -> Feeds:
        """int64 `[batch, sequence]` each, padded to the longest text of the batch.

        Raises:
            DataError: a row is neither a text nor a pair of them.
        """
        return self.padded(self._tokenizer.encode_batch([_checked(row) for row in texts]))

    def encode(self, rows: Sequence[Sequence[str]]) -> list[Any]:
        """The tokens of rows of words, each row as tokenizers gives it: ids, type_ids, word_ids."""
        return list(self._tokenizer.encode_batch([list(row) for row in rows], is_pretokenized=True))

    def windows(self, question: str, context: str) -> list[Any]:
        """The windows that a context is cut into, the question before each, as tokenizers gives them.

        Raises:
            ModelError: the settings beside the model do not say how windows overlap.
            DataError: the question leaves no room for the context.
        """
        room = self._longest - len(self._tokenizer.encode(question, "").ids)
        if not isinstance(self._stride, int) or not 0 <= self._stride * 2 <= self._longest:
            raise ModelError(f"{SETTINGS_NAME} has the {STRIDE} {self._stride!r:.60}. Fetch the release again.")
        if room <= self._stride:
            raise DataError(
                f"the question leaves room for {max(0, room)} tokens of the context, and windows of {self._longest} "
                f"share {self._stride}. Shorten it."
            )
        self._tokenizer.enable_truncation(self._longest, stride=self._stride, strategy="only_second")
        found = self._tokenizer.encode(question, context)
        return [found, *found.overflowing]

    def padded(self, rows: Sequence[Any]) -> Feeds:
        """int64 `[batch, sequence]` each, of rows as tokenizers gives them."""
        width = max(self._shortest, *(len(row.ids) for row in rows))
        feeds = {name: np.full((len(rows), width), self._fill(name), np.int64) for name in self._names}
        for number, row in enumerate(rows):
            place = slice(width - len(row.ids), width) if self._left else slice(0, len(row.ids))
            values = {"input_ids": row.ids, "attention_mask": 1, "token_type_ids": row.type_ids}
            for name, feed in feeds.items():
                feed[number, place] = values[name]
        return feeds

    def _fill(self, name: str) -> int:
        return self._pad if name == "input_ids" else 0

    def _padding(self, settings: dict[str, Any], folder: Path) -> int:
        token = settings.get("pad_token")
        token = token.get("content") if isinstance(token, dict) else token
        found = self._tokenizer.token_to_id(token) if isinstance(token, str) else None
        if found is None:
            raise ModelError(f"{folder / SETTINGS_NAME} names no padding token. Fetch the release again.")
        return int(found)


def _checked(row: Any) -> Any:
    parts = (row,) if isinstance(row, str) else row
    if (
        not isinstance(parts, tuple | list)
        or not all(isinstance(part, str) for part in parts)
        or len(parts) not in (1, 2)
    ):
        raise DataError(f"a text, or a pair of two, is asked for, got {row!r:.60}.")
    texts = tuple(whole_text(part) for part in parts)
    return texts[0] if len(texts) == 1 else texts


def read_settings(path: Path) -> dict[str, Any]:
    """tokenizer_config.json. Raises ModelError where it is missing or no JSON mapping."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError) as fault:
        raise ModelError(f"{path} is no JSON mapping ({told(fault)}). Fetch the release again.") from None


def load_tokenizer(path: Path) -> Any:
    """The tokenizer of a file that may be anybody's.

    Raises:
        ModelError: it is missing, damaged, or far too large.
        TargetUnavailable: tokenizers is not installed.
    """
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise TargetUnavailable(
            "texts are read by tokenizers, which is not installed. Run: pip install tokenizers"
        ) from None
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ModelError(f"{path} has more than {MOST_BYTES >> 20} MB: that is no tokenizer.")
        return Tokenizer.from_file(str(path))
    except ModelError:
        raise
    except Exception as fault:  # of its own, without a class of its own
        raise ModelError(f"{path} is no tokenizer ({told(fault)}). Fetch the release again.") from None
