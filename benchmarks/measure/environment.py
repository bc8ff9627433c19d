"""The machine a figure was taken on, read as a device reads itself, with the packages that a run needs."""

from __future__ import annotations

from pathlib import Path

from edgepress.targets.device.environment import environment as machine

PACKAGES = (
    *("edgepress", "numpy", "torch", "transformers", "datasets", "safetensors", "onnx", "onnxruntime", "onnxscript"),
    *("onnxslim", "torch-pruning", "scikit-learn", "timm", "openvino", "tensorrt", "ai-edge-litert", "jax", "jaxlib"),
)


def environment(root: Path = Path("/")) -> dict[str, object]:
    """CPU, memory, load, system and package versions. What cannot be read is None; no host, user or path is named."""
    return machine(root, PACKAGES)


def lacks_vnni(isa: object) -> bool:
    """Whether a processor with these flags multiplies int8 with AVX2 and adds in 16 bits.

    >>> lacks_vnni(["avx2", "fma"]), lacks_vnni(["avx2", "avx512_vnni"]), lacks_vnni(["neon"])
    (True, False, False)
    """
    flags = set(isa) if isinstance(isa, list) else set()
    return "avx2" in flags and not flags & {"avx_vnni", "avx512_vnni"}
