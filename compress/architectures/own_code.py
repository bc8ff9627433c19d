"""A network of the user's own code as transformers' classes know networks, so that every stage takes it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

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
            ModelError: the code is not allowed or fails, or has no module that `states` names.
        """
        super().__init__(config)
        self.own = network_of(config.sha256, config.function, config.code)
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
        """Of the user's forward; None where it takes any, or one input whatever it is called."""
        return None if self._names is None or len(self._names) == 1 else frozenset(self._names)

    def forward(self, output_hidden_states: bool = False, **inputs: torch.Tensor) -> SequenceClassifierOutput:
        """Logits, and the outputs of `states` where they are asked for."""
        names = self.config.states
        if not output_hidden_states or not names:
            return SequenceClassifierOutput(logits=self._logits(inputs))
        with _collected(self.own, names) as states:
            logits = self._logits(inputs)
        return SequenceClassifierOutput(logits=logits, hidden_states=tuple(states[name] for name in names))

    def _logits(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        if self._names is not None and len(self._names) == len(inputs) == 1:
            return _logits_in(self.own(next(iter(inputs.values()))))
        return _logits_in(self.own(**inputs))


def _parameters_of(forward: Callable[..., Any]) -> list[str] | None:
    """The names that a forward takes; None where it takes any."""
    found = inspect.signature(forward).parameters.values()
    return None if any(one.kind in ANY for one in found) else [one.name for one in found]


@contextmanager
def _collected(network: nn.Module, names: Sequence[str]) -> Iterator[dict[str, torch.Tensor]]:
    """The outputs of modules while the network runs, by their names."""
    found: dict[str, torch.Tensor] = {}

    def keep(name: str) -> Any:
        def hook(_: nn.Module, __: Any, output: Any) -> None:
            found[name] = output[0] if isinstance(output, tuple | list) else output

        return hook

    hooks = [network.get_submodule(name).register_forward_hook(keep(name)) for name in names]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def _logits_in(output: Any) -> torch.Tensor:
    if isinstance(output, torch.Tensor):
        return output
    found = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
    if found is None and isinstance(output, tuple | list) and output:
        found = output[0]
    if not isinstance(found, torch.Tensor):
        raise TypeError(f"forward gives a {type(output).__name__}: it must give logits, alone, first or by that name")
    return found
