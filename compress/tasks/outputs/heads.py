"""What the heads of transformers' sequence and image classifiers have in common, whatever their outputs mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from edgepress.benchmarks.metrics.base import IGNORED
from edgepress.targets.errors import ModelError
from edgepress.targets.records import TensorSpec

if TYPE_CHECKING:
    from torch import Tensor, nn


def names_in(config: Any) -> tuple[str, ...]:
    """`id2label`, by number; empty where the configuration has none.

    >>> from types import SimpleNamespace
    >>> names_in(SimpleNamespace(id2label={1: "good", 0: "bad"}))
    ('bad', 'good')
    """
    names: dict[int, str] = getattr(config, "id2label", None) or {}
    return tuple(str(names[index]) for index in sorted(names))


def class_names(config: Any, source: str) -> tuple[str, ...]:
    """`id2label` of a classifier.

    Args:
        config: its transformers configuration.
        source: its folder or hub id, for messages.

    Raises:
        ModelError: it is a regression model, which tells no classes apart.
    """
    if config.num_labels == 1 or config.problem_type == "regression":
        raise ModelError(
            f"{source} has one output and tells no classes apart: it is a regression model. "
            f"Give a classifier as teacher."
        )
    return names_in(config)


def whole_logits(network: nn.Module, tensors: Mapping[str, Tensor], rows: int, kind: str) -> tuple[TensorSpec, ...]:
    """`logits`, float32 `[batch, outputs]`.

    Args:
        network: says in `config.num_labels` how many outputs there are.
        tensors: the logits of a batch.
        rows: of that batch.
        kind: what such a network is called, for the message.

    Raises:
        ModelError: the logits are of another shape.
    """
    count = int(network.config.num_labels)  # type: ignore[union-attr,arg-type]
    shape = tuple(tensors["logits"].shape)
    if shape != (rows, count):
        raise ModelError(
            f"{type(network).__name__} gives logits of shape {list(shape)}, not [batch, {count}]: it is no {kind}."
        )
    return (TensorSpec(name="logits", dtype="float32", shape=("batch", count)),)


class LogitsHead:
    """The part of `Outputs` that is the same whatever the logits mean.

    `network_kind`: what such a network is called, for messages. `problem_type`: of transformers' configurations; None
    where transformers finds it out itself.
    """

    network_kind: ClassVar[str] = "classifier"
    problem_type: ClassVar[str | None] = None
    keeps_likeliest: ClassVar[bool] = False
    decodes: ClassVar[bool] = False

    @property
    def sampled(self) -> bool:
        """Whether answers are classes, which a device can compare with labels: of rows, if not said otherwise."""
        return bool(getattr(self, "classes", False))

    def judged(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Those of the logits `[batch, ...]` that have a label: all of them."""
        return logits

    def kept(self, logits: Tensor, most: int | None, temperature: float) -> Tensor:
        """The teacher's logits as they are: a row has few of them."""
        return logits

    def tensors(self, result: Any) -> dict[str, Tensor]:
        """Its `logits`."""
        return {"logits": result.logits}

    def specs(self, network: nn.Module, tensors: Mapping[str, Tensor], rows: int) -> tuple[TensorSpec, ...]:
        """`logits`, float32 `[batch, outputs]`; see `whole_logits` for arguments and errors."""
        return whole_logits(network, tensors, rows, self.network_kind)

    def labels(self, config: Any) -> tuple[str, ...]:
        """`id2label`, by number."""
        return names_in(config)

    def names_of(self, config: Any, source: str) -> tuple[str, ...]:
        """The same of a teacher."""
        return names_in(config)

    def head(self, names: Sequence[str]) -> dict[str, Any]:
        """What a configuration says of such outputs."""
        fields = {"id2label": dict(enumerate(names)), "label2id": {name: number for number, name in enumerate(names)}}
        return fields | ({"problem_type": self.problem_type} if self.problem_type is not None else {})


def judged_tokens(logits: Tensor, labels: Tensor) -> Tensor:
    """The logits of the tokens that are judged, `[tokens, classes]`, row after row.

    Args:
        logits: `[batch, positions, classes]`.
        labels: `[batch, most positions]`, -100 where nothing is judged.
    """
    width = min(logits.shape[1], labels.shape[1])  # no judged token lies beyond it
    return logits[:, :width][labels[:, :width] != IGNORED]


def judged_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Mean cross-entropy over what is judged, in nats; 0 where nothing is.

    Args:
        logits: of what is judged, `[places, classes]`.
        truth: classes of all places, `[batch, ...]`, -100 where nothing is judged.
    """
    from torch.nn.functional import cross_entropy

    return cross_entropy(logits, truth[truth != IGNORED].long(), reduction="sum") / max(1, len(logits))


def soft_judged(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """`soft_classes` of what is judged, `[places, classes]`; 0 where nothing is."""
    return soft_classes(student, teacher, temperature) if len(student) else student.sum()


def soft_classes(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T² * KL(teacher || student) of the softened class probabilities, mean over the batch, in nats.

    Args:
        student: logits `[batch, classes]`.
        teacher: logits `[batch, classes]`.
        temperature: T, which softens both.
    """
    from torch.nn.functional import log_softmax

    own, wanted = (log_softmax(logits / temperature, -1) for logits in (student, teacher))
    return softened_divergence(own, wanted, temperature)


def softened_divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T² * KL(teacher || student), mean over the batch, in nats.

    Args:
        student: logarithms of probabilities that the temperature softened, `[batch, classes]`.
        teacher: the same of the teacher.
        temperature: T.
    """
    from torch.nn.functional import kl_div

    return temperature**2 * kl_div(student, teacher, reduction="batchmean", log_target=True)
