"""A session whose inputs are held to the signature before the runtime sees them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from edgepress.targets.records import Feeds, Signature


@dataclass(frozen=True)
class Checked:
    """`session` of any runtime, for a model with this `signature`."""

    session: Any
    signature: Signature

    def infer(self, feeds: Feeds) -> dict[str, np.ndarray]:
        """Arrays by the outputs' names. Raises SignatureError for feeds that do not fit."""
        self.signature.check(feeds)
        outputs: dict[str, np.ndarray] = self.session.infer(feeds)
        return outputs
