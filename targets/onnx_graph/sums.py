"""Whether ONNX Runtime's int8 products lose parts of their sums on this processor: asked of the runtime itself."""

from __future__ import annotations

from functools import cache

import numpy as np

# An ONNX file of one node, c[int32] = MatMulInteger(a[uint8], b[int8]), in bytes: the package onnx may not be here.
PRODUCT = (
    b'\x08\x05:P\n\x18\n\x01a\n\x01b\x12\x01c"\rMatMulInteger\x12\x01g'
    b"Z\x0f\n\x01a\x12\n\n\x08\x08\x02\x12\x04\n\x00\n\x00Z\x0f\n\x01b\x12\n\n\x08\x08\x03\x12\x04\n\x00\n\x00"
    b"b\x0f\n\x01c\x12\n\n\x08\x08\x06\x12\x04\n\x00\n\x00B\x04\n\x00\x10\n"
)
LENGTH, HIGHEST_U8, HIGHEST_S8 = 64, 255, 127


@cache
def cuts_sums() -> bool:
    """Whether u8 x s8 kernels add neighbouring products in 16 bits here, as x86 without VNNI does (VPMADDUBSW).

    Kernels that keep the sums whole take 1.8 times as long where the processor has VNNI, so they are asked for only
    where they are needed. Flags of the processor would tell it on Linux alone; a few ms, once a process.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(PRODUCT, options, providers=["CPUExecutionProvider"])
    a, b = np.full((4, LENGTH), HIGHEST_U8, np.uint8), np.full((LENGTH, 16), HIGHEST_S8, np.int8)
    return bool((session.run(None, {"a": a, "b": b})[0] != LENGTH * HIGHEST_U8 * HIGHEST_S8).any())
