"""Pydantic's findings as lines for people: path in the file, what was got, what is allowed, the nearest name."""

from __future__ import annotations

import difflib
import json
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import pydantic
from pydantic_core import ErrorDetails

from edgepress.compress.recipe.sections import NOT_EMPTY
from edgepress.targets.text import visible

# More lines than these nobody reads, and a hostile file has a hundred thousand.
MOST_FAULTS = 50
LONGEST_LINE = 700  # the list of all metrics, and which was meant
LONGEST_NAME = 60

Keys = tuple[str | int, ...]


def visible_line(text: str, longest: int) -> str:
    r"""`text` on one line, cut to `longest` characters; what would steer the terminal is escaped.

    >>> print(visible_line("a\x1b[31m\nb", 60), visible_line("abcdefgh", 6))
    a\x1b[31m\nb abc...
    """
    cut = text if len(text) <= longest else text[: longest - 3] + "..."
    return visible(cut).replace("\n", "\\n").replace("\t", "\\t")


def path_text(path: Keys) -> str:
    """Keys and indices as they are written in the recipe; what would steer a terminal is escaped, long keys are cut.

    >>> path_text(("stages", 1, "prune", "heads"))
    'stages[1].prune.heads'
    """
    text = ""
    for part in path:
        name = f"[{part}]" if isinstance(part, int) else visible_line(part, LONGEST_NAME)
        text += f".{name}" if text and isinstance(part, str) else name
    return text or "recipe"


def nearest(name: str, names: Iterable[str]) -> str:
    """A hint to append to a message; empty where no name is near.

    >>> nearest("hedas", ["heads", "ffn"])
    " Did you mean 'heads'?"
    """
    close = difflib.get_close_matches(name, list(names), n=1, cutoff=0.5) if len(name) <= LONGEST_NAME else []
    return f" Did you mean {close[0]!r}?" if close else ""


def got(value: Any) -> str:
    """A value as the recipe's author sees it, cut to 60 characters."""
    return visible_line(json.dumps(value, ensure_ascii=False, default=str), LONGEST_NAME)


def first_faults(faults: Sequence[str]) -> list[str]:
    """The lines of a message: each of a length to be read, and no more than can be read.

    >>> first_faults(["x"] * 51)[-1]
    '... and 1 more.'
    """
    lines = [visible_line(fault, LONGEST_LINE) for fault in faults[:MOST_FAULTS]]
    return [*lines, f"... and {len(faults) - len(lines)} more."] if len(faults) > len(lines) else lines


def faults_of(error: pydantic.ValidationError, model: type[pydantic.BaseModel], prefix: Keys = ()) -> list[str]:
    """One line a fault. The branches of a union (`layers` is a count or a list) are one fault, not several. Of more
    faults than are told the rest are only counted, as the last line."""
    lines: dict[Keys, str] = {}
    rest = set()
    for details in error.errors(include_url=False):
        path, annotation, owner = _locate(model, details["loc"])
        if path in lines or len(lines) >= MOST_FAULTS:
            rest.add(path)
        else:
            lines[path] = _line(prefix + path, details, annotation, owner)
    return [*lines.values(), *(path_text(prefix + path) for path in rest - set(lines))]


def _locate(
    model: type[pydantic.BaseModel], location: Sequence[str | int]
) -> tuple[Keys, Any, type[pydantic.BaseModel]]:
    """The part of pydantic's location that is a path in the file, the type expected there and the section it is in."""
    path: list[str | int] = []
    owner, annotation = model, typing.cast(Any, model)
    for part in location:
        annotation = _without_bounds(annotation)
        section = _section(annotation)
        if section is not None and isinstance(part, str):
            owner = section
            path.append(part)
            if part not in section.model_fields:
                return tuple(path), None, owner
            annotation = _annotation_of(section, part)
            if _is_union_of_kinds(annotation):
                break
        elif isinstance(part, int) and typing.get_origin(annotation) is tuple:
            path.append(part)
            annotation = typing.get_args(annotation)[0]
        elif isinstance(part, str) and typing.get_origin(annotation) is dict:
            path.append(part)
            annotation = typing.get_args(annotation)[1]
        else:
            break
    return tuple(path), annotation, owner


