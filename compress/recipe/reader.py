"""YAML text and `--set` overrides → Recipe; every fault of the file in one message.

Relative paths in a recipe are relative to the working directory, as they are in a shell. `${VAR}` and `${VAR:-default}`
in any text are taken from the environment.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import pydantic

from edgepress.compress.recipe.faults import faults_of, first_faults, got, nearest, path_text, visible_line
from edgepress.compress.recipe.methods import FAMILIES, METHODS, find, tags_of
from edgepress.compress.recipe.sections import Readable, StageOptions
from edgepress.compress.recipe.values import resolved, unshared
from edgepress.compress.recipe.yaml_reader import MAX_DEPTH, parse_yaml, read_yaml
from edgepress.targets import TARGETS, load
from edgepress.targets.errors import RecipeError, TargetError

MOST_STAGES = 100


Kind = TypeVar("Kind", bound=Readable)


def read_file(kind: type[Kind], path: Path, overrides: tuple[str, ...] = ()) -> Kind:
    """The recipe in a YAML file.

    Args:
        kind: the recipe's class.
        path: the file.
        overrides: `key.path=value` texts as `--set` takes them.

    Raises:
        RecipeError: the file is missing or no YAML, or the recipe has faults; the message lists all of them.
    """
    mapping = read_yaml(path)
    if not isinstance(mapping, dict):
        raise RecipeError(f"{path} must hold a mapping of keys such as 'name:' and 'task:', got {got(mapping)}")
    mapping, faults = _override(_plain(mapping, str(path)), overrides)
    return _parse(kind, mapping, str(path), faults)


def read_mapping(kind: type[Kind], mapping: Mapping[str, Any], origin: str) -> Kind:
    """The recipe in a mapping as YAML gives it.

    Args:
        kind: the recipe's class.
        mapping: keys and values.
        origin: what messages call it.

    Raises:
        RecipeError: the message lists all faults.
    """
    return _parse(kind, _plain(mapping, origin), origin, [])


def _parse(kind: type[Kind], mapping: Mapping[str, Any], origin: str, faults: list[str]) -> Kind:
    faults = list(faults)
    mapping = resolved(mapping, origin, faults)
    stages = _parse_stages(mapping.get("stages"), faults)
    rest = {key: value for key, value in mapping.items() if key != "stages"}
    rest |= _split_targets(rest.get("targets"), faults)
    recipe = None
    try:
        recipe = kind.model_validate_json(json.dumps(rest), strict=True)
    except pydantic.ValidationError as error:
        faults.extend(faults_of(error, kind))
    if recipe is not None:
        faults.extend(recipe.contradictions())
    if faults or recipe is None:
        count = "a fault" if len(faults) == 1 else f"{len(faults)} faults"
        raise RecipeError("\n  ".join([f"{origin} has {count}:", *first_faults(faults)]))
    return recipe.model_copy(update={"stages": stages})


def _plain(mapping: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """A copy of its own in which `- quantize` and `- quantize:` are `- quantize: {}`."""
    copy: dict[str, Any] = unshared(mapping, origin)
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
    if len(stages) > MOST_STAGES:
        faults.append(f"stages: got {len(stages)} of them, allowed: at most {MOST_STAGES}.")
        return ()
    parsed = [stage for index, raw in enumerate(stages) if (stage := _parse_stage(raw, index, faults)) is not None]
    for index, stage in enumerate(parsed[:-1]):
        if stage.kind == "quantize":
            faults.append(f"stages[{index}].quantize: must be the last stage, since training undoes it.")
        if stage.kind == "qat" and parsed[index + 1].kind != "quantize":
            then = f"its ranges are of the weights that it leaves, and {parsed[index + 1].kind} makes others"
            faults.append(f"stages[{index}].qat: must be the last stage before quantize: {then}.")
    return tuple(parsed)


def _parse_stage(raw: Any, index: int, faults: list[str]) -> StageOptions | None:
    if not isinstance(raw, dict) or len(raw) != 1:
        kinds = ", ".join(FAMILIES)
        faults.append(f"stages[{index}]: got {got(raw)}, allowed: a mapping with one key, one of {kinds}.")
        return None
    kind, options = next(iter(raw.items()))
    if kind not in FAMILIES:
        hint = nearest(str(kind), FAMILIES)
        faults.append(f"{path_text(('stages', index, kind))}: unknown stage. Allowed: {', '.join(FAMILIES)}.{hint}")
        return None
    tag = options.get("method") if isinstance(options, dict) else None
    if tag is not None and (kind, tag) not in METHODS:
        allowed, hint = ", ".join(tags_of(kind)), nearest(str(tag), tags_of(kind))
        faults.append(f"stages[{index}].{kind}.method: got {got(tag)}, allowed: one of {allowed}.{hint}")
        return None
    config = find(kind, tag).options
    try:
        return config.model_validate_json(json.dumps(options), strict=True)
    except pydantic.ValidationError as error:
        faults.extend(faults_of(error, config, ("stages", index, str(kind))))
        return None


def _split_targets(targets: Any, faults: list[str]) -> dict[str, Any]:
    """`[a, {b: {x: 1}}]` as `targets: [a, b]`, `target_options: {b: {x: 1}}`; other kinds are left to validation."""
    if not isinstance(targets, list):
        return {} if targets is None else {"targets": targets}
    if not targets:
        faults.append(f"targets: empty. Allowed: one or more of {', '.join(TARGETS)}.")
    if len(targets) > 2 * len(TARGETS):
        faults.append(f"targets: got {len(targets)} of them, and there are {len(TARGETS)}: {', '.join(TARGETS)}.")
        return {"targets": []}
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


def _override(mapping: dict[str, Any], overrides: tuple[str, ...]) -> tuple[dict[str, Any], list[str]]:
    faults: list[str] = []
    for override in overrides:
        keys, equals, text = override.partition("=")
        origin = f"--set {visible_line(override, 60)}"
        if not equals or not keys.strip():
            faults.append(f"{origin}: must be key.path=value, e.g. student.layers=3.")
            continue
        try:
            _assign(mapping, keys.strip().split("."), parse_yaml(text, origin))
        except RecipeError as fault:
            faults.append(str(fault))
        except LookupError as fault:
            faults.append(f"{origin}: {fault.args[0]}")
    return _plain(mapping, "--set"), faults


def _assign(mapping: dict[str, Any], keys: list[str], value: Any) -> None:
    """Set one value; sections that the file left out are made. Unknown keys are found later, by validation."""
    place: Any = mapping
    if len(keys) > MAX_DEPTH:
        raise LookupError(f"more than {MAX_DEPTH} levels.")
    keys = _stage_keys(mapping.get("stages"), keys) if keys[0] == "stages" and len(keys) > 1 else keys
    for depth, key in enumerate(keys):
        last = depth == len(keys) - 1
        here = ".".join(keys[:depth]) or "the recipe"
        if isinstance(place, list):
            if not _is_index(key, place):
                raise LookupError(f"{here} is a list of {len(place)}; {got(key)} is no index of it.")
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
            raise LookupError(f"{here} is {got(place)}, which has no key {got(key)}.")


def _is_index(key: str, items: list[Any]) -> bool:
    return key.isdecimal() and len(key) < 10 and int(key) < len(items)


def _stage_keys(stages: Any, keys: list[str]) -> list[str]:
    """`stages.prune.heads` and `stages.1.heads` as `stages.1.prune.heads`."""
    if not isinstance(stages, list | None):
        raise LookupError(f"stages is {got(stages)}, which is no list of stages.")
    kinds = [next(iter(stage), "") if isinstance(stage, dict) else "" for stage in stages or ()]
    name, rest = keys[1], keys[2:]
    if name.isdecimal():
        if not _is_index(name, kinds):
            raise LookupError(f"there are {len(kinds)} stages, counted from 0: {', '.join(kinds)}.")
        index = int(name)
        return ["stages", name, *(rest if rest[:1] == [kinds[index]] or not rest else [kinds[index], *rest])]
    if kinds.count(name) != 1:
        where = ", ".join(f"{position} {kind}" for position, kind in enumerate(kinds)) or "none"
        many = f"{kinds.count(name)} stages are {name!r}; give the index" if name in kinds else f"no stage is {name!r}"
        raise LookupError(f"{many}. Stages: {where}.{nearest(name, kinds) if name not in kinds else ''}")
    return ["stages", str(kinds.index(name)), name, *rest]
