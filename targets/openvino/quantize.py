"""int8 by nncf: fake quantization put into an OpenVINO model, with ranges from the calibration batches."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from edgepress.targets.errors import TargetError, told
from edgepress.targets.graph.export import is_transformer
from edgepress.targets.process.quiet import quiet
from edgepress.targets.records import Candidate, Feeds


def quantized(path: Path, module: Any, candidate: Candidate, calibration: Sequence[Feeds]) -> Any:
    """The int8 model of a fp32 graph.

    Args:
        path: of the ONNX file.
        module: the torch module that it was made of: transformers are quantized by rules of their own, without which
            SST-2 fell from 0.882 to 0.769 and nothing was said.
        candidate: `options.preset` is `mixed` (activations with a zero point) or `performance` (without).
        calibration: batches of real inputs.

    Raises:
        TargetError: nncf cannot quantize the graph.
    """
    import nncf
    import openvino
    from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, OverflowFix

    nncf.set_log_level(logging.ERROR)
    kind = nncf.ModelType.TRANSFORMER if is_transformer(module) else None
    try:
        with quiet(), redirect_stdout(StringIO()):  # its bars would break ours
            return nncf.quantize(
                openvino.Core().read_model(path),
                nncf.Dataset([dict(feeds) for feeds in calibration]),
                preset=nncf.QuantizationPreset(candidate.options["preset"]),
                subset_size=len(calibration),
                model_type=kind,
                # Processors with AVX2 and no VNNI add pairs of products in 16 bits, which overflow: 11 dB instead of 29
                # of a tiny BERT, and no word of it. Half the range of weights fits, and files travel to any processor.
                advanced_parameters=AdvancedQuantizationParameters(overflow_fix=OverflowFix.ENABLE),
            )
    except Exception as fault:  # nncf's and OpenVINO's own errors share no base class
        raise TargetError(f"{candidate.name} could not be made: {told(fault)}") from fault
