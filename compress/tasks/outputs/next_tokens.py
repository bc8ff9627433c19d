"""The token that comes next: logits `[batch, positions, vocabulary]`, judged where a row says that one follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from edgepress.compress.data.truths.following import Following
from edgepress.compress.tasks.outputs.heads import LogitsHead, judged_loss, judged_tokens
from edgepress.targets.errors import DataError, ModelError
from edgepress.targets.records import TensorSpec

if TYPE_CHECKING:
    from torch import Tensor, nn

    from edgepress.compress.data.rows import Raw
    from edgepress.compress.recipe.data import Data
    from edgepress.compress.tasks.base import Features


@dataclass(frozen=True)
class NextTokens(LogitsHead):
    """Outputs of a decoder. Truth are the tokens that follow, int64 `[rows, positions]`, -100 where nothing is judged:
    padding, prompts, and what no token follows.

    What is kept of a teacher are its likeliest tokens, their probabilities and the mass of all others: whole logits of
    a million tokens over a vocabulary of 50,000 would take 200 GB.
    """

    network_kind: ClassVar[str] = "causal language model"
    rows: ClassVar[str] = "texts to go on with"
    keeps_likeliest: ClassVar[bool] = True
    decodes: ClassVar[bool] = True
    classes: bool = False

    @property
    def sampled(self) -> bool:
        """No rows travel: what a device would answer is text."""
        return False

    def template_lines(self) -> tuple[str, ...]:
        """Nothing: the rows are their own truth."""
        return ()

    def specs(self, network: nn.Module, tensors: Mapping[str, Tensor], rows: int) -> tuple[TensorSpec, ...]:
        """`logits`, float32 `[batch, sequence, vocabulary]`.

        Args:
            network: the model.
            tensors: the logits of a batch.
            rows: of that batch.

        Raises:
            ModelError: the logits are of another shape.
        """
        shape = tuple(tensors["logits"].shape)
        if len(shape) != 3 or shape[0] != rows:
            raise ModelError(
                f"{type(network).__name__} gives logits of shape {list(shape)}, not [batch, positions, vocabulary]: it "
                f"is no {self.network_kind}."
            )
        return (TensorSpec(name="logits", dtype="float32", shape=("batch", "sequence", shape[2])),)

    def labels(self, config: Any) -> tuple[str, ...]:
        """None: the tokenizer knows what tokens are called."""
        return ()

    def names_of(self, config: Any, source: str) -> tuple[str, ...]:
        """None, of any decoder."""
        return ()

    def head(self, names: Sequence[str]) -> dict[str, Any]:
        """Nothing: the vocabulary says it all."""
        return {}

    def truth_of(
        self, raw: Raw, data: Data, names: Sequence[str] | None, model_names: Sequence[str] | None, fine_tuned: bool
    ) -> Following:
        """See `TruthReader.truth_of`. Raises DataError where the recipe names labels."""
        if data.labels is not None:
            raise DataError(f"{self.rows} have no labels: leave data.labels out.")
        return Following()

    def truth(self, features: Features) -> np.ndarray:
        """The tokens that follow, `[rows, positions]`."""
        return features.labels

    def judged(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The logits of the tokens that are judged, `[tokens, vocabulary]`; see `judged_tokens`."""
        return judged_tokens(logits, labels)

    def loss(self, tensors: Mapping[str, Tensor], truth: Tensor) -> Tensor:
        """Mean cross-entropy over the judged tokens, in nats; see `judged_loss`."""
        return judged_loss(self.judged(tensors["logits"].float(), truth), truth)

    def answers(self, outputs: np.ndarray) -> np.ndarray:
        """The likeliest token of each position, of answers as `metrics.next_tokens.scored` keeps them."""
        likeliest: np.ndarray = outputs[..., 1]
        return likeliest

    def kept(self, logits: Tensor, most: int | None, temperature: float) -> Tensor:
        """What is kept of a teacher's logits, `[..., 2 k + 1]`: the k likeliest tokens, their probabilities, and the
        mass of all others, softened by the temperature (which makes another distribution of them, with another mass).

        Args:
            logits: `[..., vocabulary]`.
            most: k; None, or more than there are, keeps every token, which is exact.
            temperature: T, by which the logits are divided.
        """
        import torch

        count = min(most or logits.shape[-1], logits.shape[-1])
        likeliest, places = torch.softmax(logits / temperature, -1).topk(count, -1)
        rest = (1 - likeliest.sum(-1, keepdim=True)).clamp(0, 1)
        return torch.cat([places.to(likeliest.dtype), likeliest, rest], -1)

    def soft_loss(self, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """T² * KL(teacher || student) over the teacher's k likeliest tokens and one bin of all others, mean over the
        judged tokens, in nats. The bin makes it a bound from below of the whole divergence (the data processing
        inequality): how the rest is spread is not learned. With k = vocabulary it is the whole divergence.

        Args:
            student: logits of judged tokens `[tokens, vocabulary]`.
            teacher: as `kept` gave them with the same temperature, `[tokens, 2 k + 1]`.
            temperature: T, which softens both.
        """
        import torch

        if not len(student):
            return student.sum()
        count = teacher.shape[-1] // 2
        places, wanted, rest = teacher[:, :count].long(), teacher[:, count : 2 * count], teacher[:, -1]
        own = torch.log_softmax(student / temperature, -1).gather(-1, places)
        divergence = torch.special.entr(wanted).neg().sum(-1) - (wanted * own).sum(-1)
        if count < student.shape[-1]:
            # log(1 - mass) of the student, kept finite where its own kept tokens have all of it
            others = torch.log1p(-own.exp().sum(-1).clamp(max=1 - 1e-6))
            divergence = divergence - torch.special.entr(rest) - rest * others
        found: Tensor = temperature**2 * divergence.mean()
        return found


@dataclass(frozen=True)
class TargetTokens(NextTokens):
    """The same of an encoder-decoder: truth are the tokens of the target, each of which follows from the source and
    from those before it; -100 behind the last."""

    network_kind: ClassVar[str] = "encoder-decoder"
    rows: ClassVar[str] = "sources and targets"
