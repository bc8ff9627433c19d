"""The metrics there are. A new one is a class with `counts` and `value`, and a line here."""

from __future__ import annotations

from edgepress.benchmarks.metrics.base import Metric
from edgepress.benchmarks.metrics.classes import (
    Accuracy,
    Agreement,
    BalancedAccuracy,
    Divergence,
    LogLoss,
    MacroF1,
    TopFive,
)
from edgepress.benchmarks.metrics.detection import FalseAlarms
from edgepress.benchmarks.metrics.generated import Bleu, Chrf
from edgepress.benchmarks.metrics.imbalance import AreaUnderCurve, Matthews
from edgepress.benchmarks.metrics.next_tokens import NextTokenAccuracy, NextTokenAgreement, Perplexity
from edgepress.benchmarks.metrics.pairs import PairPearson, PairSpearman, Recall
from edgepress.benchmarks.metrics.passages import AnswerF1, AnswerMatch, SpanAgreement
from edgepress.benchmarks.metrics.pixels import MeanIoU, PixelAccuracy, PixelAgreement
from edgepress.benchmarks.metrics.several import ExactLabels, LabelAgreement, LabelMacroF1, MeanAveragePrecision
from edgepress.benchmarks.metrics.text import ExactMatch, WordErrorRate
from edgepress.benchmarks.metrics.tokens import EntityF1, TokenAccuracy, TokenAgreement
from edgepress.benchmarks.metrics.vectors import Cosine, Pearson, RootMeanSquare, SignalToNoise, Spearman
from edgepress.targets.errors import BenchmarkError

METRICS: dict[str, Metric] = {
    "accuracy": Accuracy(),
    "top-5-accuracy": TopFive(),
    "macro-f1": MacroF1(),
    "balanced-accuracy": BalancedAccuracy(),
    "mcc": Matthews(),
    "auroc": AreaUnderCurve(),
    "log-loss": LogLoss(),
    "agreement": Agreement(),
    "kl": Divergence(),
    "sqnr": SignalToNoise(),
    "rmse": RootMeanSquare(),
    "pearson": Pearson(),
    "spearman": Spearman(),
    "cosine": Cosine(),
    "token-accuracy": TokenAccuracy(),
    "token-agreement": TokenAgreement(),
    "mean-iou": MeanIoU(),
    "pixel-accuracy": PixelAccuracy(),
    "pixel-agreement": PixelAgreement(),
    "perplexity": Perplexity(),
    "next-token-accuracy": NextTokenAccuracy(),
    "next-token-agreement": NextTokenAgreement(),
    "entity-f1": EntityF1(),
    "wer": WordErrorRate(),
    "exact-match": ExactMatch(),
    "bleu": Bleu(),
    "chrf": Chrf(),
    "false-alarms": FalseAlarms(),
    "label-macro-f1": LabelMacroF1(),
    "exact-labels": ExactLabels(),
    "map": MeanAveragePrecision(),
    "label-agreement": LabelAgreement(),
    "pair-spearman": PairSpearman(),
    "pair-pearson": PairPearson(),
    "recall-at-1": Recall(1),
    "recall-at-10": Recall(10),
    "qa-f1": AnswerF1(),
    "qa-exact-match": AnswerMatch(),
    "span-agreement": SpanAgreement(),
}

BUILT_IN = frozenset(METRICS)
"""Those that tasks choose from. What a user adds to `METRICS` fits the tasks that a recipe asks it of."""


def metric(key: str) -> Metric:
    """The metric of that key.

    Raises:
        BenchmarkError: there is none; names those there are.
    """
    if key not in METRICS:
        raise BenchmarkError(f"unknown metric {key!r}; there are {', '.join(METRICS)}")
    return METRICS[key]
