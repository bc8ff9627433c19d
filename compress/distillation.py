"""Knowledge distillation: the student learns the teacher's logits, hidden states and attention.

References: arXiv 1503.02531 (softened logits), 1909.10351 (hidden states and attention through a layer map).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional as F

from compress.epochs import History
from compress.feeding import TeacherOutputs
from compress.half_speed import settled
from compress.model import Model
from compress.recipe import Distill
from compress.teacher_cache import TeacherCache, Wanted, as_tokens
from compress.training import fit
from targets.errors import StageError

if TYPE_CHECKING:
    from compress.stages import Context


def distillation_loss(
    student: torch.Tensor, teacher: torch.Tensor, labels: torch.Tensor, temperature: float, alpha: float
) -> torch.Tensor:
    """(1 - alpha) * cross-entropy + alpha * T² * KL(teacher_T || student_T), mean over the batch, in nats.

    T² keeps the soft part's gradients of the same size whatever the temperature (arXiv 1503.02531, section 2).

    Args:
        student: logits `[batch, classes]`.
        teacher: logits `[batch, classes]`.
        labels: `[batch]`, int64.

    >>> student, teacher = torch.tensor([[0.0, 0.0]]), torch.tensor([[2.0, 0.0]])
    >>> round(distillation_loss(student, teacher, torch.tensor([0]), temperature=2.0, alpha=1.0).item(), 4)
    0.4438
    """
    soft = F.kl_div(
        F.log_softmax(student / temperature, -1),
        F.log_softmax(teacher / temperature, -1),
        reduction="batchmean",
        log_target=True,
    )
    return (1 - alpha) * F.cross_entropy(student, labels) + alpha * temperature**2 * soft


def masked_mse(student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Mean squared difference of hidden states `[batch, tokens, hidden]` over the tokens where `mask` is 1."""
    squares = (student - teacher).pow(2).mean(-1)
    if mask is None:
        return squares.mean()
    return (squares * mask).sum() / mask.sum()


