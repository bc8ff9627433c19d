"""What lies beside an engine for those who use NVIDIA's own tools: a trtexec script and a Triton model repository."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edgepress.targets.records import Signature, TensorSpec

SCRIPT_FILE = "trtexec.sh"
REPOSITORY = "triton"
MODEL = f"{REPOSITORY}/model"
PLAN_FILE = f"{MODEL}/1/model.plan"
CONFIG_FILE = f"{MODEL}/config.pbtxt"
TYPES = {"int64": "TYPE_INT64", "int32": "TYPE_INT32", "float32": "TYPE_FP32"}

Profile = Mapping[str, list[list[int]]]
"""{input: [lowest, most likely, highest shape]}"""


def write_for_other_tools(folder: Path, onnx: Path, signature: Signature, profile: Profile, sparse: bool) -> None:
    """A script that builds the same graph with full TensorRT, on the GPU it is for, into a Triton model repository.

    Args:
        folder: gets both.
        onnx: the graph, beside the script.
        signature: what the model takes and gives.
        profile: the shapes to build for.
        sparse: whether kernels for 2:4 sparse weights may be taken.
    """
    (folder / MODEL).mkdir(parents=True)
    (folder / CONFIG_FILE).write_text(triton_config(signature), encoding="utf-8")
    script = folder / SCRIPT_FILE
    script.write_text(trtexec_script(onnx.name, profile, sparse), encoding="utf-8")
    script.chmod(0o755)


def trtexec_script(onnx: str, profile: Profile, sparse: bool = False) -> str:
    """The script's text.

    Args:
        onnx: name of the graph's file.
        profile: the shapes to build for.
        sparse: whether kernels for 2:4 sparse weights may be taken.
    """
    parts = ["trtexec", f"--onnx={onnx}", f"--saveEngine={PLAN_FILE}", "--stronglyTyped"]
    parts += ["--sparsity=enable"] if sparse else []
    for index, flag in enumerate(("minShapes", "optShapes", "maxShapes")):
        shapes = ",".join(f"{name}:{'x'.join(map(str, sizes[index]))}" for name, sizes in profile.items())
        parts.append(f"--{flag}={shapes}")
    return (
        "#!/bin/sh\n"
        "# Builds the engine with full TensorRT, on the GPU that will run it. Then: tritonserver --model-repository="
        f"{REPOSITORY}\n"
        'set -e\ncd "$(dirname "$0")"\n'
        f"mkdir -p {MODEL}/1\n{' '.join(parts)}\n"
    )


def triton_config(signature: Signature) -> str:
    """config.pbtxt. Triton batches by itself where a batch may be of one sample; its dimensions leave the batch out."""
    low, high = signature.bounds.get("batch", (0, 0))
    batched = low == 1 and high > 1
    parts = ['platform: "tensorrt_plan"', f"max_batch_size: {high if batched else 0}"]
    for kind, specs in (("input", signature.inputs), ("output", signature.outputs)):
        parts += [f"{kind} {_tensor(spec, signature, batched)}" for spec in specs]
    parts.append("instance_group { kind: KIND_GPU }")
    return "\n".join(parts) + "\n"


def _tensor(spec: TensorSpec, signature: Signature, batched: bool) -> str:
    shape = spec.shape[1:] if batched and spec.shape[0] == "batch" else spec.shape
    dims = ", ".join(str(_size(size, signature)) for size in shape)
    return f'{{ name: "{spec.name}" data_type: {TYPES[spec.dtype]} dims: [ {dims} ] }}'


def _size(size: int | str, signature: Signature) -> int:
    if isinstance(size, int):
        return size
    low, high = signature.bounds[size]
    return low if low == high else -1
