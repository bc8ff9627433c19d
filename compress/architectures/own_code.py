"""A network of the user's own code as transformers' classes know networks, so that every stage takes it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from edgepress.compress.data.handed import ONLY
from edgepress.compress.model.code import network_of
from edgepress.targets.errors import ModelError

ANY = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)


class OwnCodeConfig(PretrainedConfig):  # type: ignore[misc]
    """Where the code lies (`code`, `function`), the digest of its bytes, and `states`: the modules whose outputs are
    the network's hidden states, the first one that of the embedding."""

    model_type = "own-code"

    def __init__(
        self, code: str = "", function: str = "", sha256: str = "", states: Sequence[str] = (), **options: Any
    ) -> None:
        super().__init__(**options)
        self.code, self.function, self.sha256, self.states = code, function, sha256, list(states)


class OwnCode(PreTrainedModel):  # type: ignore[misc]
    """`own(**inputs)` → logits `[batch, classes]`.

    The module gives a tensor, a tuple or list whose first part is the logits, or a mapping or object with `logits`.
    """

    config_class = OwnCodeConfig
    base_model_prefix = "own"

    def __init__(self, config: OwnCodeConfig) -> None:
        """
        Raises:
            ModelError: the code is not allowed or fails, has no module that `states` names, or no float32 weights.
        """
        super().__init__(config)
        self.own = network_of(config.sha256, config.function, config.code)
        # Messages and reports call a network by its class, and the user knows this one by another name.
        self.__class__ = type(type(self.own).__name__, (OwnCode,), {})
        check_weights(self.own)
        names = {name for name, _ in self.own.named_modules()}
        if missing := [name for name in config.states if name not in names]:
            known = ", ".join(sorted(names - {""})[:8])
            raise ModelError(f"states: the network has no module {missing[0]!r}; it has {known}.")
        self._names = _parameters_of(self.own.forward)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """The user's code has initialised them."""

    @property
    def input_names(self) -> frozenset[str] | None:
        """Of the user's forward, and that of an input without a name, which goes to its first place; None where it
        takes any, or one input whatever it is called."""
        return None if self._names is None or len(self._names) == 1 else frozenset((*self._names, ONLY))

    @property
    def own_inputs(self) -> str:
        """The names of the user's forward, for messages."""
        return ", ".join(self._names or ())

    def forward(
        self, output_hidden_states: bool = False, output_attentions: bool = False, **inputs: torch.Tensor
    ) -> SequenceClassifierOutput:
        """Logits, and the outputs of `states` where they are asked for; attention maps it has none to give.

        Args:
            output_hidden_states: whether `states` are asked for.
            output_attentions: changes nothing; whoever asks for maps says that there are none.
            inputs: by the names of the user's forward; a single one goes to its first place whatever it is called.
        """
        if not output_hidden_states or not self.config.states:
            return SequenceClassifierOutput(logits=self._logits(inputs))
        with _collected(self.own, self.config.states) as states:
            logits = self._logits(inputs)
        return SequenceClassifierOutput(logits=logits, hidden_states=tuple(map(states, self.config.states)))

    def _logits(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        if self._names is not None and len(inputs) == 1 and not set(inputs) <= set(self._names):
            return _logits_in(self.own(next(iter(inputs.values()))))
        return _logits_in(self.own(**inputs))


def _parameters_of(forward: Callable[..., Any]) -> list[str] | None:
    """The names that a forward takes; None where it takes any."""
    found = inspect.signature(forward).parameters.values()
    return None if any(one.kind in ANY for one in found) else [one.name for one in found]


def check_weights(network: nn.Module) -> None:
    """Raises ModelError where a network has no weights, or others than float32, from which every precision is made."""
    kind = type(network).__name__
    floats = [(name, value) for name, value in network.named_parameters() if value.is_floating_point()]
    if not floats:
        raise ModelError(
            f"{kind} has no weights, so that there is nothing to make smaller. Give a module that has some."
        )
    for name, value in floats:
        if is_lazy(value):
            raise ModelError(f"{kind}: weight {name!r} has no size yet. Call the module once before, on one row.")
        if value.dtype != torch.float32:
            dtype = str(value.dtype).removeprefix("torch.")
            raise ModelError(f"{kind}: weight {name!r} is {dtype}. Give it in float32: module.float().")


@contextmanager
def _collected(network: nn.Module, names: Sequence[str]) -> Iterator[Callable[[str], torch.Tensor]]:
    """The outputs of modules while the network runs, by their names: of tuples the first part."""
    found: dict[str, Any] = {}

    def keep(name: str) -> Any:
        def hook(_: nn.Module, __: Any, output: Any) -> None:
            found[name] = output[0] if isinstance(output, tuple | list) and output else output

        return hook

    hooks = [network.get_submodule(name).register_forward_hook(keep(name)) for name in names]
    try:
        yield lambda name: _state(name, found.get(name))
    finally:
        for hook in hooks:
            hook.remove()


def _state(name: str, output: Any) -> torch.Tensor:
    """A vector a row is one position.

    Raises:
        ModelError: the module did not run, or gives no such tensor.
    """
    if not isinstance(output, torch.Tensor) or output.ndim not in (2, 3, 4):
        shape = list(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
        got = "does not run in forward" if output is None else f"gives {shape}"
        raise ModelError(
            f"states: {name!r} {got}; a state is [batch, width], [batch, positions, width] or [batch, channels, "
            f"height, width]. Name other modules."
        )
    return output[:, None] if output.ndim == 2 else output


def _logits_in(output: Any) -> torch.Tensor:
    if isinstance(output, torch.Tensor):
        return output
    found = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
    if found is None and isinstance(output, tuple | list) and output:
        found = output[0]
    if not isinstance(found, torch.Tensor):
        raise TypeError(f"forward gives a {type(output).__name__}: it must give logits, alone, first or by that name")
    return found
