"""What the other processes of a run on several do: take part in the trainings that the first one hands out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepress.compress.recipe.recipe import Recipe
from edgepress.compress.tasks.workspace import Workspace
from edgepress.compress.training import processes as distributed
from edgepress.compress.training.fit import SharedJob, take_part
from edgepress.targets.errors import EdgepressError, ProcessLost
from edgepress.targets.progress import Progress, WarningsOnly

if TYPE_CHECKING:
    from collections.abc import Iterator


def jobs() -> Iterator[SharedJob]:
    """Trainings, as they come, until the first process is done."""
    while (job := distributed.receive()) is not None:
        yield job


def follow(recipe: Recipe, progress: Progress) -> None:
    """Train along until the first process is done.

    Raises:
        EdgepressError: this process cannot go on; told here, as the first one does not know the reason.
        ProcessLost: another process ended before; that one told why.
    """
    # The first process shows the progress of all.
    workspace = Workspace(recipe, WarningsOnly())
    try:
        for job in jobs():
            take_part(job, workspace.train)
    except ProcessLost:
        raise
    except EdgepressError as fault:
        progress.error(f"process {distributed.rank()}: {fault}")
        raise
