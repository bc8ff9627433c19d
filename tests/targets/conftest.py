"""Exports of tiny random models; each is made once and shared by the tests that read it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import targets
from targets.base import Candidate
from tests.targets.tiny import Exported, make_calibration, make_model


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str, Candidate], Exported]:
    """`exported(target, kind, candidate)`, made once; don't change its files."""
    done: dict[tuple[str, str, str], Exported] = {}

    def export(name: str, kind: str, candidate: Candidate) -> Exported:
        key = (name, kind, candidate.name)
        if key not in done:
            target, model = targets.load(name), make_model(kind)
            calibration = make_calibration(model.signature)
            folder = tmp_path_factory.mktemp(f"{name}-{kind}") / candidate.name
            artifact = target.export(model, calibration, candidate, folder)
            done[key] = Exported(target, model, calibration, artifact, folder)
        return done[key]

    return export
