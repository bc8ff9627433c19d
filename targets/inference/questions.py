"""Questions with the text that holds their answer in, the answer, its place and score out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgepress.targets.errors import DataError
from edgepress.targets.inference.answers import Answer, Span
from edgepress.targets.inference.passages import best_of, context_of
from edgepress.targets.preprocess.tokens import Tokens
from edgepress.targets.records import Feeds, Signature
from edgepress.targets.text import whole_text


class Questions:
    """A row is a mapping of `question` and `context`, or both as a pair."""

    content = 'a mapping {"question": text, "context": text}'

    def __init__(self, folder: Path, signature: Signature) -> None:
        shortest, longest = signature.bounds.get("sequence", (2, 512))
        self._tokens = Tokens(folder, [spec.name for spec in signature.inputs], shortest, longest)

    def feeds(self, rows: Sequence[Any]) -> Feeds:
        """int64 `[windows, sequence]` each, of the windows of all rows, padded to the longest."""
        return self._tokens.padded([window for row in rows for window in self._tokens.windows(*_checked(row))])

    def answer(self, row: Any, outputs: Callable[[Feeds], np.ndarray], batch: int) -> Answer:
        """The best span of all windows of the context; one without a span where it has no token.

        Args:
            row: as `content` says.
            outputs: gives logits `[windows, positions, 2]` of feeds.
            batch: windows of a call, at most.

        Raises:
            DataError: the row is none.
        """
        question, context = _checked(row)
        windows = self._tokens.windows(question, context)
        logits = []
        for start in range(0, len(windows), batch):
            part = windows[start : start + batch]
            given = outputs(self._tokens.padded(part))
            logits += [_able(one, window.sequence_ids) for one, window in zip(given, part, strict=True)]
        if (place := best_of(logits)) is None:
            return Answer((), {}, spans=())
        offsets = windows[place.window].offsets
        start, end = offsets[place.start][0], offsets[place.end][1]
        span = Span(context[start:end], "answer", place.score, start, end)
        return Answer((span.text,), {}, spans=(span,))


def _able(logits: np.ndarray, sequences: Sequence[int | None]) -> np.ndarray:
    """Logits `[positions, 2]`, NaN at all tokens but the first one and those of the context."""
    first, behind = context_of(sequences)
    kept = np.array(logits[: max(1, behind)])
    kept[1:first] = np.nan
    return kept


def _checked(row: Any) -> tuple[str, str]:
    parts = (row.get("question"), row.get("context")) if isinstance(row, Mapping) else row
    if not isinstance(parts, tuple | list) or len(parts) != 2 or not all(isinstance(part, str) for part in parts):
        raise DataError(f"{Questions.content} is asked for, got {row!r:.60}.")
    return whole_text(parts[0]), whole_text(parts[1])
