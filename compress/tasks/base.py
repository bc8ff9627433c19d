"""A task is a composition: `Task` = `Inputs` x `Outputs` x the class of its network x metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from edgepress.benchmarks.desk import Rows as InputRows
from edgepress.benchmarks.desk import batches as batches
from edgepress.compress.data.rows import Reader, Rows, TruthReader
from edgepress.compress.recipe.data import Data
from edgepress.compress.tasks.inputs.columns import Column
from edgepress.compress.tasks.trial import MAX_BATCH as MAX_BATCH
from edgepress.compress.tasks.trial import Trial, tried
from edgepress.targets.errors import DataError
from edgepress.targets.records import Description, Feeds, Signature, TensorSpec

if TYPE_CHECKING:
    from torch import Tensor, nn


class Features(InputRows, Protocol):
    """Rows as model inputs. Memory is bounded by the tokens or raw images, whatever the batches' padding."""

    digest: str
    """Hex sha256 of everything that a batch is made of."""


class Inputs(Reader, Protocol):
    """One kind of inputs: how rows are read (`Reader`), and what a network is given of them.

    A processor is what prepares raw rows for one model: its tokenizer, or its image pre-processing. It is loaded from
    beside the model, fitted to the recipe, and handed back to every other method. `apply` needs no torch.
    """

    @property
    def sequences(self) -> bool:
        """Whether rows are sequences of up to `data.max_length` tokens; only these are timed at several lengths."""
        ...

    @property
    def needs_tokenizer(self) -> bool:
        """Whether a model that starts from a configuration has to be given `teacher.tokenizer`."""
        ...

    @property
    def example(self) -> str:
        """Training data that a recipe template names where the user has named none."""
        ...

    def load_processor(self, source: str, network: str) -> Any:
        """The processor beside a model.

        Args:
            source: the model's folder or hub id.
            network: the transformers class that will read the model, e.g. AutoModelForImageClassification.

        Raises:
            ModelError: it is missing or cannot be used.
        """
        ...

    def begin_processor(self, config: Mapping[str, Any]) -> Any | None:
        """What the configuration of a teacher that is trained in the run says of its inputs; None where nothing does.

        Args:
            config: the recipe's `teacher.config`.

        Raises:
            ModelError: the task has no such inputs.
        """
        ...

    def fit_processor(self, processor: Any | None, train: Rows, data: Data) -> Any:
        """The processor with what its folder left open taken from the training rows and the recipe.

        Args:
            processor: of the teacher's folder; None for a teacher that starts from a configuration.
            train: the training rows.
            data: the recipe's section.

        Raises:
            ModelError: without a processor there is nothing to start from.
            DataError: the rows leave open what they have to say.
        """
        ...

    def features(self, rows: Rows, processor: Any, data: Data) -> Features:
        """The rows of a split as model inputs.

        Args:
            rows: of this kind of content.
            processor: as `fit_processor` gave it.
            data: the recipe's section, for the lengths.
        """
        ...

    def apply(self, raw: Any, processor: Any, data: Data) -> Feeds:
        """The inputs of one call, made of raw rows as a caller has them, as `features` makes them of a file's.

        Args:
            raw: `Texts`, or images uint8 `[batch, height, width, channels]`.
            processor: a fitted one.
            data: the recipe's section, for the lengths.

        Returns:
            name → array `[batch, ...]`.
        """
        ...

    def trial(self, network: nn.Module, processor: Any, data: Data) -> Trial:
        """The inputs of a network, their bounds, and one row at its largest.

        Args:
            network: a model of the task's class; its configuration and the names of its forward are read.
            processor: as `fit_processor` gave it.
            data: the recipe's section, for the lengths.

        Raises:
            ModelError: processor and network do not belong together.
        """
        ...

    def sample_feeds(self, features: Features, batch: int, sequence: int | None) -> Feeds:
        """Real rows in exactly one shape, for latency; the same ones at every call.

        Args:
            features: where they are taken from.
            batch: how many.
            sequence: tokens of each; None where rows have no length.
        """
        ...

    def describe(self, processor: Any) -> Description:
        """What the processor does to its input, as far as it travels with a model."""
        ...

    def save_processor(self, processor: Any, folder: Path) -> None:
        """Write the files that other tools read it from (tokenizer.json ..., or preprocessor_config.json)."""
        ...

    @property
    def usual_names(self) -> tuple[str, ...]:
        """What people call columns that hold such inputs, in lower case: a column called so is no label."""
        ...

    def guess_columns(self, columns: Mapping[str, Column]) -> Mapping[str, str | list[str]] | None:
        """Which columns of a user's table hold the inputs, by their names and the values of its first rows.

        Args:
            columns: all but the label, by name.

        Returns:
            field of `Columns` → column, or columns; None where no column can be one.
        """
        ...

    def python_feeds(self, specs: Sequence[TensorSpec]) -> tuple[str, str]:
        """What a user types in Python: what to import, and an expression whose value are the feeds of one row."""
        ...


