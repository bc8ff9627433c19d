"""One class of several for each pixel of a row: logits `[batch, classes, height, width]`, coarser than the picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from edgepress.benchmarks.metrics.base import IGNORED
from edgepress.compress.data.truths.masks import masks_of
from edgepress.compress.tasks.outputs.heads import LogitsHead, class_names, judged_loss, soft_judged
from edgepress.targets.errors import DataError, ModelError
from edgepress.targets.records import TensorSpec

if TYPE_CHECKING:
    from torch import Tensor, nn

    from edgepress.compress.data.rows import Raw
    from edgepress.compress.data.truths.masks import MaskMap
    from edgepress.compress.recipe.data import Data
    from edgepress.compress.tasks.base import Features


@dataclass(frozen=True)
class PixelClasses(LogitsHead):
    """Outputs of a segmenter. Truth are class numbers, int16 `[rows, height, width]`, -100 where nothing is judged.

    Logits are brought to the size of the truth by bilinear interpolation, for losses as for figures: that is how
    transformers' own losses and `post_process_semantic_segmentation` read them.
    """

    network_kind: ClassVar[str] = "semantic segmenter"
    classes: bool = False

    @property
    def sampled(self) -> bool:
        """Classes of pixels are compared on a device."""
        return True

    def template_lines(self) -> tuple[str, ...]:
        """See `Outputs.template_lines`."""
        return ("# labels: [background, road, car]  # names of the masks' numbers, counted from 0",)

    def specs(self, network: nn.Module, tensors: Mapping[str, Tensor], rows: int) -> tuple[TensorSpec, ...]:
        """`logits`, float32 `[batch, classes, height, width]`.

        Args:
            network: says in `config.num_labels` how many classes there are.
            tensors: the logits of a batch.
            rows: of that batch.

        Raises:
            ModelError: the logits are of another shape.
        """
        count = int(network.config.num_labels)  # type: ignore[union-attr,arg-type]
        shape = tuple(tensors["logits"].shape)
        if len(shape) != 4 or shape[:2] != (rows, count):
            raise ModelError(
                f"{type(network).__name__} gives logits of shape {list(shape)}, not [batch, {count}, height, width]: "
                f"it is no {self.network_kind}."
            )
        return (TensorSpec(name="logits", dtype="float32", shape=("batch", *shape[1:])),)

    def names_of(self, config: Any, source: str) -> tuple[str, ...]:
        """The same of a teacher. Raises ModelError for a regression model."""
        return class_names(config, source)

    def truth_of(
        self, raw: Raw, data: Data, names: Sequence[str] | None, model_names: Sequence[str] | None, fine_tuned: bool
    ) -> MaskMap:
        """See `TruthReader.truth_of`."""
        if not isinstance(data.columns.label, str):
            raise DataError(
                f"data.columns.label names {len(data.columns.label)} columns, and a row of this task has one mask. "
                f"Name one column."
            )
        return masks_of(raw.labels, raw.origin, names, model_names, fine_tuned)

    def answers(self, outputs: np.ndarray) -> np.ndarray:
        """The class of the largest logit at each place, int64 `[rows, height, width]`, as coarse as the logits."""
        largest: np.ndarray = outputs.argmax(1)
        return largest

    def truth(self, features: Features) -> np.ndarray:
        """Class numbers of pixels, `[rows, height, width]`."""
        return features.labels

    def judged(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The logits of the judged pixels, `[pixels, classes]`, row after row.

        Args:
            logits: `[batch, classes, height, width]` of any height and width.
            labels: `[batch, height, width]`.
        """
        from torch.nn.functional import interpolate

        fine = interpolate(logits, labels.shape[-2:], mode="bilinear", align_corners=False)
        return fine.permute(0, 2, 3, 1)[labels != IGNORED]

    def loss(self, tensors: Mapping[str, Tensor], truth: Tensor) -> Tensor:
        """Mean cross-entropy over the judged pixels of logits `[batch, classes, height, width]` with classes
        `[batch, height, width]`, in nats; 0 where no pixel is judged."""
        return judged_loss(self.judged(tensors["logits"].float(), truth), truth)

    def soft_loss(self, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """T² * KL(teacher || student) of the softened class probabilities, mean over the pixels, in nats.

        Args:
            student: logits of pixels `[pixels, classes]`.
            teacher: the same of the teacher.
            temperature: T, which softens both.
        """
        return soft_judged(student, teacher, temperature)
