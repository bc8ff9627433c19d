"""Networks of the user's own code, by what is known of them before any of it runs: `model.py:build`, or `python`."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from edgepress.compress.recipe.paths import PYTHON, in_home
from edgepress.targets.errors import ModelError

GIVEN: dict[str, str] = {}
"""Role (teacher, student) → digest of the module that was handed over in this process."""


@dataclass(frozen=True)
class CodeReference:
    """What builds a network.

    Args:
        path: the Python file; None for a module that was handed over.
        function: the name of a function there that takes no arguments.
        sha256: hex digest of the file's bytes, or of the module; other bytes are another network.
    """

    path: Path | None
    function: str
    sha256: str


def code_reference(text: str, role: str = "teacher") -> CodeReference:
    """The reference with the digest of the file as it is now; nothing is run.

    Args:
        text: `model.py:build`, or `python`.
        role: whose it is, teacher or student.

    Raises:
        ModelError: it is no such reference, there is no such file, or no module was handed over.
    """
    if text == PYTHON:
        if role not in GIVEN:
            raise ModelError(f"{role}.code is python: hand the module over, run(recipe, {role}=module).")
        return CodeReference(None, PYTHON, GIVEN[role])
    name, _, function = text.rpartition(":")
    if not name.endswith(".py") or not function.isidentifier():
        raise ModelError(f"{role}.code {text!r} names no function of a Python file. Write it as model.py:build.")
    try:
        path = Path(in_home(name))
        return CodeReference(path, function, hashlib.sha256(path.read_bytes()).hexdigest())
    except OSError as fault:
        raise ModelError(
            f"{role}.code {text!r}: {name} cannot be read ({fault.strerror}). Give the path of your Python file."
        ) from None
