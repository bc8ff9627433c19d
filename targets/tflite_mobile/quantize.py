"""Lower precisions of a .tflite by AI Edge Quantizer, with ranges that are the true minimum and maximum.

Its own calibration is a moving average that clips: on a small network the largest difference of the logits was five
times that of true ranges.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from edgepress.targets.device.pinning import usable_cores
from edgepress.targets.errors import TargetError, told
from edgepress.targets.process.feeds import load_feeds
from edgepress.targets.process.quiet import quiet
from edgepress.targets.records import Record
from edgepress.targets.tflite_mobile.trained import take_trained

LARGEST = 3e38  # the library's own limit


class Scheme(Record):
    """`scales` of activations: fixed or taken at run time; `layers` that change; `ends`: type of input and output;
    `granularity` of the weights that are multiplied with float inputs: a scale for each channel, or one a tensor;
    `trained`: what layers read has the ranges that the model was trained with."""

    scales: Literal["half", "run-time", "fixed"]
    layers: Literal["all", "linear"] = "all"
    ends: Literal["float", "int8"] = "float"
    granularity: Literal["channel", "tensor"] = "channel"
    trained: bool = False


def quantize(request: dict[str, Any]) -> dict[str, Any]:
    """Runs in the child. `request`: `model`, `out`, `method`, `calibration` ({signature: [.npz, ...]}), `fixed`, the
    digests of weights whose products stay float, with all that comes before them, and `trained`, a file of ranges.

    Raises:
        TargetError: the quantizer refuses the model.
    """
    scheme, notes = Scheme.model_validate(request["method"]), []
    with quiet():
        from ai_edge_quantizer import quantizer

        worker = quantizer.Quantizer(request["model"])
        try:
            _describe(worker, scheme)
            _keep_float(worker, Path(request["model"]), request["fixed"])
            ranges = _calibrate(request, worker) if worker.need_calibration else None
            if scheme.trained and ranges is not None:
                notes.append(take_trained(ranges, Path(request["model"]), request["trained"]))
            result = worker.quantize(ranges, enable_progress_report=False)
        except Exception as fault:  # the quantizer's errors share no base class
            raise TargetError(f"the quantizer refused the model: {told(fault)}") from fault
        Path(request["out"]).write_bytes(bytes(result.quantized_model))
    return {"bytes": Path(request["out"]).stat().st_size, "notes": notes}


def _describe(worker: Any, scheme: Scheme) -> None:
    from ai_edge_quantizer import algorithm_manager, qtyping

    names = qtyping.TFLOperationName
    kind = names.FULLY_CONNECTED if scheme.layers == "linear" else names.ALL_SUPPORTED
    whole = scheme.granularity == "tensor"
    granularity = qtyping.QuantGranularity.TENSORWISE if whole else qtyping.QuantGranularity.CHANNELWISE
    if scheme.scales == "half":
        half = qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT)
        config = qtyping.OpQuantizationConfig(weight_tensor_config=half, explicit_dequantize=True)
        casting = algorithm_manager.AlgorithmName.FLOAT_CASTING
        for operation in (names.FULLY_CONNECTED, names.CONV_2D, names.DEPTHWISE_CONV_2D, names.EMBEDDING_LOOKUP):
            worker.update_quantization_recipe(".*", operation, config, casting)
    elif scheme.scales == "run-time":
        worker.add_dynamic_config(".*", kind, num_bits=8, granularity=granularity)
    else:
        worker.add_static_config(".*", kind, activation_num_bits=8, weight_num_bits=8)
        if scheme.layers == "linear":
            worker.add_dynamic_config(".*", names.EMBEDDING_LOOKUP, num_bits=8, granularity=granularity)
        elif scheme.ends == "float":
            worker.update_quantization_recipe(".*", names.INPUT, None, algorithm_manager.AlgorithmName.NO_QUANTIZE)
            worker.update_quantization_recipe(".*", names.OUTPUT, None, algorithm_manager.AlgorithmName.NO_QUANTIZE)


def _keep_float(worker: Any, model: Path, fixed: Sequence[str]) -> None:
    """What stands before products with fixed weights, and these: told by the names of the tensors they write."""
    from ai_edge_quantizer import algorithm_manager, qtyping

    from edgepress.targets.tflite_mobile.view import View

    for name in sorted(View.of(model).before_products(fixed) if fixed else ()):
        # The quantizer looks for the pattern in the names of an operator's outputs, each with a `;` behind it.
        worker.update_quantization_recipe(
            f"(^|;){re.escape(name)};?$",
            qtyping.TFLOperationName.ALL_SUPPORTED,
            None,
            algorithm_manager.AlgorithmName.NO_QUANTIZE,
        )


def _calibrate(request: dict[str, Any], worker: Any) -> dict[str, Any]:
    """Smallest and largest value of each tensor over all samples.

    The library's own observer copies every tensor of the model for each sample, weights included: for BERT-base that
    takes twice the time of running it. So it sees the first sample of each signature, which tells the tensors that need
    a range; of the other samples these alone are read.
    """
    from ai_edge_quantizer import calibrator

    observer = calibrator.Calibrator(request["model"], num_threads=usable_cores(), qsv_update_func=widest)
    for name, paths in request["calibration"].items():
        observer.calibrate({name: [load_feeds(paths[0])]}, worker._recipe_manager)
    ranges: dict[str, Any] = observer.get_model_qsvs()
    for name, paths in request["calibration"].items():
        _widen(ranges, observer._tfl_interpreter, name, paths[1:])
    return ranges


def _widen(ranges: dict[str, Any], interpreter: Any, signature: str, paths: Sequence[str]) -> None:
    """Let the ranges hold the samples in `paths` too."""
    from ai_edge_quantizer.utils.tfl_interpreter_utils import get_signature_main_subgraph_index

    graph = get_signature_main_subgraph_index(interpreter, signature)
    run = interpreter.get_signature_runner(signature)
    wanted = {
        detail["name"]: detail["index"]
        for detail in interpreter.get_tensor_details(graph)
        if detail["name"] in ranges and np.all(detail["shape"])
    }
    for path in paths:
        run(**load_feeds(path))
        for name, index in wanted.items():
            ranges[name] = widest(ranges[name], span(interpreter.get_tensor(index, graph)))
        interpreter.reset_all_variables()


def span(values: np.ndarray) -> dict[str, np.ndarray]:
    """Smallest and largest value, each with the rank of `values`. Padding with infinity, as before a largest value is
    looked for, is no value.

    >>> {name: value.tolist() for name, value in span(np.array([2.0, -np.inf, 1.0])).items()}
    {'min': [1.0], 'max': [2.0]}
    """
    real = values[np.abs(values) < LARGEST]
    kept = real if real.size else np.zeros(1, values.dtype)
    shape = (1,) * values.ndim
    return {"min": kept.min().reshape(shape), "max": kept.max().reshape(shape)}


def widest(old: dict[str, np.ndarray], new: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The range that holds both.

    >>> one, other = {"min": np.array(-1.0), "max": np.array(1.0)}, {"min": np.array(0.0), "max": np.array(2.0)}
    >>> {name: float(value) for name, value in widest(one, other).items()}
    {'min': -1.0, 'max': 2.0}
    """
    if not old:
        return new
    return {"min": np.minimum(old["min"], new["min"]), "max": np.maximum(old["max"], new["max"])}
