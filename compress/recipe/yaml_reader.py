"""YAML text → texts, numbers, lists and mappings, within bounds that no recipe comes near.

A recipe may come from anyone, and YAML lets a few hundred bytes stand for gigabytes: what aliases stand for is counted.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from copy import deepcopy
from pathlib import Path
from typing import Any, NoReturn

import yaml
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError

from edgepress.compress.recipe.faults import visible_line
from edgepress.targets.errors import RecipeError, told

# The list of 21,000 class names of ImageNet has 0.4 MB.
MAX_BYTES = 2**20
MAX_VALUES = 100_000
MAX_DEPTH = 32
KINDS = {"null": "null", "bool": "true or false", "int": "an integer", "float": "a number", "str": "text"}
PREFIX = "tag:yaml.org,2002:"
BOUNDED = f"with its aliases written out a recipe may hold {MAX_VALUES} values and {MAX_BYTES} characters"


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses duplicate keys, counts what aliases stand for, knows the kinds of JSON and no others, and
    takes `2e-4` for a number, which YAML 1.1 reads as text. Keys are texts as they are written."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = self._values = self._characters = 0
        self._extents: dict[int, tuple[int, int]] = {}  # by id of a finished node: its values and characters

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        if self.check_event(yaml.AliasEvent):
            node = super().compose_node(parent, index)
            if id(node) not in self._extents:
                raise ComposerError(None, None, "an alias of what it is a part of", mark)
            self._count(*self._extents[id(node)], mark)
            return node
        before = (self._values, self._characters)
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ComposerError(None, None, f"more than {MAX_DEPTH} levels of nesting", mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        self._count(1, len(node.value) if isinstance(node, yaml.ScalarNode) else 0, mark)
        self._extents[id(node)] = (self._values - before[0], self._characters - before[1])
        return node

    def _count(self, values: int, characters: int, mark: Any) -> None:
        self._values += values
        self._characters += characters
        if self._values > MAX_VALUES or self._characters > MAX_BYTES:
            raise ComposerError(None, None, f"more than a recipe can be: {BOUNDED}", mark)

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise ConstructorError(None, None, "a key must be text, not a list or mapping", key.start_mark)
            if key.value in seen:
                raise ConstructorError(None, None, f"duplicate key {_shown(key)}", key.start_mark)
            seen.add(key.value)
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        if not isinstance(node, yaml.MappingNode):
            raise ConstructorError(None, None, "expected a mapping", node.start_mark)
        self.flatten_mapping(node)
        for key, _ in node.value:
            self.construct_object(key)  # refuses tags that the values may not have either
        return {key.value: self.construct_object(value, deep=deep) for key, value in node.value}

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, ArithmeticError):
            kind = KINDS.get(node.tag.removeprefix(PREFIX), node.tag)
            raise ConstructorError(None, None, f"{_shown(node)} cannot be read as {kind}", node.start_mark) from None

    def construct_undefined(self, node: yaml.Node) -> NoReturn:
        tag = visible_line(node.tag.replace(PREFIX, "!!"), 60)
        kinds = "text, numbers, true, false, null, lists and mappings"
        why = f"could not determine a constructor for the tag {tag!r}; a recipe holds {kinds}"
        raise ConstructorError(None, None, why, node.start_mark)


def _shown(node: yaml.Node) -> str:
    return repr(visible_line(str(node.value), 60))


_Loader.yaml_constructors = {
    PREFIX + kind: yaml.SafeLoader.yaml_constructors[PREFIX + kind] for kind in (*KINDS, "seq", "map")
}
_Loader.yaml_constructors[None] = _Loader.construct_undefined
# A date is the text that it is written as; so is `=`, which YAML 1.1 takes for a key of its own.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in (PREFIX + "timestamp", PREFIX + "value")]
    for first, resolvers in deepcopy(yaml.SafeLoader.yaml_implicit_resolvers).items()
}
_Loader.add_implicit_resolver(
    PREFIX + "float", re.compile(r"^[-+]?[0-9][0-9_]*(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def read_yaml(path: Path) -> Any:
    """What a recipe's file holds.

    Raises:
        RecipeError: the file is missing, too large, or no YAML.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise RecipeError(f"{path} is too large for a recipe: over {MAX_BYTES} bytes. Name a YAML file.")
        text = content.decode()
    except FileNotFoundError:
        raise RecipeError(f"{path} is missing. `edgepress init` writes a recipe to start from.") from None
    except (OSError, UnicodeDecodeError) as fault:
        raise RecipeError(f"{path} cannot be read as UTF-8 text: {told(fault)}") from None
    return parse_yaml(text, str(path))


def parse_yaml(text: str, origin: str) -> Any:
    """The value of a YAML text; `origin` names it in messages.

    Raises:
        RecipeError: no YAML, or more of it than a recipe can be; the message gives line and column.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # a SafeLoader
    except yaml.MarkedYAMLError as fault:
        mark = fault.problem_mark or fault.context_mark
        where = f" line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise RecipeError(f"{origin}{where}: {fault.problem or fault.context}") from None
    # The other two: what PyYAML lets through of escapes and directives whose numbers are out of range.
    except (yaml.YAMLError, ValueError, OverflowError) as fault:
        raise RecipeError(f"{origin} is no YAML: {told(fault)}") from None
