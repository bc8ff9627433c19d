"""The record that a device writes: its layout, its words for a shape, and the digest that finds damage."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from ..bundle.sums import RECORD_KIND

SCHEMA_VERSION, KIND = "1.1", RECORD_KIND
MOST_SAMPLES = 20_000
"""Of one shape: a record with more of them is not read."""


def record_sha256(record: dict[str, Any]) -> str:
    """Of the canonical JSON of everything but itself: keys sorted, no white space.

    It finds damage and careless edits. It is no signature: who edits a record can compute it anew. That is why
    `edgepress report add` derives every figure from the raw values again, too.
    """
    rest = {key: value for key, value in record.items() if key != "record_sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def size_words(batch: int, sequence: int | None, threads: int | None) -> dict[str, str]:
    """What a call was: rows, tokens in a row, threads of the session; None where there is no such thing.

    >>> size_words(1, 32, 1)
    {'b': 'batch 1', 's': 'sequence 32', 't': '1 thread'}
    """
    long = {} if sequence is None else {"s": f"sequence {sequence}"}
    wide = {} if threads is None else {"t": f"{threads} thread{'' if threads == 1 else 's'}"}
    return {"b": f"batch {batch}", **long, **wide}
