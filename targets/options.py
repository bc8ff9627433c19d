"""Options of a target, as a recipe gives them and an artifact keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import pydantic

from edgepress.targets.errors import TargetError
from edgepress.targets.records import Record


class Options(Record):
    """None; a target with some of its own has a subclass."""

    @classmethod
    def of(cls, target: str, given: Mapping[str, Any] | None) -> Self:
        """The options that were `given`, checked; defaults for the others.

        Raises:
            TargetError: one is unknown or wrong; the message names it and `target`.
        """
        try:
            return cls.model_validate(dict(given or {}))
        except pydantic.ValidationError as fault:
            first = fault.errors()[0]
            key = ".".join(map(str, first["loc"]))
            known = ", ".join(cls.model_fields) or "no options"
            raise TargetError(f"{target}, option {key!r}: {first['msg']}; {target} takes {known}") from None
