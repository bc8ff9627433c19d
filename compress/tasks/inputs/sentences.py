"""Sentences, one at a time: of a pair each side is a row of its own, and the labels say which belong together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgepress.compress.data.rows import Raw, Rows
from edgepress.compress.recipe.data import Columns, Data
from edgepress.compress.tasks.inputs.text import TextFeatures, TextInputs


@dataclass(frozen=True)
class SentenceInputs(TextInputs):
    """Texts for an encoder. A table may lack second texts and scores: such rows are texts to learn from."""

    def read(self, table: Mapping[str, Sequence[Any]], names: Columns, folder: Path, origin: str) -> Raw:
        """Texts, and pairs with their scores where the table has both.

        Args:
            table: the columns.
            names: which one is which.
            folder: of no matter to texts.
            origin: names the table in messages.

        Raises:
            DataError: a cell is no text.
        """
        paired = names.text_pair in table
        scores = table.get(str(names.label)) if paired else None
        known = {**table, str(names.label): scores or [None] * len(table[names.text])}
        return super().read(known, names if paired else names.model_copy(update={"text_pair": None}), folder, origin)

    def load_processor(self, source: str, network: str) -> Any:
        """See `TextInputs.load_processor`; padding on the right, so that the first token is the text's own."""
        tokenizer = super().load_processor(source, network)
        tokenizer.padding_side = "right"
        return tokenizer

    def features(self, rows: Rows, processor: Any, data: Data) -> TextFeatures:
        """The tokens of each text, those of pairs one after the other; labels as `sides_of` gives them."""
        assert rows.texts is not None  # Task hands over rows of its own kind
        first, second = rows.texts
        texts = first if second is None else [text for pair in zip(first, second, strict=True) for text in pair]
        labels = sides_of(texts, rows.labels if second is not None else None)
        return super().features(replace(rows, texts=(texts, None), labels=labels), processor, data)


def sides_of(texts: Sequence[str], scores: np.ndarray | None) -> np.ndarray:
    """Which texts belong together, float32 `[texts, 3]`: the number of its pair (-1 for none), the pair's score (NaN
    for none), and the number of the text, the same for equal ones.

    Args:
        texts: both of each pair one after the other.
        scores: of the pairs, `[pairs, 1]`; None where there are no pairs.

    >>> sides_of(["a", "b", "b", "c"], np.array([[5.0], [1.0]])).tolist()
    [[0.0, 5.0, 0.0], [0.0, 5.0, 1.0], [1.0, 1.0, 1.0], [1.0, 1.0, 2.0]]
    """
    numbers: dict[str, int] = {}
    found = np.full((len(texts), 3), -1.0, np.float32)
    found[:, 1] = np.nan
    found[:, 2] = [numbers.setdefault(text, len(numbers)) for text in texts]
    if scores is not None:
        found[:, 0] = np.arange(len(texts)) // 2
        found[:, 1] = np.repeat(scores[:, 0], 2)
    return found
