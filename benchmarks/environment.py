"""The machine a figure was taken on, read as a device reads itself, with the packages that a run needs."""

from __future__ import annotations

from pathlib import Path

from benchmarks.runner import run_environment

PACKAGES = (
    *("edgepress", "numpy", "torch", "transformers", "datasets", "safetensors", "onnx", "onnxruntime", "onnxscript"),
    *("onnxslim", "torch-pruning", "scikit-learn", "timm", "openvino", "tensorrt", "ai-edge-litert", "jax", "jaxlib"),
)


def environment(root: Path = Path("/")) -> dict[str, object]:
    """CPU, memory, load, system and package versions. What cannot be read is None; no host, user or path is named."""
    return run_environment.environment(root, PACKAGES)
