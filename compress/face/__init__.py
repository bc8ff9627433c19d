"""edgepress: a recipe turns a teacher into a small, fast, measured artifact for each piece of hardware.

From Python: `from edgepress import Recipe, run`, then `run(Recipe.load("recipe.yaml"))`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgepress.compress.data.handed import Splits
    from edgepress.compress.model.model import Model
    from edgepress.compress.pipeline.run import Result, run
    from edgepress.compress.recipe.recipe import Recipe

__all__ = ["Model", "Recipe", "Result", "Splits", "run"]
__version__ = "0.1.0"

_HOMES = {
    "Model": "model.model",
    "Recipe": "recipe.recipe",
    "Result": "pipeline.run",
    "Splits": "data.handed",
    "run": "pipeline.run",
}


def __getattr__(name: str) -> Any:
    """Load a public name when it is first asked for: importing `edgepress` costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module 'edgepress' has no attribute {name!r}; it has {', '.join(__all__)}")
    from importlib import import_module

    return getattr(import_module(f"edgepress.compress.{_HOMES[name]}"), name)
