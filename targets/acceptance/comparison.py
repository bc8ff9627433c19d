"""Logits of an artifact against those of what it was made of."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from edgepress.targets.errors import ArtifactError
from edgepress.targets.records import Comparison


def compare(reference: Iterable[np.ndarray], outputs: Iterable[np.ndarray]) -> Comparison:
    """Logits `[batch, classes]` of an artifact against the reference's, batch by batch.

    >>> compare([np.array([[1.0, 3.0]])], [np.array([[1.0, 2.0]])])
    Comparison(samples=1, max_abs_diff=1.0, agreement=1.0, sqnr_db=10.0)
    """
    samples = agreeing = 0
    largest = signal = noise = 0.0
    for want, got in zip(reference, outputs, strict=True):
        want, got = want.astype(np.float64), got.astype(np.float64)
        samples += len(want)
        agreeing += int((want.argmax(-1) == got.argmax(-1)).sum())
        difference = want - got
        largest = max(largest, float(np.abs(difference).max()))
        signal += float((want**2).sum())
        noise += float((difference**2).sum())
    if samples == 0:
        raise ArtifactError("nothing to compare: no calibration batches were given")
    sqnr = None if noise == 0 else float(10 * np.log10(max(signal, 1e-300) / noise))
    return Comparison(samples=samples, max_abs_diff=largest, agreement=agreeing / samples, sqnr_db=sqnr)
