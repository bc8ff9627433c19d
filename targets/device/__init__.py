"""What measures on a device as it does here. It travels in releases, with the runtimes' sessions: one rule, two places.

Here its files are `edgepress.targets.…`; in a release the same files are the package `edgepress_device`, which needs
NumPy and one runtime, and Python 3.9. So they import one another relatively, and nothing else of this project.
"""

from __future__ import annotations

PACKAGE = "edgepress_device"
LAUNCHER = "run_benchmark.py"
"""What a user starts, from `launcher.py` beside this file; it lies at the top of a release."""

WINGS = (
    *("bundle", "device", "lengths", "onnx_graph", "openvino", "preprocess", "tflite_mobile", "xla_tpu"),
    "tensorrt_gpu",
)
TRAVELLING = (
    *("errors.py", "files.py", "runtime.py", "telemetry.py", "text.py"),
    *(f"{wing}/__init__.py" for wing in WINGS),
    *("bundle/signing.py", "bundle/sums.py"),
    *(f"device/{name}.py" for name in ("apart", "clock", "energy", "environment", "main", "needs", "percentiles")),
    *(f"device/{name}.py" for name in ("pinning", "quiet", "record", "release", "sample", "sitting", "turns")),
    *("onnx_graph/session.py", "onnx_graph/sums.py", "lengths/padding.py", "openvino/session.py"),
    "preprocess/bilinear.py",
    *("tflite_mobile/session.py", "xla_tpu/session.py", "tensorrt_gpu/session.py"),
)
"""The files that travel, below `targets/` here and below the package there."""
