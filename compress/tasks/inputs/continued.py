"""Texts to go on with → token numbers and what follows each: whole texts packed into blocks, or prompts with their
completions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgepress.benchmarks.metrics.next_tokens import scored_whole
from edgepress.benchmarks.metrics.tokens import IGNORED
from edgepress.compress.data.rows import Raw, Rows, Texts
from edgepress.compress.recipe.data import Columns, Data
from edgepress.compress.tasks.inputs.columns import Column, first_named
from edgepress.compress.tasks.inputs.text import CHUNK, FIRST_TEXTS, SHORTEST, TextFeatures, TextInputs, checked_texts
from edgepress.targets.errors import DataError, ModelError
from edgepress.targets.records import Feeds, TensorSpec

PROMPTS = ("prompt", "instruction", "question", "input", "source", "query")
COMPLETIONS = ("completion", "response", "answer", "output", "target", "reply")


class Continued(TextFeatures):
    """Tokens of all rows; `labels` are the tokens that follow each, int64 `[rows, positions]`.

    `note` tells what was cut, and how many rows were left out with it.
    """

    def __init__(self, rows: Sequence[np.ndarray], firsts: Sequence[int], tokenizer: Any, note: str) -> None:
        """
        Args:
            rows: the tokens of each row.
            firsts: the first token of each row that is judged; what lies before it is its prompt.
            tokenizer: says which token pads.
            note: for the user.
        """
        lengths = np.array([len(row) for row in rows])
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        flat = np.concatenate(rows).astype(np.int32)
        labels = np.full((len(rows), max(SHORTEST, int(lengths.max()))), IGNORED, np.int64)
        for place, (row, first) in enumerate(zip(rows, firsts, strict=True)):
            labels[place, max(0, first - 1) : len(row) - 1] = row[max(1, first) :]
        super().__init__(flat, np.zeros(len(flat), np.uint8), offsets, labels, tokenizer)
        self.note = note

    def judged(self, indices: np.ndarray, outputs: np.ndarray) -> np.ndarray:
        """What is kept of logits, `[batch, positions, 2]` with as many positions as the longest row has; see `scored`.

        Args:
            indices: rows, int `[batch]`.
            outputs: logits `[batch, sequence, vocabulary]`, of sequences padded to any length.
        """
        return scored_whole(outputs, np.asarray(self.labels[indices]))


@dataclass(frozen=True)
class ContinuedInputs(TextInputs):
    """Texts for a decoder. With `data.columns.prompt` a row is a prompt and its completion, and only the completion is
    judged; without it `text` is one long text, cut into blocks of `data.max_length` tokens."""

    usual_names: tuple[str, ...] = FIRST_TEXTS + PROMPTS + COMPLETIONS

    def columns(self, names: Columns) -> list[str]:
        """The texts' column, or those of prompts and completions."""
        return [names.text] if names.prompt is None else [names.prompt, names.completion]

    def read(self, table: Mapping[str, Sequence[Any]], names: Columns, folder: Path, origin: str) -> Raw:
        """Texts as they are in a table's columns.

        Args:
            table: the columns.
            names: which one is which.
            folder: of no matter to texts.
            origin: names the table in messages.

        Raises:
            DataError: a cell is no text.
        """
        texts = [checked_texts(table[column], column, origin) for column in self.columns(names)]
        pairs: Texts = (texts[0], texts[1] if len(texts) > 1 else None)
        return Raw(origin, [None] * len(texts[0]), texts=pairs)

    def check_tokenizer(self, tokenizer: Any, source: str) -> None:
        """Padding on the right, with the token that ends texts where there is none that pads: the mask hides it.

        Args:
            tokenizer: changed in place.
            source: names it in messages.

        Raises:
            ModelError: it has neither a padding token nor one that ends texts.
        """
        if tokenizer.pad_token_id is None and tokenizer.eos_token_id is None:
            raise ModelError(
                f"the tokenizer of {source} has no token that ends a text (eos_token) and none that pads. Set its "
                f"eos_token and save it again: without it a text never ends."
            )
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        tokenizer.padding_side = tokenizer.truncation_side = "right"

    def features(self, rows: Rows, processor: Any, data: Data) -> Continued:
        """Blocks of tokens of all texts, or the tokens of each prompt with its completion.

        Raises:
            DataError: no row has a token that could be judged.
        """
        assert rows.texts is not None  # Task hands over rows of its own kind
        first, second = rows.texts
        if second is None:
            blocks, note = _blocks(_tokens(first, processor, True), processor.eos_token_id, data.max_length), ""
            firsts = [1] * len(blocks)
        else:
            blocks, firsts, note = _completed(first, second, processor, data.max_length, rows.origin)
        if not blocks:
            raise DataError(
                f"{rows.origin}: no row has two tokens, of which the second could be learned. Give longer texts, or a "
                f"longer data.max_length than {data.max_length}."
            )
        return Continued(blocks, firsts, processor, note)

    def apply(self, raw: Texts, processor: Any, data: Data) -> Feeds:
        """Tokens of one batch of texts to go on with, padded to the longest: int64 `[batch, sequence]` each.

        Args:
            raw: the texts; seconds are put behind them.
            processor: the tokenizer.
            data: the recipe's section; longer texts are cut to its `max_length`.
        """
        texts = raw[0] if raw[1] is None else [a + b for a, b in zip(raw[0], raw[1], strict=True)]
        rows = [row[: data.max_length] for row in _tokens(texts, processor, True)]
        return Continued(rows, [1] * len(rows), processor, "").batch(np.arange(len(rows)))

    def guess_columns(self, columns: Mapping[str, Column]) -> dict[str, str | list[str]] | None:  # type: ignore[override]
        """`prompt` and `completion` where names say so; else `text`."""
        texts = {name: column for name, column in columns.items() if column.is_text}
        prompt, completion = first_named(texts, PROMPTS), first_named(texts, COMPLETIONS)
        if prompt is not None and completion is not None:
            return {"prompt": prompt, "completion": completion}
        found = super().guess_columns(columns)
        return {"text": found["text"]} if found else None

    def python_feeds(self, specs: Sequence[TensorSpec]) -> tuple[str, str]:
        """One text to go on with through the tokenizer that lies beside the model."""
        call = '(["Once upon a time"], return_tensors="np")'
        return "transformers", f'transformers.AutoTokenizer.from_pretrained("."){call}'


