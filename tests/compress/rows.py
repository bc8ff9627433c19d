"""Forty rows of text with two labels, written and read, for the tests of data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgepress.compress.data.splits import Splits, load_splits
from edgepress.compress.recipe.recipe import Data
from edgepress.compress.tasks import load_task

TEXT, IMAGE = "text-classification", "image-classification"
ROWS = [{"text": f"row {number}", "label": number % 2} for number in range(40)]


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def load(train: Path | str, task: str = TEXT, names: tuple[str, ...] | None = None, **options: Any) -> Splits:
    return load_splits(Data(train=str(train), **options), load_task(task), seed=0, names=names)
