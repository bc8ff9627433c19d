"""Quantization-aware training: what a recipe says of it."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from edgepress.compress.recipe.sections import Fraction, RecoverableOptions, Share, Training
from edgepress.targets.calibration.statistics import RangeRule


class QuantizationAware(RecoverableOptions):
    """What both have: where the ranges start, how activations are rounded, and the training."""

    kind: ClassVar[str] = "qat"
    start: Annotated[
        RangeRule, Field(description="how the first ranges are chosen from calibration rows: clip nothing, or more")
    ] = "min-max"
    activations: Annotated[
        Literal["affine", "symmetric"],
        Field(description="256 levels with a zero point (ONNX Runtime, TFLite), or 255 about zero (TensorRT, XLA)"),
    ] = "affine"
    recover: Annotated[
        Training,
        Field(description="the training under fake quantization, on the teacher's logits; left out: 2 epochs at 5e-5"),
    ] = Training(epochs=2.0, learning_rate=5e-5)


class Observed(QuantizationAware):
    """Ranges of activations follow what is seen, by a moving average, and stay after the share `freeze` of the training
    (arXiv 1712.05877); the step of a weight is max|w| / 127 at any moment. They start calibrated, and so need none of
    the paper's delay."""

    method: Literal["observed"] = "observed"
    freeze: Annotated[Share, Field(description="share of the training after which the ranges stay")] = 0.5
    momentum: Annotated[Fraction, Field(description="how far a range goes towards what a batch shows")] = 0.01


class Learned(QuantizationAware):
    """Learned step size (LSQ, arXiv 1902.08153): the steps of activations and of each channel of the weights are
    trained with the network, by a gradient of their own times 1 / sqrt(N Q_P). They start calibrated: the paper's
    start, 2 mean|v| / sqrt(Q_P), reaches 18 deviations in 8 bits."""

    method: Literal["learned"] = "learned"
