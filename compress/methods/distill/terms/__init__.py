"""The terms of the distillation loss: a new one is a file and a line here. Knows no torch.

In a recipe `hidden` and `attention` are the weights of two of them; `terms: {NAME: weight}` names the others.
"""

from __future__ import annotations

TERMS: dict[str, str] = {
    "soft_targets": "edgepress.compress.methods.distill.terms.soft_targets:SoftTargets",
    "hidden": "edgepress.compress.methods.distill.terms.hidden_states:HiddenStates",
    "attention": "edgepress.compress.methods.distill.terms.attention:Attention",
    "cosine": "edgepress.compress.methods.distill.terms.cosine:Cosine",
    "token_relations": "edgepress.compress.methods.distill.terms.token_relations:TokenRelations",
    "distances": "edgepress.compress.methods.distill.terms.relational:Distances",
    "angles": "edgepress.compress.methods.distill.terms.relational:Angles",
    "similarities": "edgepress.compress.methods.distill.terms.similarities:Similarities",
    "target_class": "edgepress.compress.methods.distill.terms.decoupled:TargetClass",
    "other_classes": "edgepress.compress.methods.distill.terms.decoupled:OtherClasses",
}
