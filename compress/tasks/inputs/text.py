"""Texts, or pairs of texts → token numbers, as the tokenizer beside a model gives them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from edgepress.benchmarks.desk import Rows as InputRows
from edgepress.compress.data.rows import Kind, Raw, Rows, Texts, label_values
from edgepress.compress.model.hub import find_file, network_class, quiet
from edgepress.compress.recipe.data import Columns, Data
from edgepress.compress.recipe.paths import pinned
from edgepress.compress.tasks.inputs.columns import Column, first_named, most
from edgepress.compress.tasks.trial import MAX_BATCH, Trial, forward_names, takes
from edgepress.targets.errors import DataError, ModelError, told
from edgepress.targets.records import Description, Feeds, TensorSpec
from edgepress.targets.text import whole_text

if TYPE_CHECKING:
    from torch import nn

CHUNK = 1024
VOCABULARIES = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
)
SHORTEST = 2
FIRST_TEXTS = (
    "text",
    "sentence",
    "sentence1",
    "premise",
    "question",
    "question1",
    "review",
    "content",
    "utterance",
    "body",
    "comment",
    "message",
    "document",
)
SECOND_TEXTS = ("text_pair", "pair", "sentence2", "hypothesis", "question2", "answer", "context")


class TextFeatures:
    """Tokens of all rows in one flat array: row i is `ids[offsets[i]:offsets[i + 1]]`, types alike."""

    def __init__(
        self, ids: np.ndarray, types: np.ndarray, offsets: np.ndarray, labels: np.ndarray, tokenizer: Any
    ) -> None:
        self.labels = labels
        self.lengths: np.ndarray | None = np.diff(offsets)
        self._ids, self._types, self._offsets = ids, types, offsets
        self._fill = {"input_ids": int(tokenizer.pad_token_id), "token_type_ids": int(tokenizer.pad_token_type_id)}
        self._names = _input_names(tokenizer)
        self._left = tokenizer.padding_side == "left"
        self.digest = self._digest()

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: Sequence[int] | np.ndarray, length: int | None = None) -> dict[str, np.ndarray]:
        """int64 `[batch, sequence]` each. A row that is cut keeps its last token (the separator)."""
        lengths = cast(np.ndarray, self.lengths)
        width = length or max(SHORTEST, int(lengths[np.asarray(indices)].max()))
        columns = {"input_ids": self._ids, "token_type_ids": self._types}
        feeds = {name: np.full((len(indices), width), self._fill.get(name, 0), dtype=np.int64) for name in self._names}
        for row, index in enumerate(indices):
            start, end = int(self._offsets[index]), int(self._offsets[index + 1])
            size = min(end - start, width)
            place = slice(width - size, width) if self._left else slice(0, size)
            for name, feed in feeds.items():
                if name == "attention_mask":
                    feed[row, place] = 1
                    continue
                feed[row, place] = columns[name][start : start + size]
                if size < end - start:
                    feed[row, place.stop - 1] = columns[name][end - 1]
        return feeds

    def _digest(self) -> str:
        options = json.dumps([self._names, self._fill, self._left])
        digest = hashlib.sha256(options.encode())
        for array in (self._ids, self._types, self._offsets, self.labels):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class TextInputs:
    """Texts for any transformers model with a fast tokenizer: `input_ids`, `attention_mask` and, where the model takes
    them, `token_type_ids`, int64 `[batch, sequence]` each."""

    content: str = "texts"
    kinds: frozenset[Kind] = frozenset({"table", "hub", "given"})
    sequences: bool = True
    needs_tokenizer: bool = True
    example: str = "path/to/train.jsonl"
    usual_names: tuple[str, ...] = FIRST_TEXTS + SECOND_TEXTS

    def columns(self, names: Columns) -> list[str]:
        """The text's column and, where there are pairs, that of the second text."""
        return [names.text, *([names.text_pair] if names.text_pair else [])]

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
        return Raw(origin, label_values(table, names), texts=(texts[0], texts[1] if len(texts) > 1 else None))

    def load_processor(self, source: str, network: str) -> Any:
        """The tokenizer, its `model_input_names` cut to what the model beside it takes.

        Args:
            source: a folder or hub id.
            network: the transformers class that reads the model.

        Raises:
            ModelError: there is no fast tokenizer with a padding token.
        """
        from transformers import AutoTokenizer

        find_file(source, "config.json")  # raises where the source cannot be reached
        if not any(find_file(source, name) for name in VOCABULARIES):
            raise ModelError(
                f"{source} has no tokenizer: none of {', '.join(VOCABULARIES)}. Save it there with "
                f"`AutoTokenizer.from_pretrained(...).save_pretrained({source!r})`."
            )
        try:
            with quiet():
                name, revision = pinned(source)
                tokenizer = AutoTokenizer.from_pretrained(name, revision=revision, trust_remote_code=False)
        except (OSError, ValueError, ImportError, KeyError) as fault:
            raise ModelError(f"the tokenizer of {source} cannot be loaded: {told(fault)}") from None
        if not tokenizer.is_fast:
            raise ModelError(f"the tokenizer of {source} has no tokenizer.json. Save its fast version there.")
        self.check_tokenizer(tokenizer, source)
        names = _model_inputs(source, network)
        tokenizer.model_input_names = [name for name in tokenizer.model_input_names if names is None or name in names]
        return tokenizer

    def check_tokenizer(self, tokenizer: Any, source: str) -> None:
        """Whether the tokenizer of `source` can make batches. Raises ModelError where it has no padding token."""
        if tokenizer.pad_token_id is None:
            raise ModelError(f"the tokenizer of {source} has no padding token. Set its pad_token and save it again.")

    def begin_processor(self, config: Mapping[str, Any]) -> None:
        """Nothing: a tokenizer is given, never made."""

    def fit_processor(self, processor: Any | None, train: Rows, data: Data) -> Any:
        """The tokenizer as it is. Raises ModelError where there is none."""
        if processor is None:
            raise ModelError("a text model trained in the run needs a tokenizer: set teacher.tokenizer in the recipe.")
        return processor

    def features(self, rows: Rows, processor: Any, data: Data) -> TextFeatures:
        """The rows' tokens, those of longer texts cut to `data.max_length`."""
        assert rows.texts is not None  # Task hands over rows of its own kind
        first, second = rows.texts
        parts: list[np.ndarray] = []
        types: list[np.ndarray] = []
        for start in range(0, len(first), CHUNK):
            part = slice(start, start + CHUNK)
            encoded = processor(
                first[part],
                second[part] if second is not None else None,
                truncation=True,
                max_length=data.max_length,
                return_token_type_ids=True,
                return_attention_mask=False,
            )
            parts.extend(np.asarray(row, dtype=np.int32) for row in encoded["input_ids"])
            types.extend(np.asarray(row, dtype=np.uint8) for row in encoded["token_type_ids"])
        offsets = np.concatenate([[0], np.cumsum([len(row) for row in parts])]).astype(np.int64)
        return TextFeatures(np.concatenate(parts), np.concatenate(types), offsets, rows.labels, processor)

    def apply(self, raw: Texts, processor: Any, data: Data) -> Feeds:
        """Tokens of one batch of texts, padded to the longest: int64 `[batch, sequence]` each.

        Args:
            raw: the texts, and their seconds where they are pairs.
            processor: the tokenizer.
            data: the recipe's section; longer texts are cut to its `max_length`.
        """
        rows = Rows(np.zeros(len(raw[0]), np.int64), "these texts", texts=raw)
        return self.features(rows, processor, data).batch(np.arange(len(rows)))

    def trial(self, network: nn.Module, processor: Any, data: Data) -> Trial:
        """One row of `data.max_length` tokens. Raises ModelError for a tokenizer with more tokens than the network."""
        names = [name for name in _input_names(processor) if takes(network, name)]
        inputs = tuple(TensorSpec(name=name, dtype="int64", shape=("batch", "sequence")) for name in names)
        vocabulary: Any = getattr(network.config, "vocab_size", None)  # the user's own code does not say it
        if vocabulary is not None and len(processor) > vocabulary:
            raise ModelError(
                f"the tokenizer has {len(processor)} tokens and {type(network).__name__} only {vocabulary}: they don't "
                f"belong together. Take the tokenizer of the model."
            )
        feeds = {name: np.zeros((1, data.max_length), dtype=np.int64) for name in names}
        feeds["input_ids"] += int(processor.pad_token_id == 0)
        feeds["attention_mask"] = np.ones_like(feeds["input_ids"])
        end = getattr(network.config, "eos_token_id", None)
        if getattr(network.config, "is_encoder_decoder", False) and isinstance(end, int):
            feeds["input_ids"][:, -1] = end  # T5 and BART look for it; a decoder's may lie beyond its vocabulary
        longest = getattr(network.config, "max_position_embeddings", "unknown")
        hint = f"The model's longest sequence is {longest}; set data.max_length below it."
        bounds = {"batch": (1, MAX_BATCH), "sequence": (SHORTEST, data.max_length)}
        return Trial(inputs, bounds, feeds, hint)

    def sample_feeds(self, features: InputRows, batch: int, sequence: int | None) -> Feeds:
        """Rows of at least `sequence` tokens first, so that as little as possible is padding."""
        if features.lengths is None or sequence is None:
            raise ValueError("text features need a sequence length")
        long_enough = np.minimum(features.lengths, sequence)
        rows = np.argsort(-long_enough, kind="stable")
        return features.batch(np.resize(rows, batch), sequence)

    def describe(self, processor: Any) -> Description:
        """Nothing: tokenizer.json travels as it is."""
        return Description()

    def save_processor(self, processor: Any, folder: Path) -> None:
        """tokenizer.json and what transformers writes beside it."""
        folder.mkdir(parents=True, exist_ok=True)
        with quiet():
            processor.save_pretrained(folder)

    def guess_columns(self, columns: Mapping[str, Column]) -> dict[str, str] | None:
        """`text` and, where a column's name says so, `text_pair`; None where no column has texts."""
        texts = {name: column for name, column in columns.items() if column.is_text}
        if not texts:
            return None
        # A name says little where every value is one word and another one: that is an identifier.
        plain = {name: column for name, column in texts.items() if not column.is_identifier} or texts
        text = first_named(plain, FIRST_TEXTS) or most(plain, Column.words)
        second = first_named([name for name in plain if name != text], SECOND_TEXTS)
        return {"text": text} | ({"text_pair": second} if second else {})

    def python_feeds(self, specs: Sequence[TensorSpec]) -> tuple[str, str]:
        """One text through the tokenizer that lies beside the model."""
        return "transformers", 'transformers.AutoTokenizer.from_pretrained(".")("some text", return_tensors="np")'


