"""What TensorRT's compiler put into an engine, from the readable plan that it embeds: undocumented, bound to versions.

The network says what must be computed; the plan says which products are left, fused, and the types they multiply.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from edgepress.targets.errors import TargetError

CHIPS = re.compile(rb"\baccelerators=\{([^}\n]*)\}")
TENSOR = re.compile(rb'\btensor=\{[^\n]*?\bname="([^"]+)"[^\n]*?\btype=(\w+)')
PRODUCT = re.compile(rb"\b(?:fully_connected|corrltn|convolution|batch_gemm)=\{[^\n]*?\binput=\{([^}\n]*)\}")
EVERY = "*"
KINDS = {b"int8": "int8", b"half": "half", b"bfloat16": "half"}


def count_planned(engine: bytes) -> dict[str, dict[str, int]]:
    """{"sm_80": {"int8": 3, "half": 1, "float": 0}, ...} over all plans in an engine; fused attention is no product.

    Raises:
        TargetError: there is no plan that can be read, as after a change of version.
    """
    starts = [*CHIPS.finditer(engine)]
    if not starts:
        raise TargetError("the engine holds no plan that can be read. Export with the version in constraints.txt.")
    ends = [start.start() for start in starts[1:]] + [len(engine)]
    found: dict[str, dict[str, int]] = {}
    for start, end in zip(starts, ends, strict=True):
        counts = _count(engine[start.end() : end])
        for chip in start[1].decode("ascii").split():
            kept = found.setdefault(chip.replace("sm", "sm_"), dict.fromkeys(counts, 0))
            _add(kept, counts)
    return _shared_out(found)


def _shared_out(found: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
    """A plan for `*` serves every GPU, and is part of what each of them runs; where there is no other, of any."""
    common = found.pop(EVERY, None)
    if common is None:
        return found
    for counts in found.values():
        _add(counts, common)
    return found or {"any GPU": common}


def _add(counts: dict[str, int], more: Mapping[str, int]) -> None:
    for kind, number in more.items():
        counts[kind] += number


def _count(plan: bytes) -> dict[str, int]:
    types: Mapping[bytes, bytes] = dict(TENSOR.findall(plan))
    counts = {"int8": 0, "half": 0, "float": 0}
    for operands in PRODUCT.findall(plan):
        factors = {types.get(name) for name in re.findall(rb'"([^"]+)"', operands)[:2]}
        counts[KINDS.get(next(iter(factors)) or b"", "float") if len(factors) == 1 else "float"] += 1
    return counts
