"""A decoder's steps against the torch model's: nothing is believed of a cache that was not followed through it.

Exporters freeze what they saw once: a cache of one fixed length passes its own comparison and can never make a third
token; a mask of ones disappears, and padded rows are then wrong without an error. So the steps that are compared have
another number of rows than the traced ones, padding on the left, and begin with caches of no positions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgepress.targets.acceptance.accept import LEAST_DB
from edgepress.targets.acceptance.comparison import compare
from edgepress.targets.acceptance.reference import run_torch
from edgepress.targets.errors import TargetError, told
from edgepress.targets.exportable import Stepping
from edgepress.targets.inference.generation import first_feeds, next_feeds
from edgepress.targets.protocols import Session
from edgepress.targets.records import STEP, Feeds, Precision, Signature

ROWS, PROMPT, STEPS = 3, 5, 12
PADDED = 2
"""Positions of the second row that are padding."""


def accept_steps(session: Session, stepping: Stepping, precision: Precision) -> None:
    """Follow a prompt and `STEPS` more tokens, those that torch thinks likeliest, through the artifact and torch.

    Args:
        session: the exported artifact, opened.
        stepping: the torch model's own steps.
        precision: decides what is demanded of all logits together, see `LEAST_DB`.

    Raises:
        TargetError: a step fails, or its logits are too far from the torch model's.
    """
    signature = stepping.signature
    mine = theirs = _first(signature)
    wanted, found = [], []
    for number in range(STEPS + 1):
        (want,) = run_torch(stepping, [theirs])
        try:
            got = session.infer(mine, STEP)
        except Exception as fault:
            raise TargetError(f"the exported decoder fails at step {number}: {told(fault)}") from fault
        wanted.append(want["logits"][:, -1])
        found.append(got["logits"][:, -1])
        likeliest = want["logits"][:, -1].argmax(-1)[:, None]
        theirs, mine = (next_feeds(signature, *one, likeliest) for one in ((theirs, want), (mine, got)))
    refuse_other_steps("decoder", wanted, found, precision)


def refuse_other_steps(
    kind: str, wanted: Sequence[np.ndarray], found: Sequence[np.ndarray], precision: Precision
) -> None:
    """Raises TargetError where an artifact's logits are too far from the torch model's.

    Args:
        kind: of network, for the message.
        wanted: the torch model's behind each token, `[rows, vocabulary]`.
        found: the artifact's.
        precision: decides what is demanded of all of them together, see `LEAST_DB`.
    """
    compared = compare(wanted, found)
    if compared.sqnr_db is not None and compared.sqnr_db < LEAST_DB[precision]:
        raise TargetError(
            f"the exported {kind} differs from the torch model over {len(wanted) - 1} steps: SQNR "
            f"{compared.sqnr_db:.1f} dB, wanted at least {LEAST_DB[precision]:.0f} dB. The artifact was refused."
        )


def _first(signature: Signature) -> Feeds:
    """A prompt of as many rows and tokens as nothing was traced with, one of them padded on the left."""
    vocabulary = int(signature.outputs[0].shape[-1])
    feeds = first_feeds(signature, np.random.default_rng(0).integers(0, vocabulary, (ROWS, PROMPT)))
    feeds["attention_mask"][1, :PADDED] = 0
    return feeds
