"""A pytest plugin: the target of docs/extending, in the registry beside our own."""

from __future__ import annotations

import sys
from pathlib import Path

from edgepress.targets import TARGETS

sys.path.insert(0, str(Path(__file__).parents[2] / "docs" / "extending"))
TARGETS["packed-pytorch"] = "my_target:PackedPyTorch"