def _tokens(texts: Sequence[str], tokenizer: Any, special: bool) -> Iterator[np.ndarray]:
    """The tokens of each text, int64, uncut; `special`: with those that the tokenizer puts before a text."""
    for start in range(0, len(texts), CHUNK):
        part = list(texts[start : start + CHUNK])
        # verbose: a warning that a text is longer than the model would be told of texts that are packed or cut anyway
        encoded = tokenizer(part, add_special_tokens=special, return_attention_mask=False, verbose=False)
        yield from (np.asarray(row, dtype=np.int64) for row in encoded["input_ids"])


def _blocks(texts: Iterator[np.ndarray], end: int | None, length: int) -> list[np.ndarray]:
    """All texts one behind the other, each with the token that ends it, cut into blocks of `length` tokens; a last
    block of one token, which nothing follows, is left out.

    >>> [block.tolist() for block in _blocks(iter([np.array([5, 6]), np.array([7])]), 0, 3)]
    [[5, 6, 0], [7, 0]]
    """
    parts = [part for text in texts for part in (text, [end] if end is not None and text[-1:] != [end] else [])]
    flat = np.concatenate([np.asarray(part, np.int64) for part in parts]) if parts else np.empty(0, np.int64)
    blocks = [flat[start : start + length] for start in range(0, len(flat), length)]
    return [block for block in blocks if len(block) >= SHORTEST]


def _completed(
    prompts: Sequence[str], completions: Sequence[str], tokenizer: Any, length: int, origin: str
) -> tuple[list[np.ndarray], list[int], str]:
    """Prompt, completion and the token that ends it, cut to `length`; the place of each completion's first token; and
    what a user should know of the cuts. Rows of whose completion nothing is left are left out."""
    end = [tokenizer.eos_token_id] if tokenizer.eos_token_id is not None else []
    rows, firsts, cut, dropped = [], [], 0, 0
    tokens = zip(_tokens(prompts, tokenizer, True), _tokens(completions, tokenizer, False), strict=True)
    for prompt, completion in tokens:
        row = np.concatenate([prompt, completion, end]).astype(np.int64)
        cut += len(row) > length
        if len(prompt) >= length or len(row) < SHORTEST:
            dropped += 1
            continue
        rows.append(row[:length])
        firsts.append(len(prompt))
    note = "" if not cut else (
        f"{origin}: {cut:,} of {len(prompts):,} rows are longer than data.max_length ({length} tokens) and are cut; of "
        f"{dropped:,} of them nothing of the completion is left, and they are left out"
    )  # fmt: skip
    return rows, firsts, note
