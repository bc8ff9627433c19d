"""A metric of your own: how often the right class is among the first three answers.

`counts` are sufficient statistics of each row, `value` the figure that their mean gives; the paired bootstrap, gates
and reports need nothing more. Registered, a recipe can say `gates: {metrics: {top-3: {min: 0.95}}}` or `metric: top-3`.
"""

from __future__ import annotations

import numpy as np

from edgepress.benchmarks.metrics import METRICS
from edgepress.benchmarks.metrics.base import Against, Unit, same_rows


class TopThree:
    """Share of rows whose label is among the three largest logits."""

    key = "top-3"
    name = "top-3 accuracy"
    unit: Unit = "share"
    higher_is_better = True
    against: Against = "labels"

    def counts(self, truth: np.ndarray, answers: np.ndarray) -> np.ndarray:
        """`[rows, 1]`, 1 where the label of a row is among its three largest of `answers [rows, classes]`."""
        same_rows(self.name, truth, answers)
        best = np.argsort(answers, axis=-1)[:, -3:]
        return (best == np.asarray(truth)[:, None]).any(axis=-1).astype(np.float64)[:, None]

    def value(self, means: np.ndarray) -> np.ndarray:
        """The mean itself."""
        return means[..., 0]


METRICS[TopThree.key] = TopThree()
