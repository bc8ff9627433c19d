"""What a service takes at most; whatever is beyond is refused at once, so that what was taken is answered in time."""

from __future__ import annotations

from dataclasses import dataclass

from edgepress.targets.errors import TargetError
from edgepress.targets.inference.bundle import Bundle

USUAL_BATCH = 8


@dataclass(frozen=True)
class ServiceLimits:
    """
    Args:
        batch: rows of one call of the model.
        wait_ms: how long the first row of a call waits for others, ms: what batching may add to a latency.
        waiting: rows that wait for the model; a request that would make them more gets 429.
        rows: of a request.
        body_bytes: of a request.
        seconds: from a request's last byte to its answer; then it gets 504.
    """

    batch: int = 1
    wait_ms: float = 2.0
    waiting: int = 256
    rows: int = 64
    body_bytes: int = 4 << 20
    seconds: float = 10.0


def batch_of(bundle: Bundle, asked: int | None) -> int:
    """Rows of a call: as asked, else 8, or 1 where scales are taken at run time, of strangers' rows too.

    Args:
        bundle: the opened release.
        asked: by the user.

    Raises:
        TargetError: the model takes fewer.
    """
    if asked is None:
        own_scales = bundle.artifact.candidate.options.get("scales") == "run-time"
        return 1 if own_scales else min(USUAL_BATCH, bundle.most_rows)
    if not 1 <= asked <= bundle.most_rows:
        raise TargetError(f"batch is {asked}, and this model takes 1 to {bundle.most_rows} rows.")
    return asked
