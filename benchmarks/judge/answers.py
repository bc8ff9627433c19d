"""The answers of an artifact itself to the rows of a split, through the session that was timed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgepress import targets
from edgepress.benchmarks.desk import Desk, Rows, batches, judged
from edgepress.benchmarks.judge.fidelity import predict
from edgepress.benchmarks.measure.jobs import Opened
from edgepress.benchmarks.measure.provenance import check_same
from edgepress.targets.process.feeds import rounded_up
from edgepress.targets.records import Artifact

STAND_IN_BATCH = 32


def artifact_logits(
    folder: Path,
    rows: Rows,
    desk: Desk,
    title: str,
    opened: Opened | None = None,
    size: int | None = None,
) -> np.ndarray:
    """Logits `[rows, ...]` of the artifact itself, with the settings, threads and batch size that are timed:
    dynamic quantization takes its ranges over the whole batch, so another batch size would be another model.

    Args:
        folder: of the artifact.
        rows: that it answers.
        desk: says with how many threads and rows in a batch, and hears of progress.
        title: of the task that the user sees.
        opened: the session that was timed: this one must be the same. None: nothing was timed.
        size: another number of rows in a batch than the one that is timed.

    Raises:
        TargetError, BenchmarkError: it cannot be opened, it is another session, or its outputs are not finite.
    """
    artifact, asked = Artifact.read(folder / "artifact.json"), desk.options
    here = targets.of(artifact).probe().state == "available"
    size = size or (asked.batches[0] if here else STAND_IN_BATCH)
    threads = asked.threads[0] if here else 1
    logits: np.ndarray | None = None
    with (
        desk.task(title, total=len(rows)) as advance,
        targets.open_numbers(artifact, folder, threads) as session,
    ):
        if opened is not None:
            check_same(opened, artifact, threads, session)
        for index, feeds in batches(rows, size):
            taken = artifact.signature.select(feeds)
            taken = taken if here else rounded_up(taken, artifact.signature, size)
            output = judged(rows, index, predict(session, [taken])[: len(index)])
            logits = np.empty((len(rows), *output.shape[1:]), np.float32) if logits is None else logits
            logits[index] = output
            advance(len(index))
    assert logits is not None
    return logits
