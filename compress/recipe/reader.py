"""YAML text and `--set` overrides → Recipe; every fault of the file in one message.

Relative paths in a recipe are relative to the working directory, as they are in a shell. `${VAR}` and `${VAR:-default}`
in any text are taken from the environment.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Hashable, Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import pydantic
import yaml

from edgepress.compress.recipe.faults import Keys, faults_of, got, nearest, path_text
from edgepress.compress.recipe.methods import FAMILIES, METHODS, find, tags_of
from edgepress.compress.recipe.recipe import Recipe
from edgepress.compress.recipe.sections import StageOptions
from edgepress.targets import TARGETS, load
from edgepress.targets.errors import RecipeError, TargetError

VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses duplicate keys and takes `2e-4` for a number, which YAML 1.1 reads as text."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"duplicate key {key.value!r}", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = deepcopy(yaml.SafeLoader.yaml_implicit_resolvers)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9][0-9_]*(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def read_recipe(path: Path, overrides: tuple[str, ...] = ()) -> Recipe:
    """The recipe in a YAML file, with `key.path=value` overrides as `--set` takes them.

    Raises:
        RecipeError: the file is missing or no YAML, or the recipe has faults; the message lists all of them.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RecipeError(f"{path} is missing. `edgepress init` writes a recipe to start from.") from None
    except (OSError, UnicodeDecodeError) as fault:
        raise RecipeError(f"{path} cannot be read as UTF-8 text: {fault}") from None
    mapping = _load_yaml(text, str(path))
    if not isinstance(mapping, dict):
        raise RecipeError(f"{path} must hold a mapping of keys such as 'name:' and 'task:', got {got(mapping)}")
    mapping, faults = _override(_stages_as_mappings(mapping), overrides)
    return _parse(mapping, str(path), faults)


def parse_recipe(mapping: Mapping[str, Any], origin: str) -> Recipe:
    """The recipe in a mapping as YAML gives it; `origin` names it in messages.

    Raises:
        RecipeError: the message lists all faults.
    """
    return _parse(_stages_as_mappings(mapping), origin, [])


def _load_yaml(text: str, origin: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)  # a SafeLoader
    except yaml.MarkedYAMLError as fault:
        mark = fault.problem_mark or fault.context_mark
        where = f" line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise RecipeError(f"{origin}{where}: {fault.problem or fault.context}") from None
    except yaml.YAMLError as fault:
        raise RecipeError(f"{origin} is no YAML: {str(fault).splitlines()[0]}") from None


def _parse(mapping: Mapping[str, Any], origin: str, faults: list[str]) -> Recipe:
    faults = list(faults)
    mapping = _expand(mapping, (), faults)
    stages = _parse_stages(mapping.get("stages"), faults)
    rest = {key: value for key, value in mapping.items() if key != "stages"}
    rest |= _split_targets(rest.get("targets"), faults)
    recipe = None
    try:
        recipe = Recipe.model_validate_json(json.dumps(rest, default=str), strict=True)
    except pydantic.ValidationError as error:
        faults.extend(faults_of(error, Recipe))
    if recipe is not None:
        faults.extend(_contradictions(recipe))
    if faults or recipe is None:
        count = "a fault" if len(faults) == 1 else f"{len(faults)} faults"
        raise RecipeError("\n  ".join([f"{origin} has {count}:", *faults]))
    return recipe.model_copy(update={"stages": stages})


