"""Rows of words → token numbers; each word is answered at the first of its tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgepress.benchmarks.metrics.tokens import IGNORED, Tags
from edgepress.compress.data.rows import Raw, Rows
from edgepress.compress.data.truths.tags import cells_of
from edgepress.compress.recipe.data import Columns, Data
from edgepress.compress.tasks.inputs.columns import Column, first_named
from edgepress.compress.tasks.inputs.text import CHUNK, SHORTEST, TextFeatures, TextInputs
from edgepress.targets.errors import DataError, ModelError, told
from edgepress.targets.records import Feeds, TensorSpec
from edgepress.targets.text import whole_text

WORDS = ("tokens", "words", "token", "word", "sentence", "text")


class WordFeatures(TextFeatures):
    """Tokens of all rows. `labels` are those of words, each at the place of its first token: int64 `[rows, positions]`.

    `note` tells how many words have no token, or none within the longest sequence.
    """

    def __init__(self, tokens: Tokenized, labels: np.ndarray, tokenizer: Any, note: str) -> None:
        super().__init__(tokens.ids, tokens.types, tokens.offsets, labels, tokenizer)
        self.note = note

    def judged(self, indices: np.ndarray, outputs: np.ndarray) -> np.ndarray:
        """The outputs of words, `[batch, positions, classes]` with as many positions as the longest row has; NaN at all
        other places.

        Args:
            indices: rows, int `[batch]`.
            outputs: `[batch, sequence, classes]`, of sequences padded to any length.
        """
        labels = np.asarray(self.labels[indices])
        width = min(labels.shape[1], outputs.shape[1])
        found = np.full((*labels.shape, outputs.shape[-1]), np.nan, np.float32)
        found[:, :width] = outputs[:, :width]
        found[labels == IGNORED] = np.nan
        return found


@dataclass(frozen=True)
class Tokenized:
    """Tokens of all rows, one behind the other.

    Args:
        ids: of the tokens.
        types: of the tokens.
        offsets: where each row begins, and the end.
        words: the word that begins at a token, counted in its row; -1 elsewhere.
    """

    ids: np.ndarray
    types: np.ndarray
    offsets: np.ndarray
    words: np.ndarray


@dataclass(frozen=True)
class WordInputs(TextInputs):
    """Words, as a table has them, for any transformers model with a fast tokenizer; no word is joined or parted before
    it is read."""

    content: str = "words"
    usual_names: tuple[str, ...] = WORDS

    def columns(self, names: Columns) -> list[str]:
        """The column of words."""
        return [names.tokens]

    def read(self, table: Mapping[str, Sequence[Any]], names: Columns, folder: Path, origin: str) -> Raw:
        """Lists of words, or texts that spaces part, as they are in a table's columns.

        Args:
            table: the columns.
            names: which one is which.
            folder: of no matter to words.
            origin: names the table in messages.

        Raises:
            DataError: a row has no words, a word is no text, or a row has another number of tags than of words.
        """
        values, tags = table[names.tokens], table[names.labels[0]]
        rows = [_words(value, row, names.tokens, origin) for row, value in enumerate(values, start=1)]
        for row, (words, cell) in enumerate(zip(rows, tags, strict=True), start=1):
            if len(words) != (count := len(cells_of(cell, row, origin, "tags"))):
                raise DataError(
                    f"{origin}, row {row}: {len(words)} words and {count} tags; each word needs its own. Mend the row."
                )
        return Raw(origin, tags, words=rows)

    def load_processor(self, source: str, network: str) -> Any:
        """The tokenizer, as `TextInputs.load_processor` gives it, padding and cutting behind the words.

        Args:
            source: a folder or hub id.
            network: the transformers class that reads the model.

        Raises:
            ModelError: there is none, or it does not take words.
        """
        tokenizer = super().load_processor(source, network)
        tokenizer.padding_side = tokenizer.truncation_side = "right"
        try:
            tokenizer([["a"]], is_split_into_words=True)
        except (AssertionError, ValueError, TypeError) as fault:
            raise ModelError(
                f"the tokenizer of {source} takes no rows of words: {told(fault)}. Save it again, made with "
                f"add_prefix_space=True."
            ) from None
        return tokenizer

    def features(self, rows: Rows, processor: Any, data: Data) -> WordFeatures:
        """The rows' tokens, those of longer rows cut to `data.max_length`, and the label of each word at its first."""
        assert rows.words is not None  # Task hands over rows of its own kind
        tokens = _tokens(rows.words, processor, data.max_length)
        places = np.diff(tokens.offsets)
        labels = np.full((len(rows), max(SHORTEST, int(places.max()))), IGNORED, np.int64)
        row = np.repeat(np.arange(len(rows)), places)
        column = np.arange(len(tokens.ids)) - np.repeat(tokens.offsets[:-1], places)
        first = tokens.words >= 0
        labels[row[first], column[first]] = rows.labels[row[first], tokens.words[first]]
        note = _unread(rows, int(first.sum()), data.max_length)
        return WordFeatures(tokens, Tags.of(labels, getattr(rows.labels, "names", ())), processor, note)

    def apply(self, raw: Sequence[Sequence[str]], processor: Any, data: Data) -> Feeds:  # type: ignore[override]
        """Tokens of one batch of rows of words, padded to the longest: int64 `[batch, sequence]` each.

        Args:
            raw: the words of each row.
            processor: the tokenizer.
            data: the recipe's section; longer rows are cut to its `max_length`.
        """
        words = [tuple(row) for row in raw]
        labels = np.zeros((len(words), max(map(len, words))), np.int64)
        return self.features(Rows(labels, "these words", words=words), processor, data).batch(np.arange(len(words)))

    def guess_columns(self, columns: Mapping[str, Column]) -> dict[str, str] | None:
        """`tokens`: a column of lists, or of texts, by its name before its values."""
        able = {
            name: column
            for name, column in columns.items()
            if column.is_text or any(isinstance(value, list | tuple) for value in column.values)
        }
        lists = {name: column for name, column in able.items() if not column.is_text} or able
        return {"tokens": first_named(lists, WORDS) or next(iter(lists))} if lists else None

    def python_feeds(self, specs: Sequence[TensorSpec]) -> tuple[str, str]:
        """One row of words through the tokenizer that lies beside the model."""
        call = '["some", "words"], is_split_into_words=True, return_tensors="np"'
        return "transformers", f'transformers.AutoTokenizer.from_pretrained(".")({call})'


