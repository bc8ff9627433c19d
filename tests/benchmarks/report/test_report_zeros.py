"""What the report says of zeros among weights: bytes after compression, and that they bring no time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from edgepress.benchmarks.judge.costs import with_zeros
from edgepress.benchmarks.records.costs import Footprint
from edgepress.benchmarks.records.report import Report, StageRow
from edgepress.benchmarks.report.markdown import markdown
from edgepress.benchmarks.report.sections.costs import footprint
from edgepress.benchmarks.report.wording import stage_cells, stage_findings
from edgepress.targets.records import WeightCount
from tests.benchmarks.conftest import figures
from tests.compress.fakes import write_artifact


def pruned(zeros: int = 500, *p50: float, **more: Any) -> StageRow:
    """A stage that made `zeros` of 1,000 weights zero."""
    before = figures(0.9, 4_000_000, 1.0, 2.0).model_copy(
        update={"zstd_bytes": 3_600_000, "exported_zeros": WeightCount(weights=1000, zeros=2)}
    )
    after = figures(0.89, 4_000_000, *(p50 or (1.0, 2.0))).model_copy(
        update={"zstd_bytes": 2_000_000, "exported_zeros": WeightCount(weights=1000, zeros=zeros)}
    )
    return StageRow(name="prune", kind="prune", verdict="kept", before=before, after=after, seconds=1.0, **more)


def test_a_stage_that_made_zeros_says_what_they_are_worth_before_what_speaks_against_it() -> None:
    told = (
        "50 % of the file's weights are zero: 3.60 MB → 2.00 MB after zstd; no gain in latency on this target (1.01x)"
    )
    assert stage_findings(pruned(500, 0.99, 2.0, reasons=("accuracy fell",))) == (told, "accuracy fell")
    assert ("zstd bytes", "3.60 MB", "2.00 MB") in stage_cells(pruned(), dict.fromkeys(shapes(), ""))


def test_a_latency_that_did_change_is_told_as_it_was_measured() -> None:
    (told,) = stage_findings(pruned(500, 0.8, 2.0))
    assert told.endswith("after zstd; latency on this target 1.00x to 1.25x, with as many MACs as before")


@pytest.mark.parametrize("stage", [pruned(11), pruned().model_copy(update={"after": pruned().before})])
def test_a_stage_without_new_zeros_says_nothing_of_them(stage: StageRow) -> None:
    assert stage_findings(stage) == ()
    assert "zstd bytes" not in [name for name, _, _ in stage_cells(stage, dict.fromkeys(shapes(), ""))]


def test_the_footprint_tells_of_the_chosen_artifacts_zeros_where_a_stage_made_some(report: Report) -> None:
    taken = Footprint(
        zstd_bytes=3_000_000, weights=WeightCount(weights=200, zeros=150), zeros_note="no gain in latency"
    )
    rows = tuple(row.model_copy(update={"footprint": taken}) for row in report.candidates)
    sparse = report.model_copy(update={"candidates": rows, "stages": (pruned(),)})
    told = "onnxruntime-cpu dynamic: 75 % of its weights are zero, 8.00 MB are 3.00 MB after zstd; no gain in latency."
    assert told in footprint(sparse).notes and told in markdown(sparse)
    assert told not in footprint(sparse.model_copy(update={"stages": ()})).notes


def test_the_zeros_of_an_artifact_are_read_from_its_files(tmp_path: Path) -> None:
    artifact = write_artifact(tmp_path / "a", "pytorch")
    save_file({"w": np.eye(4, dtype=np.float32)}, tmp_path / "a" / "weights.safetensors")
    found = with_zeros(Footprint(zstd_bytes=7), artifact, tmp_path / "a")
    assert found.weights == WeightCount(weights=16, zeros=12) and found.zstd_bytes == 7
    assert found.zeros_note == "no gain in latency on this target: its kernels multiply zeros like other weights"


def shapes() -> list[Any]:
    return [row.shape for row in figures(0.9, 1, 1.0, 2.0).latency]