def _stages_as_mappings(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """A copy in which `- quantize` and `- quantize:` are `- quantize: {}`."""
    copy = deepcopy(dict(mapping))
    if isinstance(stages := copy.get("stages"), list):
        copy["stages"] = [_one_stage(stage) for stage in stages]
    return copy


def _one_stage(stage: Any) -> Any:
    if isinstance(stage, str):
        return {stage: {}}
    if isinstance(stage, dict):
        return {key: {} if value is None else value for key, value in stage.items()}
    return stage


def _parse_stages(stages: Any, faults: list[str]) -> tuple[StageOptions, ...]:
    if stages is None:
        return ()
    if not isinstance(stages, list):
        faults.append(f"stages: got {got(stages)}, allowed: a list such as [prune: {{heads: 0.5}}, quantize].")
        return ()
    parsed = [stage for index, raw in enumerate(stages) if (stage := _parse_stage(raw, index, faults)) is not None]
    for index, stage in enumerate(parsed[:-1]):
        if stage.kind == "quantize":
            faults.append(f"stages[{index}].quantize: must be the last stage, since training undoes it.")
    return tuple(parsed)


def _parse_stage(raw: Any, index: int, faults: list[str]) -> StageOptions | None:
    if not isinstance(raw, dict) or len(raw) != 1:
        kinds = ", ".join(FAMILIES)
        faults.append(f"stages[{index}]: got {got(raw)}, allowed: a mapping with one key, one of {kinds}.")
        return None
    kind, options = next(iter(raw.items()))
    if kind not in FAMILIES:
        hint = nearest(str(kind), FAMILIES)
        faults.append(f"stages[{index}].{kind}: unknown stage. Allowed: {', '.join(FAMILIES)}.{hint}")
        return None
    tag = options.get("method") if isinstance(options, dict) else None
    if tag is not None and (kind, tag) not in METHODS:
        allowed, hint = ", ".join(tags_of(kind)), nearest(str(tag), tags_of(kind))
        faults.append(f"stages[{index}].{kind}.method: got {got(tag)}, allowed: one of {allowed}.{hint}")
        return None
    config = find(kind, tag).options
    try:
        return config.model_validate_json(json.dumps(options, default=str), strict=True)
    except pydantic.ValidationError as error:
        faults.extend(faults_of(error, config, ("stages", index, str(kind))))
        return None


def _split_targets(targets: Any, faults: list[str]) -> dict[str, Any]:
    """`[a, {b: {x: 1}}]` as `targets: [a, b]`, `target_options: {b: {x: 1}}`; other kinds are left to validation."""
    if not isinstance(targets, list):
        return {} if targets is None else {"targets": targets}
    if not targets:
        faults.append(f"targets: empty. Allowed: one or more of {', '.join(TARGETS)}.")
    names: list[Any] = []
    options: dict[str, Any] = {}
    for index, entry in enumerate(targets):
        name, given = next(iter(entry.items())) if isinstance(entry, dict) and len(entry) == 1 else (entry, None)
        if isinstance(name, str) and name not in TARGETS:
            hint = nearest(name, TARGETS)
            faults.append(f"targets[{index}]: unknown target {name!r}. Allowed: {', '.join(TARGETS)}.{hint}")
        elif name in names:
            faults.append(f"targets[{index}]: {name!r} is there twice.")
        elif given is not None:
            options[name] = _checked_options(index, name, given, faults)
        names.append(name)
    return {"targets": names, "target_options": options}


def _checked_options(index: int, name: str, given: Any, faults: list[str]) -> Any:
    """The options of one target, which knows itself what it takes."""
    if not isinstance(given, dict):
        faults.append(f"targets[{index}].{name}: got {got(given)}, allowed: a mapping of options.")
        return {}
    try:
        load(name, given)
    except TargetError as fault:
        faults.append(f"targets[{index}].{fault}")
    return given


def _contradictions(recipe: Recipe) -> Iterator[str]:
    """Values that are right one by one and wrong together."""
    longest = max(recipe.benchmark.sequences, default=0)
    if recipe.task == "text-classification" and longest > recipe.data.max_length:
        limit = recipe.data.max_length
        yield f"benchmark.sequences: got {longest}, allowed: lengths up to data.max_length, which is {limit}."
    if recipe.task == "text-classification" and recipe.teacher.config is not None and recipe.teacher.tokenizer is None:
        yield "teacher.tokenizer: missing. A text model trained in the run needs the folder or hub id of a tokenizer."


def _expand(value: Any, path: Keys, faults: list[str]) -> Any:
    """A copy with the environment's values in all texts; an unset variable without a default is a fault."""
    if isinstance(value, Mapping):
        return {key: _expand(item, (*path, str(key)), faults) for key, item in value.items()}
    if isinstance(value, list):
        return [_expand(item, (*path, index), faults) for index, item in enumerate(value)]
    if not isinstance(value, str):
        return value

    def replace(match: re.Match[str]) -> str:
        name, default = match.groups()
        if found := os.environ.get(name):
            return found
        if default is None:
            faults.append(f"{path_text(path)}: ${{{name}}} is not set. Set it, or write ${{{name}:-default}}.")
        return default or ""

    return VARIABLE.sub(replace, value)


def _override(mapping: dict[str, Any], overrides: tuple[str, ...]) -> tuple[dict[str, Any], list[str]]:
    faults: list[str] = []
    for override in overrides:
        keys, equals, text = override.partition("=")
        if not equals or not keys.strip():
            faults.append(f"--set {override}: must be key.path=value, e.g. student.layers=3.")
            continue
        try:
            _assign(mapping, keys.strip().split("."), _load_yaml(text, f"--set {override}"))
        except RecipeError as fault:
            faults.append(str(fault))
        except LookupError as fault:
            faults.append(f"--set {override}: {fault.args[0]}")
    return _stages_as_mappings(mapping), faults


def _assign(mapping: dict[str, Any], keys: list[str], value: Any) -> None:
    """Set one value; sections that the file left out are made. Unknown keys are found later, by validation."""
    place: Any = mapping
    keys = _stage_keys(mapping.get("stages"), keys) if keys[0] == "stages" and len(keys) > 1 else keys
    for depth, key in enumerate(keys):
        last = depth == len(keys) - 1
        here = ".".join(keys[:depth]) or "the recipe"
        if isinstance(place, list):
            if not key.isdecimal() or int(key) >= len(place):
                raise LookupError(f"{here} is a list of {len(place)}; {key!r} is no index of it.")
            if last:
                place[int(key)] = value
            place = place[int(key)]
        elif isinstance(place, dict):
            if last:
                place[key] = value
            elif place.get(key) is None:
                place[key] = {}
            place = place[key]
        else:
            raise LookupError(f"{here} is {got(place)}, which has no key {key!r}.")


def _stage_keys(stages: Any, keys: list[str]) -> list[str]:
    """`stages.prune.heads` and `stages.1.heads` as `stages.1.prune.heads`."""
    kinds = [next(iter(stage), "") if isinstance(stage, dict) else "" for stage in stages or ()]
    name, rest = keys[1], keys[2:]
    if name.isdecimal():
        index = int(name)
        if index >= len(kinds):
            raise LookupError(f"there are {len(kinds)} stages, counted from 0: {', '.join(kinds)}.")
        return ["stages", name, *(rest if rest[:1] == [kinds[index]] or not rest else [kinds[index], *rest])]
    if kinds.count(name) != 1:
        where = ", ".join(f"{position} {kind}" for position, kind in enumerate(kinds)) or "none"
        many = f"{kinds.count(name)} stages are {name!r}; give the index" if name in kinds else f"no stage is {name!r}"
        raise LookupError(f"{many}. Stages: {where}.{nearest(name, kinds) if name not in kinds else ''}")
    return ["stages", str(kinds.index(name)), name, *rest]
