"""Published figures of TPU chips, for the roofline and the compiler's cycles.

Peaks and bandwidths: Google Cloud documentation, "TPU v6e", whose table has both (docs.cloud.google.com/tpu/docs/v6e,
read in 2026; older versions of the page say 819 and 1,640 GB/s).
Clocks are not published there: they are derived from the bf16 peak over 2 FLOP x 65,536 (v5e: four 128x128 units) or
262,144 (v6e, taken as four 256x256; the page has said two and four) multipliers, so an estimate in ms is as good as
that; cycles of one chip compare.
"""

from __future__ import annotations

from typing import NamedTuple


class Chip(NamedTuple):
    """Peaks in operations/s, bandwidth of its memory in bytes/s, clock in Hz, the compiler's name of its topology."""

    half: float
    int8: float
    bandwidth: float
    clock: float
    topology: str


CHIPS = {
    "v5e": Chip(197e12, 393e12, 800e9, 1.5e9, "v5e:1x1"),
    "v6e": Chip(918e12, 1836e12, 1600e9, 1.75e9, "v6e:1x1"),
}
