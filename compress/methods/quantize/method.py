"""int8 by measurement. The stage of the artifacts does it, since targets make it."""

from __future__ import annotations

from edgepress.compress.methods.quantize.options import Quantize


class MeasuredQuantization:
    """What targets make of a model in lower precision; the stage of the artifacts runs and judges it."""

    options = Quantize
