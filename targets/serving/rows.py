"""The body of a request → rows, as `Bundle.predict` takes them. Nothing that a client writes is taken for a path."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from typing import Any

from edgepress.targets.errors import DataError, told
from edgepress.targets.inference.bundle import Bundle
from edgepress.targets.inference.pictures import Pictures
from edgepress.targets.inference.prepare import Sounds

ENCODED = (Pictures, Sounds)
"""Whose rows are files: the body itself is one, or JSON has them in base64."""


def rows_of(body: bytes, media_type: str, bundle: Bundle, most: int) -> list[Any]:
    """The rows of a request.

    Args:
        body: of it.
        media_type: what the client calls it; JSON unless it is of a picture, a sound or plain bytes.
        bundle: says what a row is.
        most: rows that a request may have.

    Raises:
        DataError: the body is no such request.
    """
    encoded = isinstance(bundle.preparer, ENCODED)
    if encoded and (media_type.startswith(("image/", "audio/")) or media_type == "application/octet-stream"):
        return [body]
    rows = _listed(body)
    if not 1 <= len(rows) <= most:
        raise DataError(f"a request has 1 to {most} rows, got {len(rows)}.")
    return [_decoded(row) for row in rows] if encoded else list(rows)


def _listed(body: bytes) -> Sequence[Any]:
    try:
        said = json.loads(body)
    except (ValueError, RecursionError) as fault:
        raise DataError(f"the body is no JSON ({told(fault)}). Send " + '{"rows": [...]}.') from None
    if not isinstance(said, dict) or not isinstance(said.get("rows"), list):
        raise DataError('the body must be {"rows": [...]}.')
    rows: list[Any] = said["rows"]
    return rows


def _decoded(row: Any) -> bytes:
    try:
        return base64.b64decode(row, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise DataError("a row must be a file in base64, or send the file itself with its media type.") from None
