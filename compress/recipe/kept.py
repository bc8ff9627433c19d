"""The recipe that a run folder holds: what the run was made from, for those who come back to it without the file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from edgepress.compress.recipe.recipe import Recipe
from edgepress.targets.files import write_whole
from edgepress.targets.records import Record

FILE_NAME = "recipe.json"


class KeptRecipe(Record):
    """`recipe.json`: the recipe as the run resolved it, with `--set` and variables put in.

    `folder` is where the recipe's relative paths begin: seen from the run folder where that lies below it, so that
    both may move together, else absolute. It is in no digest.
    """

    format: Literal[1] = 1
    folder: str
    recipe: Recipe

    @classmethod
    def of(cls, recipe: Recipe, run: Path) -> KeptRecipe:
        here, root = Path.cwd(), run.resolve()
        below = here in root.parents
        return cls(folder=Path(os.path.relpath(here, root)).as_posix() if below else str(here), recipe=recipe)

    def base(self, run: Path) -> Path:
        """The folder in which the recipe's relative paths are to be read, absolute."""
        return (run.resolve() / self.folder).resolve()


def keep_recipe(recipe: Recipe, run: Path) -> None:
    """Write `recipe.json` whole. The run is locked by the caller."""
    write_whole(run / FILE_NAME, _text(recipe, run))


def holds_recipe(recipe: Recipe, run: Path) -> bool:
    """Whether the run holds this very recipe, read from this folder."""
    path = run / FILE_NAME
    return path.is_file() and path.read_text(encoding="utf-8", errors="replace") == _text(recipe, run)


def _text(recipe: Recipe, run: Path) -> str:
    return KeptRecipe.of(recipe, run).model_dump_json(indent=1) + "\n"


def kept_recipe(run: Path) -> KeptRecipe | None:
    """The recipe of a run; None where an older edgepress made it.

    Raises:
        ArtifactError: recipe.json is damaged.
    """
    path = run / FILE_NAME
    return KeptRecipe.read(path) if path.is_file() else None