def checked_texts(values: Sequence[Any], column: str, origin: str) -> list[str]:
    """A column of texts, lone halves of characters replaced.

    Args:
        values: the cells.
        column: its name, for messages.
        origin: names the table in messages.

    Raises:
        DataError: a cell is no text; names its row.
    """
    for row, value in enumerate(values, start=1):
        if not isinstance(value, str):
            raise DataError(f"{origin}, row {row}: {column!r} must be text, got {value!r:.60}. Mend or remove the row.")
    return [whole_text(value) for value in values]


def _input_names(tokenizer: Any) -> list[str]:
    """In the order that exporters and users expect."""
    known = ("input_ids", "attention_mask", "token_type_ids")
    return [name for name in known if name == "input_ids" or name in tokenizer.model_input_names]


def _model_inputs(source: str, network: str) -> set[str] | None:
    """What the model class beside the tokenizer takes; None where there is no model or its class is not known."""
    from transformers import AutoConfig

    path = find_file(source, "config.json")
    if path is None or "auto_map" in json.loads(path.read_text(encoding="utf-8")):
        return None
    try:
        config = AutoConfig.from_pretrained(path, trust_remote_code=False)
    except (OSError, ValueError, KeyError):
        return None  # load_network refuses this configuration with its reason
    # Its public twin, MODEL_FOR_..._MAPPING, has a name that cannot be told from that of the class.
    mapping = network_class(network)._model_mapping
    return forward_names(mapping[type(config)]) if type(config) in mapping else None
