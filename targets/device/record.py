"""The record that a device writes: which layout it has, and the digest that finds damage."""

from __future__ import annotations

import hashlib
import json
from typing import Any

SCHEMA_VERSION, KIND = "1.1", "edgepress-device-record"


def record_sha256(record: dict[str, Any]) -> str:
    """Of the canonical JSON of everything but itself: keys sorted, no white space.

    It finds damage and careless edits. It is no signature: who edits a record can compute it anew. That is why
    `edgepress report add` derives every figure from the raw values again, too.
    """
    rest = {key: value for key, value in record.items() if key != "record_sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
