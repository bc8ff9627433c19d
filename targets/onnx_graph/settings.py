"""How ONNX Runtime opens a graph."""

from __future__ import annotations

from edgepress.targets.records import Record


class Settings(Record):
    """Session settings of an artifact. `spinning`: worker threads wait busily, which is faster while alone.

    `saturate`: on x86 without VNNI neighbouring int8 products are added in 16 bits, where sums can be cut off: the
    outputs of a BERT were worthless. False asks for kernels that keep them whole there; other processors always do.
    """

    disabled_optimizers: tuple[str, ...] = ()
    spinning: bool = True
    saturate: bool = False
