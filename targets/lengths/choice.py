"""Which lengths graphs of fixed sizes are made for, and whether rows may be padded to them."""

from __future__ import annotations

from collections.abc import Iterable

from edgepress.targets.records import Signature

SHORTEST = 32


def lengths_within(low: int, high: int, wanted: Iterable[int]) -> tuple[int, ...]:
    """Those wanted, else 32, 64, …; the longest of the bounds always.

    >>> lengths_within(2, 128, ()), lengths_within(2, 128, (48,))
    ((32, 64, 128), (48, 128))
    """
    doubled = [length for length in (SHORTEST * 2**power for power in range(16)) if low <= length < high]
    return tuple(sorted({*(tuple(wanted) or doubled), high}))


def has_mask(signature: Signature) -> bool:
    """Whether the model can be told which tokens are padding."""
    return any(spec.name == "attention_mask" for spec in signature.inputs)
