"""What a method is: options, a plan that can be printed, a new model, and a promise that the pipeline judges.

A method's file says its options and itself, and imports torch inside its functions: reading a recipe loads every
method that it names, and no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from edgepress.compress.recipe.methods import HasOptions, find
from edgepress.compress.recipe.sections import StageOptions
from edgepress.targets.records import Record

if TYPE_CHECKING:
    from edgepress.compress.methods.data import Data, Run
    from edgepress.compress.model.model import Model
    from edgepress.compress.training.hooks import Hook

Amount = Literal["macs", "parameters", "bytes", "zstd_bytes"]


class Promise(Record):
    """What a method says of the figures before and after it; whatever it does not name may become what it likes.

    Args:
        max_drop: by how much accuracy may fall, as a share of 1; None: not at all, it is there to raise it.
        falls: of these figures at least one must fall.
        keeps_latency: whether no timed shape may become slower.
        keeps_zeros: whether the exported file holds each zero that the model's weights have.
    """

    max_drop: float | None
    falls: tuple[Amount, ...] = ()
    keeps_latency: bool = False
    keeps_zeros: bool = False


class Plan(Protocol):
    """All decisions of a method, as data: nothing has been changed yet."""

    @property
    def changes(self) -> bool:
        """Whether there is anything to do."""
        ...

    def describe(self) -> str:
        """The plan in lines, for the report."""
        ...


@dataclass(frozen=True)
class Applied:
    """What a method made.

    Args:
        model: a new model; the one before is as it was.
        details: what the report says about how it came to be, as plain JSON values.
        control: the control arm, where one was asked for.
        hooks: what the method does while the recovery trains, where it works in that training.
        finish: what it makes of the model after the recovery, with details and complaints of its own; None: the model
            as it is.
        complaints: what the method found itself that its promise did not keep, in words.
    """

    model: Model
    details: Mapping[str, object] = field(default_factory=dict)
    control: Model | None = None
    hooks: tuple[Hook, ...] = ()
    finish: Callable[[Model], Applied] | None = None
    complaints: tuple[str, ...] = ()


class Method(HasOptions, Protocol):
    """One way to change a model. `Any`: the options and plans are those of the method itself."""

    def plan(self, model: Model, options: Any, data: Data) -> Plan:
        """Decide, and change nothing.

        Raises:
            StageError: the model has none of what the method works on, or the options ask for too much.
        """
        ...

    def apply(self, model: Model, plan: Any, data: Data, run: Run) -> Applied:
        """Do what `plan` says to a copy of `model`."""
        ...

    def promise(self, options: Any) -> Promise:
        """What must hold of the figures before and after."""
        ...


def method_of(options: StageOptions) -> Method:
    """The method that these options are of."""
    return find(options.kind, options.method)  # type: ignore[return-value]  # those of artifacts are not run by this
