"""What tflite-runtime 2.14, the last of its name, can run: old phones, Raspberry Pi, armv7l."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from edgepress.targets.errors import TargetError
from edgepress.targets.tflite_mobile.view import View

if TYPE_CHECKING:
    from edgepress.targets.exportable import Exportable
    from edgepress.targets.records import Description, Signature

RUNTIME = "tflite-runtime 2.14"
# The newest version of each operator that it registers; operators that are not named here have version 1 only.
# Its refusal comes on the device, after the release: ours comes here.
VERSIONS = {
    "ABS": 5, "ADD": 5, "ARG_MAX": 3, "AVERAGE_POOL_2D": 3, "BATCH_MATMUL": 4, "BATCH_TO_SPACE_ND": 4,
    "BROADCAST_TO": 3, "CAST": 5, "CONCATENATION": 4, "CONV_2D": 7, "DEPTHWISE_CONV_2D": 7, "DEQUANTIZE": 5, "DIV": 2,
    "EMBEDDING_LOOKUP": 3, "EQUAL": 4, "EXP": 2, "FILL": 4, "FLOOR_DIV": 3, "FLOOR_MOD": 2, "FULLY_CONNECTED": 10,
    "GATHER": 6, "GATHER_ND": 4, "GELU": 2, "GREATER": 2, "GREATER_EQUAL": 3, "LEAKY_RELU": 2, "LESS": 3,
    "LESS_EQUAL": 2, "LOG": 2, "LOGISTIC": 3, "LOG_SOFTMAX": 2, "MAXIMUM": 4, "MAX_POOL_2D": 3, "MEAN": 3,
    "MINIMUM": 4, "MUL": 7, "NOT_EQUAL": 3, "PACK": 4, "PAD": 4, "PADV2": 4, "QUANTIZE": 3, "RANGE": 2,
    "REDUCE_MAX": 3, "REDUCE_MIN": 3, "REDUCE_PROD": 2, "RELU": 3, "RELU6": 3, "RESIZE_BILINEAR": 4,
    "RESIZE_NEAREST_NEIGHBOR": 4, "RSQRT": 2, "SELECT": 4, "SELECT_V2": 2, "SLICE": 6, "SOFTMAX": 3,
    "SPACE_TO_BATCH_ND": 4, "SPLIT": 4, "SPLIT_V": 2, "SQUARED_DIFFERENCE": 2, "SQUEEZE": 2, "STRIDED_SLICE": 8,
    "SUB": 5, "SUM": 2, "TANH": 3, "TILE": 3, "TOPK_V2": 3, "TRANSPOSE": 6, "TRANSPOSE_CONV": 4, "UNPACK": 4,
}  # fmt: skip
# With int8 weights and float inputs it takes one scale for all channels; of several it reads the first, silently.
HYBRID = {"FULLY_CONNECTED": 1, "CONV_2D": 1, "DEPTHWISE_CONV_2D": 1, "EMBEDDING_LOOKUP": 1}


def refuse_newer(path: Path) -> None:
    """Raises TargetError for what `RUNTIME` refuses to load, and for what it loads and computes wrongly."""
    view = View.of(path)
    for name, version in view.versions():
        if version > VERSIONS.get(name, 1):
            raise TargetError(
                f"{RUNTIME} has operator {name} up to version {VERSIONS.get(name, 1)}, the model needs {version}. "
                f"Replace that operation in the model, or leave out 'compatibility: legacy'."
            )
    for name, inputs in view.operators():
        if name not in HYBRID:
            continue
        weight = inputs[HYBRID[name]]
        others = [tensor for tensor in inputs[:2] if tensor is not weight]
        mixed = view.is_int8(weight) and not any(map(view.is_int8, others))
        if mixed and len(weight.quantization.scale) > 1:
            raise TargetError(
                f"{RUNTIME} computes {name} wrongly with float inputs and a scale for each channel of the weights. "
                f"Quantize it with one scale for each tensor."
            )


class AdditiveMask(torch.nn.Module):
    """Hands the attention mask `[batch, sequence]` on as the 4-D float that is added to attention's logits.

    What transformers itself makes of the mask are booleans and gathers that the old runtime lacks.
    """

    def __init__(self, inner: torch.nn.Module, place: int) -> None:
        super().__init__()
        self.inner = inner
        self.place = place

    def forward(self, *inputs: torch.Tensor) -> Any:
        hidden = (1.0 - inputs[self.place][:, None, None, :].to(torch.float32)) * -1e9
        return self.inner(*(hidden if place == self.place else value for place, value in enumerate(inputs)))


class WithAdditiveMask:
    """A model as targets see it, through `AdditiveMask`."""

    def __init__(self, model: Exportable) -> None:
        names = [spec.name for spec in model.signature.inputs]
        self.module: torch.nn.Module = AdditiveMask(model.module, names.index("attention_mask")).eval()
        self.signature: Signature = model.signature
        self.description: Description = model.description
