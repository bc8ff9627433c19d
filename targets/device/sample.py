"""The rows that a release carries for accuracy on the device, checked against the model's signature."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..errors import ArtifactError, told
from ..preprocess.bilinear import interpolated
from .needs import ArtifactFacts, Feeds
from .release import RELEASE, SAMPLE

# Where each new length costs a compilation, rows are padded to a multiple of this; the mask hides the padding.
PADDED_TO = 32
# The label of tokens that no word begins with, of padding, and of pixels that are not compared.
IGNORED = -100


def read_sample(artifact: ArtifactFacts) -> dict[str, np.ndarray]:
    """`labels` (of tokens one at each position, of maps one for each pixel), `teacher` (logits) and `widths`, one for
    each row; of each input its rows as `input:<name>`, sequences one behind the other."""
    try:
        with np.load(RELEASE / SAMPLE, allow_pickle=False) as archive:
            sample = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, zipfile.BadZipFile) as fault:
        raise ArtifactError(f"{RELEASE / SAMPLE} cannot be read: {told(fault)}. Copy the release again.") from None
    if (wrong := misfit(sample, artifact)) is not None:
        raise ArtifactError(f"{RELEASE / SAMPLE} does not fit the model: {wrong}. Package the release again.")
    return sample


def misfit(sample: dict[str, np.ndarray], artifact: ArtifactFacts) -> str | None:
    """What does not fit the artifact's signature; None where all does."""
    for name in ("labels", "teacher", "widths"):
        if name not in sample:
            return f"it has no {name!r}"
    labels, teacher, widths = (sample[name] for name in ("labels", "teacher", "widths"))
    maps = teacher.ndim == 4 and labels.ndim == 3  # whose logits are coarser than the labels
    if teacher.ndim > 2 and not maps and teacher.shape[:-1] != labels.shape:
        return f"labels {list(labels.shape)}, logits of the teacher {list(teacher.shape)}"
    if not len(labels) or len(teacher) != len(labels) or len(widths) != len(labels):
        return f"{len(labels)} labels, {len(teacher)} rows of the teacher, {len(widths)} widths"
    signature = artifact["programs"]["main"]
    found = [misfit_of(sample, spec, signature["bounds"]) for spec in signature["inputs"]]
    return next((fault for fault in found if fault is not None), None)


def misfit_of(sample: dict[str, np.ndarray], spec: dict[str, Any], bounds: dict[str, list[int]]) -> str | None:
    """The same for one input."""
    values, widths = sample.get("input:" + spec["name"]), sample["widths"]
    want = f"{spec['dtype']}[{', '.join(map(str, spec['shape']))}]"
    if values is None:
        return f"input {spec['name']!r} is missing, the model takes {want}"
    long = "sequence" in spec["shape"]
    shape = (int(widths.sum()),) if long else (len(widths), *spec["shape"][1:])
    if str(values.dtype) != spec["dtype"] or values.shape != shape:
        return f"input {spec['name']!r} must be {want}, got {values.dtype}{list(values.shape)} for {len(widths)} rows"
    low, high = bounds["sequence"] if long else (0, 0)
    if widths.min() < low or (long and widths.max() > high):
        return f"its rows have {widths.min()} to {widths.max()} tokens, the model takes {low} to {high}"
    return None


def compared(sample: dict[str, np.ndarray]) -> tuple[list[int], list[int]]:
    """The labels, and the teacher's classes: one of each row, or of each word or pixel that is judged, in order."""
    rows = list(zip(sample["labels"], sample["teacher"]))  # noqa: B905 (Python 3.9 has no strict)
    labels = [number for row, _ in rows for number in judged(row, row)]
    return labels, [number for row, logits in rows for number in judged(said_of(logits, row), row)]


def said_of(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The class of the largest logit: a number of one row's `[classes]`, one at each of `[positions, classes]`; of a
    map `[classes, height, width]` one for each pixel of `labels` `[height, width]`, to whose size it is brought.

    >>> said_of(np.array([[[2.0, 0.0]], [[1.0, 1.0]]]), np.zeros((1, 4))).tolist()
    [[0, 0, 1, 1]]
    """
    maps = logits.ndim == 3
    said: np.ndarray = interpolated(logits, labels.shape).argmax(0) if maps else logits.argmax(-1)
    return said


def judged(said: np.ndarray, labels: np.ndarray) -> list[int]:
    """The classes that are judged of one row's.

    Args:
        said: the class, a number; or that of each token, int `[positions]`, or pixel, int `[height, width]`.
        labels: of the row; of tokens int `[longest]`, of pixels `[height, width]`; -100 where nothing is judged.

    >>> judged(np.array(3), np.array(1)), judged(np.array([5, 6, 7]), np.array([-100, 2, -100, -100]))
    ([3], [6])
    """
    if labels.ndim == 0:
        return [int(said)]
    said, labels = said.ravel(), labels.ravel()
    width = min(len(said), len(labels))
    kept: list[int] = said[:width][labels[:width] != IGNORED].tolist()
    return kept


def sample_rows(sample: dict[str, np.ndarray], artifact: ArtifactFacts, compiles: bool) -> Iterator[Feeds]:
    """Each row of the sample as a batch of one, as long as it is."""
    signature = artifact["programs"]["main"]
    masked = any(spec["name"] == "attention_mask" for spec in signature["inputs"])
    ends = np.cumsum(sample["widths"])
    for row, end in enumerate(ends):
        feeds = {}
        for spec in signature["inputs"]:
            values = sample["input:" + spec["name"]]
            if "sequence" not in spec["shape"]:
                feeds[spec["name"]] = values[row : row + 1]
                continue
            width = int(sample["widths"][row])
            longest = min(-(-width // PADDED_TO) * PADDED_TO, signature["bounds"]["sequence"][1])
            more = max(0, longest - width) if compiles and masked else 0
            feeds[spec["name"]] = np.pad(values[end - width : end], (0, more))[None]
        yield feeds
