"""The terms of the distillation loss: a new one is a file and a line here. Knows no torch before one is asked for.

In a recipe `hidden` and `attention` are the weights of two of them; `terms: {NAME: weight}` names the others.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgepress.compress.methods.distill.terms.base import Term

TERMS: dict[str, str] = {
    "soft_targets": "edgepress.compress.methods.distill.terms.soft_targets:SoftTargets",
    "hidden": "edgepress.compress.methods.distill.terms.hidden_states:HiddenStates",
    "attention": "edgepress.compress.methods.distill.terms.attention:Attention",
}


def find_term(name: str) -> type[Term]:
    """The class of a term; KeyError where `TERMS` has none of that name."""
    module, _, attribute = TERMS[name].partition(":")
    found: type[Term] = getattr(import_module(module), attribute)
    return found
