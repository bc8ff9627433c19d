"""The name of a task in a recipe: one of those that are registered when the recipe is read."""

from __future__ import annotations

from typing import Annotated, Any

import pydantic
from pydantic_core import PydanticCustomError

from edgepress.compress.tasks import TASKS


class _Names:
    """Messages and the reference list the tasks that there are when they are written, not when this was imported."""

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        return {**handler(schema), "enum": list(TASKS)}


def _known(name: str) -> str:
    if name not in TASKS:
        raise PydanticCustomError("unknown_task", "unknown task; there are {names}", {"names": ", ".join(TASKS)})
    return name


TaskName = Annotated[str, pydantic.AfterValidator(_known), _Names()]