def _words(value: Any, row: int, column: str, origin: str) -> tuple[str, ...]:
    words = cells_of(value, row, origin, "words")
    if wrong := next((place for place, word in enumerate(words, start=1) if not isinstance(word, str)), None):
        raise DataError(
            f"{origin}, row {row}: word {wrong} of {column!r} must be text, got {words[wrong - 1]!r:.60}. Mend or "
            f"remove the row."
        )
    return tuple(map(whole_text, words))


def _tokens(rows: Sequence[Sequence[str]], processor: Any, longest: int) -> Tokenized:
    ids: list[np.ndarray] = []
    types: list[np.ndarray] = []
    firsts: list[np.ndarray] = []
    for start in range(0, len(rows), CHUNK):
        part = [list(words) for words in rows[start : start + CHUNK]]
        encoded = processor(
            part,
            is_split_into_words=True,
            truncation=True,
            max_length=longest,
            return_token_type_ids=True,
            return_attention_mask=False,
        )
        ids.extend(np.asarray(row, dtype=np.int32) for row in encoded["input_ids"])
        types.extend(np.asarray(row, dtype=np.uint8) for row in encoded["token_type_ids"])
        firsts.extend(first_tokens(encoded.word_ids(number)) for number in range(len(part)))
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in ids])]).astype(np.int64)
    return Tokenized(np.concatenate(ids), np.concatenate(types), offsets, np.concatenate(firsts))


def first_tokens(words: Sequence[int | None]) -> np.ndarray:
    """The word that begins at each token, int64 `[tokens]`; -1 at special tokens and at the other tokens of a word.

    >>> first_tokens([None, 0, 0, 1, None]).tolist()
    [-1, 0, -1, 1, -1]
    """
    found = [
        -1 if word is None or word == before else word for before, word in zip([None, *words], words, strict=False)
    ]
    return np.asarray(found, np.int64)


def _unread(rows: Rows, read: int, longest: int) -> str:
    """What a user should know of words that no answer is given for; empty where there are none."""
    assert rows.words is not None
    words = sum(map(len, rows.words))
    if read == words:
        return ""
    return (
        f"{rows.origin}: {words - read:,} of {words:,} words are not judged: they lie beyond data.max_length "
        f"({longest} tokens), or the tokenizer makes nothing of them"
    )
