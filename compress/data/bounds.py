"""Whether what a recipe names as data can be read at all, and is not so much that even to list it takes minutes."""

from __future__ import annotations

import os
from pathlib import Path

from edgepress.compress.data.rows import ReadingTask
from edgepress.compress.data.sources import check_task, find_source
from edgepress.compress.data.splits import local_files
from edgepress.compress.recipe.data import Data
from edgepress.targets.errors import DataError

# ImageNet has 1.3 million. Each is kept as a path while a plan is made, which is 1 GB at this bound.
MOST_FILES = 2_000_000


def check_bounds(data: Data, task: ReadingTask) -> None:
    """Before anything is digested.

    Raises:
        DataError: a file or folder is missing, may not be read, is nothing for the task, or holds more files than a run
            can list.
    """
    for reference in (data.train, data.validation, data.test):
        if reference is not None:
            check_task(find_source(reference), task)
    for path in local_files(data):
        try:
            _check(path)
        except OSError as fault:
            raise DataError(f"{fault.filename or path} cannot be read: {fault.strerror}. Mend its rights.") from None


def _check(path: Path) -> None:
    if path.is_file():
        path.open("rb").close()
        return
    files = 0
    for _, _, names in os.walk(path, onerror=_raise):
        files += len(names)
        if files > MOST_FILES:
            raise DataError(
                f"{path} holds more than {MOST_FILES} files. Name the folder of the classes alone, or a table of paths."
            )


def _raise(fault: OSError) -> None:
    raise fault
