"""Exports of tiny random models; each is made once and shared by the tests that read it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edgepress import targets
from edgepress.targets.records import Artifact, Candidate, Refusal
from tests.conftest import made_once
from tests.targets.tiny import Exported, make_calibration, make_model

PRECISIONS = ("fp32", "fp16", "bf16", "int8")


@pytest.fixture(scope="session")
def exported(shared_folder: Path) -> Callable[[str, str, Candidate], Exported]:
    """`exported(target, kind, candidate)`, made once for all workers; don't change its files.

    The first candidate of each precision comes with the others: to start a converter takes longer than to convert.
    """

    def export(name: str, kind: str, candidate: Candidate) -> Exported:
        target, model = targets.load(name), make_model(kind)
        calibration = make_calibration(model.signature)
        usual = [found[0] for one in PRECISIONS if (found := target.candidates(model, one))]
        group, word = (usual, "usual") if candidate in usual else ([candidate], candidate.name)

        def make(folder: Path) -> None:
            refusals = [one for one in target.export_all(model, calibration, group, folder) if isinstance(one, Refusal)]
            assert refusals == []

        folder = made_once(shared_folder / f"{name}-{kind}-{word}", make) / candidate.name
        return Exported(target, model, calibration, Artifact.read(folder / Artifact.FILE_NAME), folder)

    return export
