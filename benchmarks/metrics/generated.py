"""Metrics of texts that a model made by itself: BLEU and chrF, as sacrebleu counts them.

What is kept of a row are its n-gram counts, of which corpus scores are made: a corpus' BLEU is no mean of its rows'.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgepress.benchmarks.metrics.base import Against, Unit, ratio, same_rows
from edgepress.targets.errors import BenchmarkError

INSTALL = "pip install 'edgepress[generation]'"
ORDERS = 4
"""Of the n-grams of words that BLEU counts."""
CHARACTERS = 6
"""Of the n-grams of characters that chrF counts."""
RECALL = 2
"""How much more recall counts than precision in chrF2."""


class Bleu:
    """BLEU of the whole corpus, 0 to 100: tokenization 13a, exponential smoothing, one reference a row; sacrebleu's
    defaults, and its figures.

    References: Papineni et al., ACL 2002; Post, arXiv 1804.08771.
    """

    key, name = "bleu", "BLEU"
    unit: Unit = "1"
    higher_is_better = True
    against: Against = "labels"

    def counts(self, truth: Any, answers: Any) -> np.ndarray:
        """`[rows, 10]`: tokens of the answer and of the truth, n-grams of 1 to 4 that both have, and those of the
        answer; each times the number of rows, so that their mean is the corpus' sum, on which the smoothing depends.

        Args:
            truth: texts, one a row.
            answers: texts.

        Raises:
            BenchmarkError: other numbers of rows, or sacrebleu is not installed.
        """
        same_rows(self.key, truth, answers)
        score = sacrebleu().BLEU()
        found = [score.corpus_score([str(got)], [[str(wanted)]]) for wanted, got in zip(truth, answers, strict=True)]
        rows = [(one.sys_len, one.ref_len, *one.counts, *one.totals) for one in found]
        return np.array(rows, np.float64) * len(rows)

    def value(self, means: np.ndarray) -> np.ndarray:
        compute = sacrebleu().BLEU.compute_bleu
        sums = np.rint(means).astype(np.int64)
        flat = [
            compute(row[2 : 2 + ORDERS].tolist(), row[2 + ORDERS :].tolist(), int(row[0]), int(row[1]), "exp").score
            for row in sums.reshape(-1, sums.shape[-1])
        ]
        return np.array(flat, np.float64).reshape(sums.shape[:-1])


class Chrf:
    """chrF2 of the whole corpus, 0 to 100: n-grams of 1 to 6 characters, white space left out, recall counted twice;
    sacrebleu's defaults, and its figures.

    References: Popović, WMT 2015.
    """

    key, name = "chrf", "chrF"
    unit: Unit = "1"
    higher_is_better = True
    against: Against = "labels"

    def counts(self, truth: Any, answers: Any) -> np.ndarray:
        """`[rows, 18]`: of each order the answer's n-grams, the truth's, and those that both have.

        Args:
            truth: texts, one a row.
            answers: texts.

        Raises:
            BenchmarkError: other numbers of rows, or sacrebleu is not installed.
        """
        same_rows(self.key, truth, answers)
        sacrebleu()
        from sacrebleu.metrics.helpers import extract_all_char_ngrams

        rows = []
        for wanted, got in zip(truth, answers, strict=True):
            theirs, own = (extract_all_char_ngrams(str(text), CHARACTERS, False) for text in (wanted, got))
            triples = [
                (sum(mine.values()) if other else 0, sum(other.values()), sum((mine & other).values()))
                for mine, other in zip(own, theirs, strict=True)
            ]
            rows.append([number for triple in triples for number in triple])
        return np.array(rows, np.float64)

    def value(self, means: np.ndarray) -> np.ndarray:
        answers, wanted, both = (means[..., place::3] for place in range(3))
        there = (answers > 0) & (wanted > 0)
        precision, recall = (
            ratio(np.where(there, ratio(both, of), 0.0).sum(-1), there.sum(-1)) for of in (answers, wanted)
        )
        found = ratio((1 + RECALL**2) * precision * recall, RECALL**2 * precision + recall)
        score: np.ndarray = 100 * np.nan_to_num(found)
        return score


def sacrebleu() -> Any:
    """The package. Raises BenchmarkError where it is not installed."""
    try:
        import sacrebleu as found
    except ImportError:
        raise BenchmarkError(
            f"BLEU and chrF are counted by sacrebleu, which is not installed. Run: {INSTALL}; or set "
            f"benchmark.generated to 0."
        ) from None
    return found
