"""What a session needs of the machine it is opened on: packages, and settings that are obeyed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np

from ..errors import ArtifactError, TargetUnavailable, told

Feeds = Mapping[str, np.ndarray]
MAIN = "main"
STEP = "step"  # of a decoder: a few tokens more, with the caches of those before them
"""The program that callers feed; others may stand behind it."""
ENCODE = "encode"  # of an encoder-decoder: a source read once; what it gives goes into each step
ArtifactFacts = Mapping[str, Any]
"""`artifact.json` as plain data: pydantic is not on the device."""


class Runtime(NamedTuple):
    """A runtime that was imported.

    `runs_on`: CPU, GPU or TPU. `compiles`: whether each new combination of sizes costs a compilation.
    """

    name: str
    version: str
    runs_on: str
    compiles: bool


def needed(package: str, install: str) -> Any:
    """The module `package`, imported.

    Raises:
        TargetUnavailable: it is not here; says what to `install`.
    """
    try:
        return import_module(package)
    except ImportError as fault:
        raise TargetUnavailable(
            f"this target needs the package {package} ({told(fault)}). Run: pip install {install}"
        ) from None


def is_installed(package: str) -> bool:
    """Whether a package can be found; one that is blocked in `sys.modules` cannot."""
    try:
        return find_spec(package) is not None
    except ValueError:
        return False


def refuse_settings(facts: ArtifactFacts, known: Sequence[str] = ()) -> None:
    """Settings that would not be obeyed must not be passed over.

    Raises:
        ArtifactError: the artifact has a setting that is not `known`.
    """
    if unknown := sorted(set(facts["settings"]) - set(known)):
        raise ArtifactError(f"the artifact asks for the setting {unknown[0]!r}, which this runner does not know.")


def input_specs(facts: ArtifactFacts, program: str = MAIN) -> list[dict[str, Any]]:
    """Name, dtype and shape of each input of a program, in its signature's order."""
    return list(facts["programs"][program]["inputs"])


def output_specs(facts: ArtifactFacts, program: str = MAIN) -> list[dict[str, Any]]:
    """Name, dtype and shape of each output of a program, in its signature's order."""
    return list(facts["programs"][program]["outputs"])


def handed_on(encoded: Mapping[str, Any]) -> dict[str, Any]:
    """What an encoder gives, by the names under which a decoder's step takes it.

    >>> list(handed_on({"present.0.encoder.key": np.zeros(1)}))
    ['past_key_values.0.encoder.key']
    """
    return {name.replace("present.", "past_key_values.", 1): value for name, value in encoded.items()}


def as_int32(value: np.ndarray) -> np.ndarray:
    """int64 tokens as the runtimes without int64 take them; anything else as it is."""
    return value.astype(np.int32) if value.dtype == np.int64 else value