def attention_divergence(student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """KL(teacher || student) of attention distributions `[batch, tokens, tokens]`, averaged over the heads beforehand
    (so head counts may differ) and over the query tokens where `mask` is 1. In nats."""
    tiny = 1e-8
    divergence = (teacher * ((teacher + tiny).log() - (student + tiny).log())).sum(-1)
    if mask is None:
        return divergence.mean()
    return (divergence * mask).sum() / mask.sum()


class DistillationObjective(nn.Module):
    """The whole loss. Where student and teacher differ in width, a learned projection stands between (TinyBERT's W_h);
    it is thrown away with the objective. `layers`: the student's hidden states to compare, 0 the embedding."""

    def __init__(self, options: Distill, layers: Sequence[int], widths: Sequence[tuple[int, int]]) -> None:
        super().__init__()
        self.options = options
        self.layers = tuple(layers)
        self.attention_layers = tuple(layer for layer in layers if layer)
        self.projections = nn.ModuleList(
            nn.Linear(own, wanted) if own != wanted else nn.Identity() for own, wanted in widths
        )
        self.outputs: Mapping[str, bool] = {}
        if options.hidden:
            self.outputs = {"output_hidden_states": True}
        if options.attention:
            self.outputs = {**self.outputs, "output_attentions": True}

    def forward(self, output: Any, labels: torch.Tensor, teacher: TeacherOutputs, mask: torch.Tensor | None) -> Any:
        options = self.options
        loss = distillation_loss(
            output.logits.float(), teacher["logits"].float(), labels, options.temperature, options.alpha
        )
        if options.hidden:
            for layer, projection, wanted in zip(self.layers, self.projections, teacher["hidden"], strict=True):
                own = projection(as_tokens(output.hidden_states[layer])).float()
                loss = loss + options.hidden / len(self.projections) * masked_mse(own, wanted.float(), mask)
        if options.attention:
            for layer, wanted in zip(self.attention_layers, teacher["attention"], strict=True):
                own = output.attentions[layer - 1].float().mean(1)
                loss = loss + options.attention / len(self.attention_layers) * attention_divergence(
                    own, wanted.float(), mask
                )
        return loss


def layer_map(student_depth: int, teacher_depth: int, given: Sequence[int] | None) -> tuple[tuple[int, int], ...]:
    """Pairs (student layer, teacher layer), both counted from 1 as in `hidden_states`; 0 is the embedding.

    Without `given` (teacher layers from 0, one a student layer) they are spaced evenly and the last ones meet.

    >>> layer_map(3, 6, None)
    ((1, 2), (2, 4), (3, 6))

    Raises:
        StageError: the map's length or an index does not fit.
    """
    if given is None:
        return tuple((i, max(1, round(i * teacher_depth / student_depth))) for i in range(1, student_depth + 1))
    if len(given) != student_depth or max(given) >= teacher_depth:
        raise StageError(
            f"distill.layer_map is {list(given)}; it needs {student_depth} teacher layers (one for each layer of the "
            f"student), each between 0 and {teacher_depth - 1}"
        )
    return tuple((i, layer + 1) for i, layer in enumerate(given, 1))


@torch.inference_mode()
def _probe(model: Model, context: Context) -> list[tuple[int, int]]:
    """(tokens, width) of each hidden state, embedding first, for one real row."""
    feeds = {n: torch.from_numpy(value) for n, value in model.signature.select(context.train.batch([0])).items()}
    states = model.network.eval()(**feeds, output_hidden_states=True).hidden_states
    if states is None:
        raise StageError("distill: this architecture gives no hidden states; set hidden and attention to 0")
    shapes = [as_tokens(state).shape for state in states]
    return [(shape[1], shape[2]) for shape in shapes]


def _pairs(student: Model, options: Distill, context: Context) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """The layer map as pairs, the embeddings first, and for each pair the widths (student, teacher).

    Raises:
        StageError: two states that are to be compared have another number of positions.
    """
    if not options.hidden and not options.attention:
        return [], []
    own, wanted = _probe(student, context), _probe(context.teacher, context)
    given = options.layer_map if options.layer_map is not None else context.kept_layers
    if given is not None and len(given) != len(own) - 1 and options.layer_map is None:
        given = None
    pairs = [(0, 0), *layer_map(len(own) - 1, len(wanted) - 1, given)]
    if own[0][0] != wanted[0][0]:
        del pairs[0]  # images cut into other patches: there is no embedding to compare
    for mine, theirs in pairs:
        if own[mine][0] != wanted[theirs][0]:
            raise StageError(
                f"distill: hidden state {mine} of the student has {own[mine][0]} positions, state {theirs} of the "
                f"teacher has {wanted[theirs][0]}. Set distill.layer_map to layers of equal size, or hidden to 0."
            )
    return pairs, [(own[mine][1], wanted[theirs][1]) for mine, theirs in pairs]


def distill(
    model: Model, options: Distill, context: Context, title: str = "distill"
) -> tuple[Model, dict[str, object]]:
    """Train `model` (the student) to follow `context.teacher`; returns it and what the report says of the training."""
    pairs, widths = _pairs(model, options, context)
    training = settled(options.training)
    wanted = Wanted(
        hidden=tuple(theirs for _, theirs in pairs) if options.hidden else (),
        attention=tuple(theirs for mine, theirs in pairs if mine) if options.attention else (),
        precision="bf16" if training.precision == "bf16" else "fp32",
    )
    cache = TeacherCache.open(context.cache_folder, context.teacher, context.train, wanted, context.console)
    torch.manual_seed(context.seed)
    objective = DistillationObjective(options, [mine for mine, _ in pairs], widths)
    trained, history = fit(
        model, context.train, context.validation, training, context.scratch / "student", context.console,
        context.title(title), context.seed, objective, cache.rows,
    )  # fmt: skip
    details: dict[str, object] = {
        "epochs": [epoch.model_dump() for epoch in history.epochs],
        "steps": history.steps,
        "precision": history.precision,
        "layer_map": pairs,
        "teacher_rows_per_second": round(cache.card.rows_per_second, 1),
        "teacher_cache_bytes": cache.card.bytes,
    }
    summary = (
        f"T={options.temperature:g}, alpha={options.alpha:g}, {history.steps} steps, best epoch {history.best:.4f}"
    )
    return trained.after(title, summary), details


def train_control(model: Model, options: Distill, context: Context) -> tuple[Model, History]:
    """The control arm: the same student, the same steps, batches and seed, but labels alone."""
    trained, history = fit(
        model, context.train, context.validation, options.training, context.scratch / "control", context.console,
        context.title("control (no teacher)"), context.seed,
    )  # fmt: skip
    return trained.after("control", f"labels only, {history.steps} steps"), history
