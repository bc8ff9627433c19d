"""What a stage measures with, its data made up."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgepress.compress.cli.console import Console
from edgepress.compress.methods.data import Run
from edgepress.compress.recipe.sections import Benchmark
from edgepress.compress.tasks.outputs.classes import Classes
from edgepress.targets import load
from edgepress.targets.records import Description
from tests.compress.fakes import TokenFeatures


class FakeTask:
    """Hands out rows in the asked shape and writes one processor file."""

    outputs = Classes()

    def sample_feeds(self, features: TokenFeatures, batch: int, sequence: int | None) -> dict[str, np.ndarray]:
        rows = features.batch(np.arange(batch), 32)
        return {name: value[:, :sequence] for name, value in rows.items()}

    def save_processor(self, processor: Any, folder: Path) -> None:
        (folder / "tokenizer.json").write_text("{}")


@pytest.fixture
def measuring() -> Any:
    recipe = SimpleNamespace(benchmark=Benchmark(batches=(1, 2), sequences=(8, 64)), digest="d" * 64)
    described = lambda model: Description(labels=("bad", "good"))  # noqa: E731
    data = SimpleNamespace(
        task=FakeTask(), calibration=TokenFeatures(4), processor=None, calibration_batches=lambda model: [],
        metrics=("accuracy", "agreement"),
    )  # fmt: skip
    return SimpleNamespace(
        recipe=recipe, data=data, run=Run("test", 0, Path("scratch"), Console("silent")),
        target=load, describe=described, cache_folder=Path("cache"),
        workspace=SimpleNamespace(splits=SimpleNamespace(label_names=("bad", "good"))),
    )  # fmt: skip
