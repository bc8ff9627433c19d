"""What a stage of a run is: what its result depends on, and the work that makes it. Knows no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from edgepress.targets.errors import StageError

if TYPE_CHECKING:
    from edgepress.compress.methods.data import Data, Run
    from edgepress.compress.methods.measuring import Measuring
    from edgepress.compress.model.model import Model
    from edgepress.compress.recipe.sections import Section


class Stage(Protocol):
    """One stage, made from its own sections of the recipe; a new one is a file here and a line in `STAGES`."""

    @property
    def name(self) -> str:
        """What users call it: `--until NAME`, the folder, the report's row."""
        ...

    @property
    def options(self) -> Section | None:
        """What the recipe says of it, as the dry run shows it; None where a recipe says nothing."""
        ...

    def covers(self) -> Mapping[str, object]:
        """All that its result depends on besides the stages before it, as plain JSON values; its digest is of these.

        Raises:
            DataError, ModelError: a file that it depends on is missing.
        """
        ...

    def run(self, work: Work, folder: Path) -> None:
        """Write the stage into `folder`, which is empty; what it leaves there is all that later stages see of it.

        Raises:
            EdgepressError: what was wrong, what was got, what to do.
        """
        ...


@dataclass(frozen=True)
class Finished:
    """A stage that is done."""

    name: str
    folder: Path


@dataclass(frozen=True)
class Work:
    """What a running stage may use.

    Args:
        root: the run folder.
        before: the stages before it, in order.
        data: rows and teacher.
        run: seed, scratch and progress.
        measuring: the recipe's targets, and what exports and figures need.
    """

    root: Path
    before: tuple[Finished, ...]
    data: Data
    run: Run
    measuring: Measuring

    @property
    def model(self) -> Model:
        """The model that the stage before left, read from its folder: a run that goes on sees what a whole one does."""
        from edgepress.compress.model.model import Model

        if not self.before:
            raise StageError(f"stage {self.run.stage!r} needs a model, and no stage before it makes one")
        return Model.load(self.before[-1].folder)

    @property
    def names_before(self) -> tuple[str, ...]:
        return tuple(stage.name for stage in self.before)


def plain(section: Section | None) -> dict[str, Any]:
    """A section as plain JSON values; nothing where the recipe has none."""
    return section.model_dump(mode="json") if section is not None else {}
