"""Texts that an artifact makes by itself of the sources of a split, token by token, and what they are worth."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgepress import targets
from edgepress.benchmarks.desk import Desk, Generating, Rows
from edgepress.benchmarks.judge.fidelity import judge
from edgepress.benchmarks.records.figures import Figure
from edgepress.targets.inference.generation import Sampling, Translation
from edgepress.targets.records import ENCODE, MAIN, STEP, Artifact

METRICS = ("bleu", "chrf", "exact-match")


def generated_texts(folder: Path, rows: Rows, desk: Desk, title: str) -> np.ndarray | None:
    """What the artifact makes of some of the rows, always its likeliest token next: texts `[rows]`.

    Args:
        folder: of the artifact.
        rows: of which `generated_rows` are taken.
        desk: says of how many rows, and with how many threads.
        title: of the task that the user sees.

    Returns:
        None where none are asked for, or the artifact has no programs that make a text.

    Raises:
        TargetError: the runtime fails, or gives NaN.
    """
    artifact, places = Artifact.read(folder / Artifact.FILE_NAME), generated_rows(rows, desk)
    if not len(places) or not isinstance(rows, Generating) or not {ENCODE, STEP} <= set(artifact.programs):
        return None
    step, encode = artifact.programs[STEP], artifact.programs[ENCODE]
    sampling = Sampling(max_new_tokens=artifact.programs[MAIN].bounds["sequence"][1])
    begin, found = np.array([rows.begin], np.int64), np.empty(len(places), object)
    with (
        desk.task(title, total=len(places)) as advance,
        targets.open_numbers(artifact, folder, desk.options.threads[0]) as session,
    ):
        for number, place in enumerate(places):
            tokens = Translation(
                session, step, begin, sampling, frozenset([rows.end]), source=rows.source(int(place)), encode=encode,
                padding=rows.padding,
            )  # fmt: skip
            found[number] = rows.text([*tokens])
            advance(1)
    return found


def generated_rows(rows: Rows, desk: Desk) -> np.ndarray:
    """Which rows texts are made of: as many as the desk asks for, drawn once for all artifacts; int `[rows]`."""
    count = min(desk.options.generated, len(rows)) if isinstance(rows, Generating) else 0
    return np.sort(np.random.default_rng(desk.seed).permutation(len(rows))[:count])


def generated_figures(
    rows: Rows, desk: Desk, teacher: np.ndarray | None, texts: np.ndarray | None, is_teacher: bool
) -> tuple[Figure, ...]:
    """BLEU, chrF and exact match against the true targets, with paired resamples of rows; empty without texts.

    Args:
        rows: that the texts were made of.
        desk: which of them, and the seed of resamples.
        teacher: the teacher's texts; None where it made none, and there is no difference to it.
        texts: the artifact's.
        is_teacher: whether the artifact is the teacher itself.
    """
    if texts is None or not isinstance(rows, Generating):
        return ()
    truth = np.array([rows.references[place] for place in generated_rows(rows, desk)], object)
    alone = is_teacher or teacher is None
    reference = texts if teacher is None else teacher
    return judge(METRICS, truth, reference, texts, primary=desk.metrics[0], is_teacher=alone, seed=desk.seed)
