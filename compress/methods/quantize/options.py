"""int8 by measurement: what a recipe says of it."""

from __future__ import annotations

from typing import ClassVar, Literal

from edgepress.compress.recipe.sections import Drop, Share, StageOptions


class Quantize(StageOptions):
    """int8 by measurement: every candidate of the target, those in half precision too, is measured on validation data;
    the fastest within `max_drop` is kept. Where the hardware is not here the compiler's estimate counts, and without
    one the bytes. A candidate with less than `min_int8_share` of its MACs in int8 is no int8 artifact."""

    kind: ClassVar[str] = "quantize"
    method: Literal["measured"] = "measured"
    max_drop: Drop = 0.01
    min_int8_share: Share = 0.5
    candidates: tuple[str, ...] | None = None
