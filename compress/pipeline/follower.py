"""What the other processes of a run on several do: take part in the trainings that the first one hands out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepress.compress.cli.console import Console
from edgepress.compress.recipe.recipe import Recipe
from edgepress.compress.tasks.workspace import Workspace
from edgepress.compress.training import processes as distributed
from edgepress.compress.training.fit import Job, take_part
from edgepress.targets.errors import EdgepressError, ProcessLost

if TYPE_CHECKING:
    from collections.abc import Iterator


def jobs() -> Iterator[Job]:
    """Trainings, as they come, until the first process is done."""
    while (job := distributed.receive()) is not None:
        yield job


def follow(recipe: Recipe, console: Console) -> None:
    """Train along until the first process is done.

    Raises:
        EdgepressError: this process cannot go on; told here, as the first one does not know the reason.
        ProcessLost: another process ended before; that one told why.
    """
    workspace = Workspace(recipe, Console("silent"), tells_notes=False)
    try:
        for job in jobs():
            take_part(job, workspace.train)
    except ProcessLost:
        raise
    except EdgepressError as fault:
        console.error(f"process {distributed.rank()}: {fault}")
        raise
