"""Model → one checked, slim fp32 ONNX file whose named dimensions vary as the signature says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgepress.targets.errors import TargetError
from edgepress.targets.exportable import Exportable
from edgepress.targets.graph.export import module_using
from edgepress.targets.graph.narrowing import inference_program
from edgepress.targets.onnx_graph.norms import divide_by_roots
from edgepress.targets.onnx_graph.padding import keep_zero_padding
from edgepress.targets.process.quiet import quiet
from edgepress.targets.records import Feeds, Signature

if TYPE_CHECKING:
    import onnx
    from torch.export import ExportedProgram
    from torch.onnx import ONNXProgram

OPSET = 20  # the first with a Gelu node, which runtimes compute in one kernel
PROTOBUF_LIMIT = 2**31 - 2**24  # bytes of weights; protobuf ends at 2 GiB, the graph itself needs some of that


def export_onnx(model: Exportable, example: Feeds, path: Path, limit: int = PROTOBUF_LIMIT) -> Path:
    """Write `path` and return it; weights above `limit` bytes go to `path` + ".data" beside it.

    Raises:
        SignatureError: `example` does not fit the signature.
        TargetError: NaN weights, bounds the model cannot hold, or an operation that ONNX lacks.
    """
    program = inference_program(model, example)
    weights = sum(value.numel() * value.element_size() for value in program.state_dict.values())
    with quiet():
        exported = _to_onnx(program, model.signature)
        if weights > limit:
            # Passes over serialised protobufs end at 2 GiB, so this graph is left as the exporter optimised it.
            _save_with_external_weights(exported, model.signature, path)
        else:
            _save_slim(exported, model.signature, path)
    return path


def _to_onnx(program: ExportedProgram, signature: Signature) -> ONNXProgram:
    import torch

    try:
        exported = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=OPSET,
            input_names=[spec.name for spec in signature.inputs],
            output_names=[spec.name for spec in signature.outputs],
            verbose=False,
        )
    except torch.onnx.OnnxExporterError as fault:
        raise TargetError(_explain(fault, program)) from fault
    assert exported is not None  # None only where a path is given
    return exported


def _save_slim(exported: ONNXProgram, signature: Signature, path: Path) -> None:
    import onnx
    import onnxslim

    proto = onnxslim.slim(exported.model_proto)
    _adjust(proto, signature)
    onnx.checker.check_model(proto, full_check=True)
    onnx.save_model(proto, path)


def _save_with_external_weights(exported: ONNXProgram, signature: Signature, path: Path) -> None:
    import onnx

    exported.save(path, external_data=True)
    proto = onnx.load(path, load_external_data=False)
    _adjust(proto, signature)
    path.write_bytes(proto.SerializeToString())
    onnx.checker.check_model(path, full_check=True)


def _adjust(proto: onnx.ModelProto, signature: Signature) -> None:
    """What ONNX Runtime would get wrong, what it would not fuse, and names."""
    keep_zero_padding(proto)
    divide_by_roots(proto)
    tidy(proto, signature)


def tidy(proto: onnx.ModelProto, signature: Signature) -> None:
    """Every input of the signature is there, dimensions get its names; the exporter's notes, which hold paths, go.

    Raises:
        TargetError: a dimension that should vary was frozen, or the other way round.
    """
    names: dict[str, str] = {}
    _restore_inputs(proto.graph, signature)
    for spec, value in zip(signature.inputs, proto.graph.input, strict=True):
        for wanted, dim in zip(spec.shape, value.type.tensor_type.shape.dim, strict=True):
            varies = isinstance(wanted, str) and len(set(signature.bounds[wanted])) == 2
            if varies != bool(dim.dim_param):
                raise TargetError(
                    f"input {spec.name!r}: {wanted} should {'vary' if varies else 'be fixed'} in the exported graph, "
                    f"got {dim.dim_param or dim.dim_value}"
                )
            if varies:
                names[dim.dim_param] = str(wanted)
    _rename_dimensions(proto.graph, names)
    del proto.metadata_props[:]
    proto.doc_string = ""
    graph = proto.graph
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""


def _restore_inputs(graph: onnx.GraphProto, signature: Signature) -> None:
    """An input that the model does not look at (token types of a DeBERTa-v2 without them) was dropped on the way; users
    feed what the signature names, so it is one of the graph again."""
    import onnx

    there = {value.name: value for value in graph.input}
    inputs = []
    for spec in signature.inputs:
        if (value := there.get(spec.name)) is None:
            kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype))
            varies = {name for name, (low, high) in signature.bounds.items() if low < high}
            shape = [
                size if size in varies or isinstance(size, int) else signature.bounds[size][0] for size in spec.shape
            ]
            value = onnx.helper.make_tensor_value_info(spec.name, kind, shape)
        inputs.append(value)
    del graph.input[:]
    graph.input.extend(inputs)


def _rename_dimensions(graph: onnx.GraphProto, names: dict[str, str]) -> None:
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_param = re.sub(r"\w+", lambda word: names.get(word[0], word[0]), dim.dim_param)


def _explain(fault: Exception, program: ExportedProgram) -> str:
    """Which operation ONNX lacks and in which module, found in the chain of causes."""
    text, cause = "", fault.__cause__ or fault
    while cause:
        text, cause = f"{text}\n{cause}", cause.__cause__  # type: ignore[assignment]
    operation = re.search(r"OpOverload\(op='([^']+)'", text)
    if operation:
        where = module_using(program, operation[1].rpartition(".")[2])
        return (
            f"ONNX opset {OPSET} has no form of {operation[1]}{where}. "
            f"Replace that operation in the model, or use the 'pytorch' target."
        )
    return f"the ONNX exporter refused the model: {text.strip().splitlines()[0]}"
