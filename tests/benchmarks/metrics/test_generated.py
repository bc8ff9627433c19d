"""BLEU and chrF from sums of n-gram counts are sacrebleu's own, of any resample of rows."""

from __future__ import annotations

import numpy as np
import pytest

from edgepress.benchmarks.metrics import metric
from edgepress.benchmarks.metrics.base import value_of
from edgepress.targets.errors import BenchmarkError

sacrebleu = pytest.importorskip("sacrebleu", reason="the extra generation is not installed")

TRUTH = ["A man in an orange hat starring at something.", "Five people wearing winter jackets.", "Ein Haus.", "Yes"]
ANSWERS = ["A man in an orange hat is looking at something.", "Five people in winter jackets stand.", "ein Haus", "No"]


@pytest.mark.parametrize("key", ["bleu", "chrf"])
@pytest.mark.parametrize("rows", [[0, 1, 2, 3], [1, 1, 3, 3], [2, 2, 3, 3], [3, 3, 3, 3], [0, 0, 0, 0]])
def test_a_corpus_scores_as_sacrebleu_scores_it(key: str, rows: list[int]) -> None:
    """Resamples of rows without a common n-gram of some order among them, where the smoothing begins."""
    kind = metric(key)
    answers, truth = [ANSWERS[i] for i in rows], [TRUTH[i] for i in rows]
    theirs = {"bleu": sacrebleu.BLEU, "chrf": sacrebleu.CHRF}[key]().corpus_score(answers, [truth]).score
    drawn = kind.counts(TRUTH, ANSWERS)[rows].mean(0)
    assert float(kind.value(drawn)) == pytest.approx(theirs, abs=1e-9)
    assert kind.value(np.stack([drawn, drawn])).shape == (2,)


def test_the_truth_itself_scores_a_hundred_and_nothing_scores_none() -> None:
    for key in ("bleu", "chrf"):
        kind = metric(key)
        assert value_of(kind, kind.counts(TRUTH[:2], TRUTH[:2])) == pytest.approx(100)
        assert value_of(kind, kind.counts(TRUTH[:2], ["", ""])) == 0


def test_other_numbers_of_texts_are_refused() -> None:
    with pytest.raises(BenchmarkError, match=r"bleu needs an answer for each row .*, got 4 rows and 3"):
        metric("bleu").counts(TRUTH, ANSWERS[:3])


def test_without_sacrebleu_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sacrebleu", None)
    with pytest.raises(BenchmarkError, match=r"not installed. Run: pip install 'edgepress\[generation\]'; or set"):
        metric("chrf").counts(TRUTH, ANSWERS)
