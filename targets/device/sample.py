"""The rows that a release carries for accuracy on the device, checked against the model's signature."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..errors import ArtifactError, told
from .needs import ArtifactFacts, Feeds
from .release import RELEASE, SAMPLE

# Where each new length costs a compilation, rows are padded to a multiple of this; the mask hides the padding.
PADDED_TO = 32


def read_sample(artifact: ArtifactFacts) -> dict[str, np.ndarray]:
    """`labels`, `teacher` (logits) and `widths`, one for each row; of each input its rows as `input:<name>`, sequences
    one behind the other."""
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
    if not len(labels) or len(teacher) != len(labels) or len(widths) != len(labels):
        return f"{len(labels)} labels, {len(teacher)} rows of the teacher, {len(widths)} widths"
    signature = artifact["signature"]
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


def sample_rows(sample: dict[str, np.ndarray], artifact: ArtifactFacts, compiles: bool) -> Iterator[Feeds]:
    """Each row of the sample as a batch of one, as long as it is."""
    signature = artifact["signature"]
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
