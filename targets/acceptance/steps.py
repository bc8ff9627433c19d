"""A decoder's steps against the torch model's: nothing is believed of a cache that was not followed through it.

Exporters freeze what they saw once: a cache of one fixed length passes its own comparison and can never make a third
token; a mask of ones disappears, and padded rows are then wrong without an error. So the steps that are compared have
another number of rows than the traced ones, padding on the left, and begin with caches of no positions.
"""

from __future__ import annotations

import numpy as np

from edgepress.targets.acceptance.accept import LEAST_DB
from edgepress.targets.acceptance.comparison import compare
from edgepress.targets.acceptance.reference import run_torch
from edgepress.targets.errors import TargetError, told
from edgepress.targets.exportable import Stepping
from edgepress.targets.protocols import Session
from edgepress.targets.records import STEP, Feeds, Precision

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
    mine, theirs = _first(stepping), _first(stepping)
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
        theirs, mine = _next(stepping, theirs, want, likeliest), _next(stepping, mine, got, likeliest)
    compared = compare(wanted, found)
    if compared.sqnr_db is not None and compared.sqnr_db < LEAST_DB[precision]:
        raise TargetError(
            f"the exported decoder differs from the torch model over {STEPS} steps: SQNR {compared.sqnr_db:.1f} dB, "
            f"wanted at least {LEAST_DB[precision]:.0f} dB. The artifact was refused."
        )


def _first(stepping: Stepping) -> Feeds:
    """A prompt of as many rows and tokens as nothing was traced with, with caches of no positions."""
    signature = stepping.signature
    vocabulary = int(signature.outputs[0].shape[-1])
    sizes = {"batch": ROWS, "sequence": PROMPT, "past": 0, "total": PROMPT}
    feeds = {
        spec.name: np.zeros([sizes[size] if isinstance(size, str) else size for size in spec.shape], spec.dtype)
        for spec in signature.inputs
    }
    feeds["input_ids"] += np.random.default_rng(0).integers(0, vocabulary, (ROWS, PROMPT))
    feeds["attention_mask"] += 1
    feeds["attention_mask"][1, :PADDED] = 0
    return feeds


def _next(stepping: Stepping, feeds: Feeds, outputs: Feeds, tokens: np.ndarray) -> Feeds:
    state = {taken: outputs[given] for given, taken in stepping.signature.state.items()}
    mask = np.concatenate([feeds["attention_mask"], np.ones_like(tokens)], 1)
    return {"input_ids": tokens.astype(np.int64), "attention_mask": mask, **state}
