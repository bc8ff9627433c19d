"""Images, each with a mask that says the class of its pixels: both are resized and cropped together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgepress.compress.data.rows import MASKED, Kind, Raw, Rows
from edgepress.compress.data.truths.mask_files import masked_pictures
from edgepress.compress.recipe.data import Columns, Data
from edgepress.compress.tasks.inputs.image import ImageFeatures, ImageInputs
from edgepress.targets.errors import ModelError
from edgepress.targets.preprocess.pixels import Preprocessing

REDUCED = "do_reduce_labels"


@dataclass(frozen=True)
class MaskedInputs(ImageInputs):
    """`pixel_values` as of any images. Labels are int16 `[rows, height, width]`, at the size that the network sees."""

    content: str = MASKED
    kinds: frozenset[Kind] = frozenset({"npz", "table", "hub"})
    example: str = "train.jsonl"

    def read(self, table: Mapping[str, Sequence[Any]], names: Columns, folder: Path, origin: str) -> Raw:
        """Paths or encoded files of two columns; masks are decoded at once and stay in memory, a byte a pixel.

        Args:
            table: the columns.
            names: which one is which; the masks' is the label's.
            folder: what paths are relative to.
            origin: names the table in messages.

        Raises:
            DataError: a file is missing or damaged, or a mask has another size than its picture.
        """
        return masked_pictures(table[names.image], table[names.labels[0]], folder, origin)

    def load_processor(self, source: str, network: str) -> Preprocessing:
        """As `ImageInputs.load_processor`.

        Args:
            source: a folder or hub id.
            network: the transformers class that reads the model.

        Raises:
            ModelError: a file asks for what is not known here, or counts the classes of masks from 1.
        """
        found = super().load_processor(source, network)
        if found.saved is not None and f'"{REDUCED}": true' in found.saved:
            raise ModelError(
                f"{source} counts the classes of masks from 1 ({REDUCED} in preprocessor_config.json). Write masks "
                f"whose numbers are the model's, from 0 and 255 where nothing is judged, and set {REDUCED} to false."
            )
        return found

    def features(self, rows: Rows, processor: Any, data: Data) -> ImageFeatures:
        """The rows' raw images, how they are prepared, and their masks brought to the same size."""
        assert rows.images is not None  # Task hands over rows of its own kind
        labels = np.stack([processor.placed(mask) for mask in rows.labels])
        return ImageFeatures(rows.images, labels, processor)
