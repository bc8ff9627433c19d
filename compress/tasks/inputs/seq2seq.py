"""Texts to make other texts of → tokens of the source, of the target, and what follows each token of the target."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from edgepress.benchmarks.metrics.next_tokens import scored_whole
from edgepress.benchmarks.metrics.tokens import IGNORED
from edgepress.compress.data.rows import Raw, Rows, Texts
from edgepress.compress.model.hub import find_file
from edgepress.compress.model.padding import START
from edgepress.compress.recipe.data import Columns, Data
from edgepress.compress.tasks.inputs.columns import Column, first_named
from edgepress.compress.tasks.inputs.text import CHUNK, SHORTEST, TextFeatures, TextInputs, checked_texts
from edgepress.compress.tasks.trial import MAX_BATCH, Trial
from edgepress.targets.errors import DataError, ModelError
from edgepress.targets.preprocess.tokens import PREFIX
from edgepress.targets.records import Feeds, TensorSpec

if TYPE_CHECKING:
    from torch import nn

SOURCES = ("source", "src", "document", "article", "dialogue", "input", "text", "en")
TARGETS = ("target", "tgt", "summary", "highlights", "translation", "output", "simplified", "de", "fr")
INPUTS = ("input_ids", "attention_mask", "decoder_input_ids")


class Pairs(TextFeatures):
    """Tokens of all sources and targets; `labels` are the targets' tokens, int64 `[rows, positions]`, each of which is
    to follow the one before it. `lengths` are those of the longer of both, to which a row is padded.

    `note` tells how many were cut.
    """

    def __init__(
        self,
        sources: Sequence[np.ndarray],
        targets: Sequence[np.ndarray],
        references: Sequence[str],
        tokenizer: Any,
        note: str,
    ) -> None:
        """
        Args:
            sources: the tokens of each row's source.
            targets: those of its target, without the one that all targets begin with.
            references: the targets' texts, whole.
            tokenizer: says which token pads, and which one targets begin with.
            note: for the user.
        """
        counts = np.array([len(row) for row in targets])
        labels = np.full((len(targets), max(SHORTEST, int(counts.max()))), IGNORED, np.int64)
        for place, row in enumerate(targets):
            labels[place, : len(row)] = row
        self.references = references
        self.begin, self.end = start_of(tokenizer), int(tokenizer.eos_token_id)
        self.padding = int(tokenizer.pad_token_id)
        self._tokenizer = tokenizer
        offsets = np.concatenate([[0], np.cumsum([len(row) for row in sources])]).astype(np.int64)
        flat = np.concatenate(sources).astype(np.int32)
        super().__init__(flat, np.zeros(len(flat), np.uint8), offsets, labels, tokenizer)
        self._names = ["input_ids", "attention_mask"]
        self._sources, self._counts = np.diff(offsets), counts
        self.lengths = np.maximum(self._sources, counts)
        self.note = note

    def batch(self, indices: Sequence[int] | np.ndarray, length: int | None = None) -> dict[str, np.ndarray]:
        """`input_ids`, `attention_mask` and `decoder_input_ids`, int64 `[batch, sequence]` each: sources and targets
        are padded to one length, so that every target of this project can hold a row. No mask of the target is needed:
        its padding lies behind it, where no token looks."""
        lengths = cast(np.ndarray, self.lengths)
        width = length or max(SHORTEST, int(lengths[np.asarray(indices)].max()))
        feeds = super().batch(indices, width)
        before = np.full((len(indices), width), self.padding, np.int64)
        before[:, 0] = self.begin
        for row, index in enumerate(indices):
            size = min(width, int(self._counts[index])) - 1
            before[row, 1 : size + 1] = self.labels[index, :size]
        return {**feeds, "decoder_input_ids": before}

    def with_targets(self, rows: np.ndarray, targets: Sequence[np.ndarray]) -> Pairs:
        """The same rows, some of them with other targets.

        Args:
            rows: which of them, int `[rows]`.
            targets: their tokens, without the one that all targets begin with.
        """
        found = [row[row != IGNORED] for row in self.labels]
        references = list(self.references)
        for row, target in zip(rows, targets, strict=True):
            found[row], references[row] = np.asarray(target, np.int64), self.text(target.tolist())
        sources = [self.source(row) for row in range(len(self))]
        return Pairs(sources, found, references, self._tokenizer, self.note)

    def source(self, row: int) -> np.ndarray:
        """The tokens of a source, int64 `[sequence]`."""
        return self._ids[int(self._offsets[row]) : int(self._offsets[row + 1])].astype(np.int64)

    def text(self, tokens: Sequence[int]) -> str:
        """What tokens of a target say."""
        return str(self._tokenizer.decode(list(tokens), skip_special_tokens=True))

    def judged(self, indices: np.ndarray, outputs: np.ndarray) -> np.ndarray:
        """What is kept of logits, `[batch, positions, 2]` with as many positions as the longest target has; see
        `scored`.

        Args:
            indices: rows, int `[batch]`.
            outputs: logits `[batch, sequence, vocabulary]`, of sequences padded to any length.
        """
        return scored_whole(outputs, np.asarray(self.labels[indices]))

    def _digest(self) -> str:
        return hashlib.sha256(f"{super()._digest()} {self.begin}".encode()).hexdigest()


@dataclass(frozen=True)
class PairInputs(TextInputs):
    """Sources and targets for an encoder-decoder. A target ends with the token that ends texts, which is learned too;
    `data.prefix` is put before every source."""

    usual_names: tuple[str, ...] = SOURCES + TARGETS

    def columns(self, names: Columns) -> list[str]:
        """Those of sources and of targets."""
        return [names.source, names.target]

    def read(self, table: Mapping[str, Sequence[Any]], names: Columns, folder: Path, origin: str) -> Raw:
        """Texts as they are in a table's columns.

        Args:
            table: the columns.
            names: which one is which.
            folder: of no matter to texts.
            origin: names the table in messages.

        Raises:
            DataError: a cell is no text, or holds nothing.
        """
        columns = {column: checked_texts(table[column], column, origin) for column in self.columns(names)}
        first, second = (_filled(texts, column, origin) for column, texts in columns.items())
        return Raw(origin, [None] * len(first), texts=(first, second))

    def load_processor(self, source: str, network: str) -> Any:
        """The tokenizer, as `TextInputs.load_processor` gives it; it knows which token targets begin with: the one that
        the configuration beside it says, else the one that pads, as T5 and Marian have it.

        Raises:
            ModelError: there is no fast tokenizer with a token that pads and one that ends a text.
        """
        tokenizer = super().load_processor(source, network)
        said = (_said(source, name) for name in ("config.json", "generation_config.json"))
        start = next((token for token in said if token is not None), tokenizer.pad_token_id)
        tokenizer.init_kwargs[START] = int(start)
        return tokenizer

    def check_tokenizer(self, tokenizer: Any, source: str) -> None:
        """Padding and cutting on the right.

        Args:
            tokenizer: changed in place.
            source: names it in messages.

        Raises:
            ModelError: it has no token that pads, or none that ends a text.
        """
        super().check_tokenizer(tokenizer, source)
        if tokenizer.eos_token_id is None:
            raise ModelError(
                f"the tokenizer of {source} has no token that ends a text (eos_token). Set it and save it again: "
                f"without it a target never ends."
            )
        tokenizer.padding_side = tokenizer.truncation_side = "right"

    def fit_processor(self, processor: Any | None, train: Rows, data: Data) -> Any:
        """The tokenizer with `data.prefix`, which travels in tokenizer_config.json: a release puts it before what it is
        given."""
        processor = super().fit_processor(processor, train, data)
        processor.init_kwargs[PREFIX] = data.prefix
        return processor

    def features(self, rows: Rows, processor: Any, data: Data) -> Pairs:
        """Tokens of sources, with the prefix, and of targets; longer ones are cut to `data.max_length`.

        Raises:
            DataError: the prefix leaves nothing of a source.
        """
        first, second = rows.texts or ([], None)
        assert second is not None  # Task hands over rows of its own kind
        _check_room(data, processor)
        sources, cut = _sources([data.prefix + text for text in first], processor, data.max_length)
        targets, ends = _targets(second, processor, data.max_length)
        note = "" if not cut + ends else (
            f"{rows.origin}: {cut:,} sources and {ends:,} targets of {len(first):,} are longer than data.max_length "
            f"({data.max_length} tokens) and are cut"
        )  # fmt: skip
        return Pairs(sources, targets, second, processor, note)

    def apply(self, raw: Texts, processor: Any, data: Data) -> Feeds:
        """Tokens of one batch of pairs, padded to the longest: int64 `[batch, sequence]` each.

        Args:
            raw: sources and targets.
            processor: the tokenizer.
            data: the recipe's section.
        """
        rows = Rows(np.zeros(len(raw[0]), np.int64), "these texts", texts=raw)
        return self.features(rows, processor, data).batch(np.arange(len(rows)))

    def trial(self, network: nn.Module, processor: Any, data: Data) -> Trial:
        """One row of `data.max_length` tokens on both sides.

        Raises:
            ModelError: the tokenizer has more tokens than the network, the network begins targets with another token
                than the rows, or has no encoder.
        """
        found = super().trial(network, processor, data)
        config: Any = network.config
        if not getattr(config, "is_encoder_decoder", False):
            raise ModelError(
                f"{type(network).__name__} has no encoder. Give an encoder-decoder (T5, BART, Marian), or make the "
                f"task text-generation."
            )
        start = start_of(processor)
        if getattr(config, START, None) not in (None, start):
            raise ModelError(
                f"the model begins targets with token {getattr(config, START)} ({START}), and its tokenizer with "
                f"{start}. Leave {START} out of its config, or write it into the config.json beside the tokenizer."
            )
        ends = getattr(config, "eos_token_id", None)
        if processor.eos_token_id not in (ends if isinstance(ends, list) else [ends]):
            raise ModelError(
                f"the model ends targets with token {ends} (eos_token_id), and its tokenizer with "
                f"{processor.eos_token_id}. Write that into its config, or its targets never end."
            )
        inputs = tuple(TensorSpec(name=name, dtype="int64", shape=("batch", "sequence")) for name in INPUTS)
        tokens = np.asarray(found.feeds["input_ids"])
        bounds = {"batch": (1, MAX_BATCH), "sequence": (SHORTEST, data.max_length)}
        feeds = {"input_ids": tokens, "attention_mask": np.ones_like(tokens), "decoder_input_ids": tokens * 0 + start}
        return Trial(inputs, bounds, feeds, found.hint)

    def guess_columns(self, columns: Mapping[str, Column]) -> dict[str, str] | None:
        """`source` and `target` where names say so, or where there are two columns of texts, in their order."""
        texts = {name: column for name, column in columns.items() if column.is_text and not column.is_identifier}
        source, target = first_named(texts, SOURCES), first_named(texts, TARGETS)
        if (source is None or target is None or source == target) and len(texts) == 2:
            source, target = texts
        return {"source": source, "target": target} if source and target and source != target else None


def start_of(tokenizer: Any) -> int:
    """The token that every target begins with."""
    return int(tokenizer.init_kwargs[START])


def _said(source: str, name: str) -> int | None:
    """What a configuration beside a tokenizer says of the token that targets begin with."""
    path = find_file(source, name)
    try:
        found = json.loads(path.read_text(encoding="utf-8")).get(START) if path is not None else None
    except (ValueError, AttributeError):
        return None  # load_network refuses this configuration with its reason
    return found if isinstance(found, int) else None


def _filled(texts: list[str], column: str, origin: str) -> list[str]:
    for row, text in enumerate(texts, start=1):
        if not text.strip():
            raise DataError(f"{origin}, row {row}: {column!r} is empty. Give a text, or remove the row.")
    return texts


def _check_room(data: Data, tokenizer: Any) -> None:
    """Raises DataError where the prefix alone is as long as a row may be."""
    length = len(tokenizer(data.prefix)["input_ids"]) if data.prefix else 0
    if length >= data.max_length:
        raise DataError(
            f"data.prefix has {length} tokens, and data.max_length {data.max_length} leaves nothing of a source behind "
            f"it. Raise it, or shorten the prefix."
        )


def _sources(texts: Sequence[str], tokenizer: Any, length: int) -> tuple[list[np.ndarray], int]:
    """The tokens of sources, cut before the one that ends them; and how many were cut."""
    rows = _tokens(texts, tokenizer, "text")
    long = [number for number, row in enumerate(rows) if len(row) > length]
    for number in long:
        rows[number] = tokenizer(texts[number], truncation=True, max_length=length)["input_ids"]
    return [np.asarray(row, np.int64) for row in rows], len(long)


def _targets(texts: Sequence[str], tokenizer: Any, length: int) -> tuple[list[np.ndarray], int]:
    """The tokens of targets, each with the one that ends it, which a target that is cut has not; and how many are
    cut."""
    end = tokenizer.eos_token_id
    rows = [row if row[-1:] == [end] else [*row, end] for row in _tokens(texts, tokenizer, "text_target")]
    return [np.asarray(row[:length], np.int64) for row in rows], sum(len(row) > length for row in rows)


def _tokens(texts: Sequence[str], tokenizer: Any, side: str) -> list[Any]:
    found: list[Any] = []
    for start in range(0, len(texts), CHUNK):
        # verbose: a warning that a text is longer than the model would be told of texts that are cut anyway
        part = {side: list(texts[start : start + CHUNK])}
        found.extend(tokenizer(**part, return_attention_mask=False, verbose=False)["input_ids"])
    return found