class Outputs(TruthReader, Protocol):
    """One kind of outputs: what the tensors mean that a network gives, and how labels are read (`TruthReader`)."""

    @property
    def classes(self) -> bool:
        """Whether a row has one class of several, so that accuracy by class has a meaning."""
        ...

    @property
    def sampled(self) -> bool:
        """Whether answers are classes, of rows or of tokens, so that a device can compare them with labels."""
        ...

    @property
    def decodes(self) -> bool:
        """Whether an answer is made step by step, each from the outputs of the one before."""
        ...

    @property
    def keeps_likeliest(self) -> bool:
        """Whether only the likeliest outputs of a teacher are kept, since there are too many; see `kept`."""
        ...

    def judged(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Those of the logits that have a label and so are learned, `[..., outputs]`.

        Args:
            logits: of student or teacher, `[batch, ...]`.
            labels: of the batch.
        """
        ...

    def tensors(self, result: Any) -> dict[str, Tensor]:
        """The tensors of a transformers output that are exported, by name."""
        ...

    def specs(self, network: nn.Module, tensors: Mapping[str, Tensor], rows: int) -> tuple[TensorSpec, ...]:
        """What those tensors are for any batch.

        Args:
            network: the model.
            tensors: as `tensors` gave them for a batch of `rows`.
            rows: of that batch.

        Raises:
            ModelError: the network gives outputs of another kind.
        """
        ...

    def labels(self, config: Any) -> tuple[str, ...]:
        """The names of a configuration's classes, in the order of the outputs; empty where there are none."""
        ...

    def template_lines(self) -> tuple[str, ...]:
        """Lines of a recipe's section `data` that say what its labels are."""
        ...

    def names_of(self, config: Any, source: str) -> tuple[str, ...]:
        """The same of a teacher that is used as it is.

        Args:
            config: its transformers configuration.
            source: its folder or hub id, for messages.

        Raises:
            ModelError: it gives outputs of another kind.
        """
        ...

    def head(self, names: Sequence[str]) -> dict[str, Any]:
        """The fields of a configuration whose network gives these outputs.

        Args:
            names: of the outputs, in their order.
        """
        ...

    def answers(self, outputs: np.ndarray) -> np.ndarray:
        """What the model says, `[rows]`, of its outputs `[rows, ...]`."""
        ...

    def truth(self, features: Features) -> np.ndarray:
        """What the answers are compared with, `[rows]`."""
        ...

    def kept(self, logits: Tensor, most: int | None, temperature: float) -> Tensor:
        """What is kept of a teacher's logits for `soft_loss`: all of them, unless they are too many.

        Args:
            logits: `[batch, ...]`.
            most: outputs a place that may be kept; None for all.
            temperature: of the loss that reads them.
        """
        ...

    def loss(self, tensors: Mapping[str, Tensor], truth: Tensor) -> Tensor:
        """The training loss without a teacher, a scalar, of `tensors` of a batch and its truth `[batch, ...]`."""
        ...

    def soft_loss(self, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """How far a student's outputs are from its teacher's, a scalar.

        Args:
            student: its first output, `[batch, ...]`.
            teacher: the teacher's for the same rows.
            temperature: softens probabilities, where the outputs are some (arXiv 1503.02531).
        """
        ...


@dataclass(frozen=True)
class Task:
    """What a model is for. Add one to `TASKS` under its name, and recipes can say it.

    Args:
        name: as recipes, models and reports call it.
        inputs: how rows are read and prepared.
        outputs: what the network's outputs mean.
        network: the transformers class of its models, e.g. `AutoModelForSequenceClassification`.
        metrics: keys of `benchmarks.metrics.METRICS`; the first one is primary unless the recipe's `metric` names
            another.
        unlabelled: whether rows to learn from may lack labels and second texts: a teacher says all there is to learn.
        own_truth: whether rows are their own truth, as texts of which each token follows from those before it: there is
            no column of labels.
        generated: keys of the metrics of texts that an artifact makes by itself, of `benchmark.generated` test rows.
    """

    name: str
    inputs: Inputs
    outputs: Outputs
    network: str
    metrics: tuple[str, ...]
    unlabelled: bool = False
    own_truth: bool = False
    generated: tuple[str, ...] = ()

    def load_processor(self, source: str) -> Any:
        """The processor beside the model `source`, see `Inputs.load_processor`."""
        return self.inputs.load_processor(source, self.network)

    def begin_processor(self, config: Mapping[str, Any]) -> Any | None:
        """See `Inputs.begin_processor`."""
        return self.inputs.begin_processor(config)

    def fit_processor(self, processor: Any | None, train: Rows, data: Data) -> Any:
        """See `Inputs.fit_processor`. Raises DataError for rows of another kind."""
        return self.inputs.fit_processor(processor, self._own(train), data)

    def features(self, rows: Rows, processor: Any, data: Data) -> Features:
        """See `Inputs.features`. Raises DataError for rows of another kind."""
        return self.inputs.features(self._own(rows), processor, data)

    def _own(self, rows: Rows) -> Rows:
        if rows.content != self.inputs.content:
            raise DataError(f"{rows.origin} holds {rows.content}, and the task is {self.name}.")
        return rows

    def signature(self, network: nn.Module, processor: Any, data: Data) -> Signature:
        """Inputs, outputs and bounds of a network, tried once at its largest sequence.

        Args:
            network: a model of the class that the task names.
            processor: a fitted one.
            data: the recipe's section, for the lengths.

        Raises:
            ModelError: the network does not take these inputs, or gives no such outputs.
        """
        trial = self.inputs.trial(network, processor, data)
        tensors = tried(network, trial, self.outputs.tensors)
        outputs = self.outputs.specs(network, tensors, trial.rows)
        return Signature(inputs=trial.inputs, outputs=outputs, bounds=trial.bounds)

    def sample_feeds(self, features: Features, batch: int, sequence: int | None) -> Feeds:
        """See `Inputs.sample_feeds`."""
        return self.inputs.sample_feeds(features, batch, sequence)

    def describe(self, processor: Any) -> Description:
        """See `Inputs.describe`."""
        return self.inputs.describe(processor)

    def save_processor(self, processor: Any, folder: Path) -> None:
        """See `Inputs.save_processor`."""
        self.inputs.save_processor(processor, folder)
