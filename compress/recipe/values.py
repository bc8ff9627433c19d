"""A recipe's values as plain data: nothing shared, nothing that JSON has no word for, the environment filled in."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from edgepress.compress.recipe.faults import Keys, got, path_text
from edgepress.compress.recipe.yaml_reader import BOUNDED, MAX_BYTES, MAX_DEPTH, MAX_VALUES
from edgepress.targets.errors import RecipeError

VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
# No text of a recipe has them: they would steer the terminal, end a path early, or cannot be encoded.
FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
LARGEST = 2**63 - 1


def unshared(value: Any, origin: str) -> Any:
    """A copy in which what an alias named twice is there twice, so that `--set` changes one of them.

    Raises:
        RecipeError: more levels or values than a recipe can have.
    """
    return _Copy(origin, None).of(value, ())


def resolved(value: Any, origin: str, faults: list[str]) -> Any:
    """A copy with the environment's values in all texts. Unset variables without a default, and values that no recipe
    can hold, are added to `faults`.

    Raises:
        RecipeError: more levels, values or text than a recipe can have.
    """
    return _Copy(origin, faults).of(value, ())


class _Copy:
    """One walk, with what it may still copy. Without a list for faults it judges nothing."""

    def __init__(self, origin: str, faults: list[str] | None) -> None:
        self._origin = origin
        self._faults = faults
        self._values = MAX_VALUES
        self._characters = MAX_BYTES

    def of(self, value: Any, path: Keys) -> Any:
        self._values -= 1
        if self._values < 0:
            raise RecipeError(f"{self._origin} is too large: {BOUNDED}.")
        if len(path) > MAX_DEPTH:
            raise RecipeError(f"{self._origin} has more than {MAX_DEPTH} levels, from {path_text(path[:3])} on.")
        if isinstance(value, Mapping):
            return {self._key(key, path): self.of(item, (*path, str(key))) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.of(item, (*path, index)) for index, item in enumerate(value)]
        return value if self._faults is None else self._judged(value, path, self._faults)

    def _key(self, key: Any, path: Keys) -> str:
        text = str(key)
        if self._faults is not None and (found := FORBIDDEN.search(text)):
            self._faults.append(f"{path_text((*path, text))}: {_character(found)} in a key. Remove it.")
        return text

    def _judged(self, value: Any, path: Keys, faults: list[str]) -> Any:
        if isinstance(value, str):
            text = self._filled(value, path, faults)
            if found := FORBIDDEN.search(text):
                faults.append(f"{path_text(path)}: {_character(found)} in a text. Remove it.")
            return text
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) > LARGEST:
            digits = int(value.bit_length() * 0.30103) + 1  # its text may be longer than Python cares to write
            faults.append(f"{path_text(path)}: got an integer of {digits} digits, allowed: up to {LARGEST}.")
            return 0
        if value is not None and not isinstance(value, bool | int | float):
            faults.append(f"{path_text(path)}: got {got(value)}, allowed: text, numbers, true, false, null.")
            return None
        return value

    def _filled(self, text: str, path: Keys, faults: list[str]) -> str:
        # Behind the last brace no variable can end, and the pattern would search the rest again from every start.
        head, brace, tail = text.rpartition("}")
        filled = VARIABLE.sub(lambda match: self._variable(match, path, faults), head + brace) + tail
        self._take(len(filled))
        return filled

    def _variable(self, match: re.Match[str], path: Keys, faults: list[str]) -> str:
        name, default = match.groups()
        found = os.environ.get(name) or default or ""
        if not found and default is None:
            faults.append(f"{path_text(path)}: ${{{name}}} is not set. Set it, or write ${{{name}:-default}}.")
        self._take(len(found))
        return found

    def _take(self, characters: int) -> None:
        self._characters -= characters
        if self._characters < 0:
            raise RecipeError(f"{self._origin} is too large: its texts have over {MAX_BYTES} characters.")


def _character(found: re.Match[str]) -> str:
    return f"the character U+{ord(found.group()):04X}"
