"""Questions and the texts that hold their answers → token numbers, long texts as several overlapping windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgepress.benchmarks.metrics.passages import BEHIND, FIRST, Documents, Passages
from edgepress.compress.data.rows import Raw, Rows, Texts
from edgepress.compress.data.truths.answers import Accepted, accepted
from edgepress.compress.recipe.data import Columns, Data
from edgepress.compress.tasks.inputs.columns import Column, first_named
from edgepress.compress.tasks.inputs.text import CHUNK, TextFeatures, TextInputs
from edgepress.targets.errors import DataError
from edgepress.targets.inference.passages import context_of
from edgepress.targets.preprocess.tokens import STRIDE
from edgepress.targets.records import Feeds, TensorSpec

QUESTIONS = ("question", "query")
CONTEXTS = ("context", "passage", "paragraph", "document", "text")
ANSWER = ((" ", 0),)
"""Stands for that of rows that have none, whose inputs alone are asked for."""


class PassageFeatures(TextFeatures):
    """Tokens of all windows. `labels` are their `Passages`; `note` tells how many documents have an answer that lies in
    no window as a whole."""

    def __init__(self, windows: Windows, labels: Passages, tokenizer: Any, note: str) -> None:
        super().__init__(windows.ids, windows.types, windows.offsets, labels, tokenizer)
        self.note = note
        self._width = int(labels[:, BEHIND].max())

    def judged(self, indices: np.ndarray, outputs: np.ndarray) -> np.ndarray:
        """The outputs of the context and the first token, `[batch, positions, 2]` with as many positions as the longest
        window's context reaches; NaN at all others.

        Args:
            indices: windows, int `[batch]`.
            outputs: `[batch, sequence, 2]`, of sequences padded to any length.
        """
        numbers, place = np.asarray(self.labels[indices]), np.arange(self._width)
        width = min(self._width, outputs.shape[1])
        found = np.full((len(numbers), self._width, outputs.shape[-1]), np.nan, np.float32)
        found[:, :width] = outputs[:, :width]
        able = (place >= numbers[:, FIRST, None]) & (place < numbers[:, BEHIND, None]) | (place == 0)
        found[~able] = np.nan
        return found


@dataclass(frozen=True)
class Windows:
    """Tokens of all windows, one behind the other.

    Args:
        ids: of the tokens.
        types: of the tokens.
        offsets: where each window begins, and the end.
        places: first character in the context and the one behind the last, of each token, `[tokens, 2]`.
        contexts: first token of the context and the one behind its last, of each window, `[windows, 2]`.
        documents: the row that each window is of, `[windows]`.
    """

    ids: np.ndarray
    types: np.ndarray
    offsets: np.ndarray
    places: np.ndarray
    contexts: np.ndarray
    documents: np.ndarray


@dataclass(frozen=True)
class PassageInputs(TextInputs):
    """Questions and texts for any transformers model with a fast tokenizer, the question first. A text that is longer
    than `data.max_length` leaves room for becomes several rows, which overlap by `data.stride` tokens."""

    usual_names: tuple[str, ...] = (*QUESTIONS, *CONTEXTS)

    def columns(self, names: Columns) -> list[str]:
        """Those of questions and of texts."""
        return [names.question, names.context]

    def read(self, table: Mapping[str, Sequence[Any]], names: Columns, folder: Path, origin: str) -> Raw:
        """Questions, texts and accepted answers.

        Args:
            table: the columns.
            names: which one is which.
            folder: of no matter to texts.
            origin: names the table in messages.

        Raises:
            DataError: a cell is no text, or an answer is not where it says.
        """
        pairs = names.model_copy(update={"text": names.question, "text_pair": names.context})
        raw = super().read(table, pairs, folder, origin)
        assert raw.texts is not None and raw.texts[1] is not None
        rows = enumerate(zip(raw.labels, raw.texts[1], strict=True), start=1)
        return replace(raw, labels=[accepted(value, context, row, origin) for row, (value, context) in rows])

    def load_processor(self, source: str, network: str) -> Any:
        """The tokenizer, as `TextInputs.load_processor` gives it, padding and cutting behind the text."""
        tokenizer = super().load_processor(source, network)
        tokenizer.padding_side = tokenizer.truncation_side = "right"
        return tokenizer

    def fit_processor(self, processor: Any | None, train: Rows, data: Data) -> Any:
        """The tokenizer with `data.stride`, which travels in tokenizer_config.json: a release cuts alike."""
        processor = super().fit_processor(processor, train, data)
        if data.stride * 2 > data.max_length:
            raise DataError(
                f"data.stride is {data.stride} of data.max_length {data.max_length} tokens; windows may overlap by "
                f"half of it at most. Set it to {data.max_length // 4}."
            )
        processor.init_kwargs[STRIDE] = data.stride
        return processor

    def features(self, rows: Rows, processor: Any, data: Data) -> PassageFeatures:
        """The windows of all rows, and where in each the answer lies; the first accepted one is learned."""
        assert rows.texts is not None  # Task hands over rows of its own kind
        questions, contexts = rows.texts[0], rows.texts[1] or []
        _check_room(questions, processor, data, rows.origin)
        windows = _windows(questions, contexts, processor, data)
        answers: list[Accepted] = list(rows.labels)
        found = _answer_tokens(windows, answers)
        numbers = np.concatenate(
            [found, windows.contexts, windows.documents[:, None], windows.offsets[:-1, None]], axis=1
        )
        texts = [tuple(text for text, _ in row) for row in answers]
        truth = Passages.of(numbers, Documents(contexts, texts, windows.places))
        return PassageFeatures(windows, truth, processor, _note(rows, windows, found))

    def apply(self, raw: Texts, processor: Any, data: Data) -> Feeds:
        """Tokens of the windows of some questions and texts, padded to the longest: int64 `[windows, sequence]` each.

        Args:
            raw: questions and texts.
            processor: the tokenizer.
            data: the recipe's section.
        """
        labels = np.empty(len(raw[0]), object)
        labels[:] = [ANSWER] * len(labels)
        features = self.features(Rows(labels, "these texts", texts=raw), processor, data)
        return features.batch(np.arange(len(features)))

    def guess_columns(self, columns: Mapping[str, Column]) -> dict[str, str] | None:
        """`question` and `context`, by their names; the longer text is the context where no name says it."""
        texts = {name: column for name, column in columns.items() if column.is_text and not column.is_identifier}
        question = first_named(texts, QUESTIONS)
        others = {name: column for name, column in texts.items() if name != question}
        context = first_named(others, CONTEXTS)
        return {"question": question, "context": context} if question and context else None

    def python_feeds(self, specs: Sequence[TensorSpec]) -> tuple[str, str]:
        """One question and text through the tokenizer that lies beside the model."""
        call = '"a question", "some text", return_tensors="np"'
        return "transformers", f'transformers.AutoTokenizer.from_pretrained(".")({call})'


def _check_room(questions: Sequence[str], processor: Any, data: Data, origin: str) -> None:
    """Raises DataError where a question leaves no room for more of the text than windows overlap by."""
    most = data.max_length - data.stride - processor.num_special_tokens_to_add(pair=True) - 1
    for start in range(0, len(questions), CHUNK):
        encoded = processor(questions[start : start + CHUNK], add_special_tokens=False)["input_ids"]
        for row, ids in enumerate(encoded, start=start + 1):
            if len(ids) > most:
                raise DataError(
                    f"{origin}, row {row}: the question has {len(ids)} tokens, and data.max_length {data.max_length} "
                    f"with data.stride {data.stride} leaves room for {most}. Shorten it, or set them otherwise."
                )


def _windows(questions: Sequence[str], contexts: Sequence[str], processor: Any, data: Data) -> Windows:
    found: list[Any] = []
    documents: list[int] = []
    for start in range(0, len(questions), CHUNK):
        part = slice(start, start + CHUNK)
        encoded = processor(
            list(questions[part]),
            list(contexts[part]),
            truncation="only_second",
            max_length=data.max_length,
            stride=data.stride,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            return_attention_mask=False,
        )
        found.extend(encoded.encodings)
        documents.extend(start + number for number in encoded["overflow_to_sample_mapping"])
    return Windows(
        np.concatenate([np.asarray(one.ids, np.int32) for one in found]),
        np.concatenate([np.asarray(one.type_ids, np.uint8) for one in found]),
        np.concatenate([[0], np.cumsum([len(one.ids) for one in found])]).astype(np.int64),
        np.concatenate([np.asarray(one.offsets, np.int32).reshape(-1, 2) for one in found]),
        np.array([context_of(one.sequence_ids) for one in found], np.int64),
        np.array(documents, np.int64),
    )


def _answer_tokens(windows: Windows, answers: Sequence[Accepted]) -> np.ndarray:
    """First and last token of the first accepted answer in each window, int64 `[windows, 2]`; 0 and 0 where the window
    does not hold the whole of it."""
    found = np.zeros((len(windows.documents), 2), np.int64)
    for number, (first, behind) in enumerate(windows.contexts):
        text, start = answers[windows.documents[number]][0]
        places = windows.places[windows.offsets[number] + first : windows.offsets[number] + behind]
        end = start + len(text.rstrip())
        start += len(text) - len(text.lstrip())
        if len(places) and places[0, 0] <= start and end <= places[-1, 1]:
            inside = np.flatnonzero((places[:, 1] > start) & (places[:, 0] < end))
            found[number] = (first + inside[0], first + inside[-1]) if len(inside) else (0, 0)
    return found


def _note(rows: Rows, windows: Windows, found: np.ndarray) -> str:
    """What a user should know of answers that no window holds; empty where there are none."""
    held = np.unique(windows.documents[found[:, 0] > 0])
    if len(held) == len(rows):
        return ""
    return (
        f"{rows.origin}: {len(rows) - len(held):,} of {len(rows):,} answers lie in no window as a whole; they are "
        f"longer than data.stride. Raise it, or data.max_length"
    )
