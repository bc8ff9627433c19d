"""A stage's context whose data are made up."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgepress.compress.cli.console import Console
from edgepress.compress.recipe.sections import Benchmark
from edgepress.targets import load
from edgepress.targets.records import Description
from tests.compress.fakes import TokenFeatures


class FakeTask:
    """Hands out rows in the asked shape and writes one processor file."""

    def sample_feeds(self, features: TokenFeatures, batch: int, sequence: int | None) -> dict[str, np.ndarray]:
        rows = features.batch(np.arange(batch), 32)
        return {name: value[:, :sequence] for name, value in rows.items()}

    def save_processor(self, processor: Any, folder: Path) -> None:
        (folder / "tokenizer.json").write_text("{}")


@pytest.fixture
def context() -> Any:
    recipe = SimpleNamespace(benchmark=Benchmark(batches=(1, 2), sequences=(8, 64)), digest="d" * 64)
    described = lambda model: Description(labels=("bad", "good"))  # noqa: E731
    return SimpleNamespace(
        recipe=recipe, task=FakeTask(), calibration=TokenFeatures(4), console=Console("silent"), stage="test",
        processor=None, seed=0, calibration_batches=lambda model: [],
        target=load, describe=described, cache_folder=Path("cache"), metrics=("accuracy", "agreement"),
        workspace=SimpleNamespace(splits=SimpleNamespace(label_names=("bad", "good"))),
    )  # fmt: skip
