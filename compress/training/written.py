"""Sequence-level distillation: training rows whose target is the one that the teacher writes for their source.

A student that follows its teacher token by token behind true targets never sees what follows its own first mistake, and
spends itself on the many ways to say a thing; what one teacher writes is simpler than what many people wrote.

References: Kim and Rush, arXiv 1606.07947.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
import torch

from edgepress.benchmarks.desk import Generating
from edgepress.targets.device.needs import handed_on
from edgepress.targets.errors import StageError

if TYPE_CHECKING:
    from edgepress.compress.model.model import Model
    from edgepress.compress.model.stepping import Stepping
    from edgepress.compress.tasks.base import Features
    from edgepress.targets.progress import Progress

BATCH = 64


@runtime_checkable
class Rewritable(Generating, Protocol):
    """Rows of sources and targets whose targets can be replaced."""

    def with_targets(self, rows: np.ndarray, targets: Sequence[np.ndarray]) -> Features:
        """The same rows, some of them with other targets."""
        ...


def rewritten_rows(features: Features, share: float, seed: int, task: str) -> np.ndarray:
    """Which rows get the teacher's target, drawn once, int `[rows]`.

    Args:
        features: the training rows.
        share: of them, 0..1.
        seed: of the draw.
        task: its name, for the message.

    Raises:
        StageError: the rows have no targets that a teacher could write.
    """
    if not isinstance(features, Rewritable):
        raise StageError(f"distill.written: {task} has no targets that a teacher could write. Leave it out.")
    return np.sort(np.random.default_rng(seed).permutation(len(features))[: round(share * len(features))])


def write_targets(
    teacher: Model, features: Features, rows: np.ndarray, progress: Progress
) -> Iterator[tuple[int, np.ndarray]]:
    """The targets that the teacher writes, always its likeliest token next: (row, tokens with the one that ends it).

    Args:
        teacher: an encoder-decoder.
        features: whose sources it reads.
        rows: of which targets are written.
        progress: counts them.
    """
    assert isinstance(features, Rewritable) and features.lengths is not None and teacher.stepping is not None
    order = rows[np.argsort(features.lengths[rows], kind="stable")]
    with progress.task("Teacher writes targets", total=len(order)) as advance:
        for start in range(0, len(order), BATCH):
            part = order[start : start + BATCH]
            feeds = features.batch(part)
            most = teacher.signature.bounds["sequence"][1]
            tokens = greedy(teacher.stepping, feeds["input_ids"], feeds["attention_mask"], features, most)
            yield from ((int(row), _ended(target, features.end)) for row, target in zip(part, tokens, strict=True))
            advance(len(part))


@torch.no_grad()
def greedy(stepping: Stepping, source: np.ndarray, mask: np.ndarray, words: Generating, most: int) -> np.ndarray:
    """The likeliest token after each, until all rows have ended: int64 `[batch, tokens]`.

    Args:
        stepping: of an encoder-decoder.
        source: tokens, int64 `[batch, sequence]`.
        mask: of the source, likewise.
        words: says which tokens begin and end a target, and which one pads, which is never taken.
        most: tokens of a target.
    """
    assert stepping.encoder is not None
    signature, names = stepping.signature, [spec.name for spec in stepping.encoder.signature.outputs]
    shown = torch.from_numpy(mask)
    encoded = stepping.encoder.module(torch.from_numpy(source), shown)
    empty = signature.zeros(batch=len(source), source=source.shape[1], sequence=1, past=0)
    feeds: dict[str, torch.Tensor] = {name: torch.from_numpy(value) for name, value in empty.items()}
    feeds |= handed_on(dict(zip(names, encoded, strict=True)))
    feeds |= {"encoder_attention_mask": shown, "input_ids": torch.full((len(source), 1), words.begin)}
    made: list[torch.Tensor] = []
    ended = torch.zeros(len(source), 1, dtype=torch.bool)
    while len(made) < most and not ended.all():
        logits, *state = stepping.module(*(feeds[spec.name] for spec in signature.inputs))
        logits[:, -1, words.padding] = torch.finfo(logits.dtype).min
        made.append(logits[:, -1].argmax(-1, keepdim=True))
        ended |= made[-1] == words.end
        feeds |= {**dict(zip(signature.state.values(), state, strict=True)), "input_ids": made[-1]}
    found: np.ndarray = torch.cat(made, 1).numpy()
    return found


def _ended(tokens: np.ndarray, end: int) -> np.ndarray:
    """Up to the first token that ends a target, that one among them; all where there is none.

    >>> _ended(np.array([5, 2, 7]), 2).tolist(), _ended(np.array([5, 7]), 2).tolist()
    ([5, 2], [5, 7])
    """
    ends = np.flatnonzero(tokens == end)
    return tokens[: ends[0] + 1] if len(ends) else tokens
