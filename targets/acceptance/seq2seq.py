"""An encoder-decoder's programs against torch, which decodes each token anew, without a cache.

Sources have other lengths than the traced ones, and differ within the batch, so that a mask which was passed over, a
cache of one fixed length and keys of the wrong source all show.
"""

from __future__ import annotations

import numpy as np

from edgepress.targets.acceptance.reference import run_torch
from edgepress.targets.acceptance.steps import STEPS, refuse_other_steps
from edgepress.targets.errors import TargetError, told
from edgepress.targets.exportable import Exportable, Stepping
from edgepress.targets.inference.generation import first_of_target, next_feeds
from edgepress.targets.protocols import Session
from edgepress.targets.records import ENCODE, STEP, Feeds, Precision

LENGTHS = (7, 4, 6)
"""Tokens of each source."""


def accept_pair(session: Session, model: Exportable, stepping: Stepping, precision: Precision) -> None:
    """Follow `STEPS` more tokens of three targets, those that torch thinks likeliest, through the artifact and torch.

    Args:
        session: the exported artifact, opened.
        model: the torch model on whole rows.
        stepping: its steps, whose signatures the artifact has.
        precision: decides what is demanded of all logits together, see `LEAST_DB`.

    Raises:
        TargetError: a program fails, or its logits are too far from the torch model's.
    """
    source, mask = _sources(int(stepping.signature.outputs[0].shape[-1]), model.signature.bounds["sequence"][1])
    targets = np.zeros((len(source), 1), np.int64)
    steps = min(STEPS, model.signature.bounds["sequence"][1] - 1)
    wanted, found = [], []
    feeds: Feeds = {}
    outputs: Feeds = {}
    for number in range(steps + 1):
        try:
            if number == 0:
                encoded = session.infer({"input_ids": source, "attention_mask": mask}, ENCODE)
                feeds = first_of_target(stepping.signature, encoded, mask, targets)
            else:
                feeds = next_feeds(stepping.signature, feeds, outputs, targets[:, -1:])
            outputs = session.infer(feeds, STEP)
        except Exception as fault:
            raise TargetError(f"the exported encoder-decoder fails at step {number}: {told(fault)}") from fault
        wanted.append(_whole(model, source, mask, targets))
        found.append(outputs["logits"][:, -1])
        targets = np.concatenate([targets, wanted[-1].argmax(-1)[:, None]], 1)
    refuse_other_steps("encoder-decoder", wanted, found, precision)


def _sources(vocabulary: int, longest: int) -> tuple[np.ndarray, np.ndarray]:
    """Three sources of different lengths and their mask, int64 `[3, sequence]`."""
    lengths = np.minimum(LENGTHS, longest)[:, None]
    tokens = np.random.default_rng(0).integers(0, vocabulary, (len(lengths), int(lengths.max())))
    mask = (np.arange(tokens.shape[1]) < lengths).astype(np.int64)
    return tokens * mask, mask


def _whole(model: Exportable, source: np.ndarray, mask: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The torch model's logits behind the last token of each target, `[rows, vocabulary]`."""
    width = max(source.shape[1], targets.shape[1])  # sources and targets of whole rows are padded to one length

    def padded(tokens: np.ndarray) -> np.ndarray:
        return np.pad(tokens, [(0, 0), (0, width - tokens.shape[1])])

    feeds = {"input_ids": padded(source), "attention_mask": padded(mask), "decoder_input_ids": padded(targets)}
    (outputs,) = run_torch(model, [feeds])
    logits: np.ndarray = outputs["logits"][:, targets.shape[1] - 1]
    return logits
