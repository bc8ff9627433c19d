"""What a torch module gives, by the names of its signature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgepress.targets.errors import TargetError

if TYPE_CHECKING:
    import torch


def by_name(given: Any, names: Sequence[str]) -> dict[str, torch.Tensor]:
    """The outputs of one call.

    Args:
        given: a tensor, several in the order of `names`, or a mapping that has the names.
        names: of the signature's outputs.

    Raises:
        TargetError: they are more or fewer than the names.
    """
    if isinstance(given, Mapping):
        values = [given[name] for name in names if name in given]
    else:
        values = list(given) if isinstance(given, tuple | list) else [given]
    if len(values) != len(names):
        raise TargetError(
            f"the model gives {len(values)} outputs, and its signature names {len(names)}: "
            f"{', '.join(names) or 'none'}. Name each one."
        )
    return dict(zip(names, values, strict=True))