@cache
def _annotation_of(section: type[pydantic.BaseModel], name: str) -> Any:
    """What a field is annotated with; kept, since a hostile file asks for one of them fifty thousand times."""
    return section.model_fields[name].rebuild_annotation()


def _without_bounds(annotation: Any) -> Any:
    """What an annotation bounds, where it bounds a list or mapping."""
    inner = typing.get_args(annotation)[0] if typing.get_origin(annotation) is typing.Annotated else annotation
    return inner if typing.get_origin(inner) in (tuple, dict) else annotation


def _members(annotation: Any) -> list[Any]:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [member for member in typing.get_args(annotation) if member is not type(None)]
    return [annotation]


def _is_union_of_kinds(annotation: Any) -> bool:
    return len(_members(annotation)) > 1


def _section(annotation: Any) -> type[pydantic.BaseModel] | None:
    for member in _members(annotation):
        if isinstance(member, type) and issubclass(member, pydantic.BaseModel):
            return member
    return None


def _line(path: Keys, details: ErrorDetails, annotation: Any, owner: type[pydantic.BaseModel]) -> str:
    where = path_text(path)
    if details["type"] == "extra_forbidden":
        names = list(owner.model_fields)
        return f"{where}: unknown key. Allowed: {', '.join(names)}.{nearest(str(path[-1]), names)}"
    if details["type"] == "missing":
        return f"{where}: missing. Give {describe(annotation)}."
    if details["type"] == "value_error":
        return f"{where}: {details['msg'].removeprefix('Value error, ')}."
    value = details["input"]
    hint = nearest(value, _choices(annotation)) if isinstance(value, str) else ""
    return f"{where}: got {got(value)}, allowed: {describe(annotation)}.{hint}"


def _choices(annotation: Any) -> list[str]:
    """The words that a field, or each entry of its list, may hold."""
    return _choices_in(pydantic.TypeAdapter(annotation).json_schema())


def _choices_in(schema: Mapping[str, Any]) -> list[str]:
    inner = [*schema.get("anyOf", ()), *filter(None, [schema.get("items")])]
    return [*map(str, schema.get("enum", ())), *(choice for part in inner for choice in _choices_in(part))]


def describe(annotation: Any) -> str:
    """What a field takes, in words.

    >>> describe(int | None)
    'an integer'
    """
    if _section(annotation) is not None:
        names = ", ".join(typing.cast(Any, _section(annotation)).model_fields)
        return f"a mapping with the keys {names}"
    return _describe_schema(pydantic.TypeAdapter(annotation).json_schema())


def _describe_schema(schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_describe_schema(option) for option in schema["anyOf"] if option.get("type") != "null")
    if "enum" in schema:
        return "one of " + ", ".join(str(choice) for choice in schema["enum"])
    if "const" in schema:
        return str(schema["const"])
    kind = schema.get("type", "any value")
    if kind == "array":
        return f"a list, each {_describe_schema(schema.get('items', {}))}"
    words = {
        "integer": "an integer",
        "number": "a number",
        "string": "text",
        "boolean": "true or false",
        "object": "a mapping",
    }
    if schema.get("pattern") == NOT_EMPTY:
        return "text that is not empty"
    bounds = [
        f"{sign} {schema[key]}"
        for key, sign in (("minimum", ">="), ("exclusiveMinimum", ">"), ("maximum", "<="), ("exclusiveMaximum", "<"))
        if key in schema
    ]
    if "pattern" in schema:
        bounds.append(f"matching {schema['pattern']}")
    if "maxLength" in schema:
        bounds.append(f"of at most {schema['maxLength']} characters")
    return " ".join([words.get(kind, kind), " and ".join(bounds)]).strip()
