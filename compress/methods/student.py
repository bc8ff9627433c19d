"""The student: derived from the teacher's own weights, or another architecture."""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from edgepress.compress.methods.factorize.options import Factorize
from edgepress.compress.methods.factorize.svd import apply_ranks, plan_ranks
from edgepress.compress.methods.prune.structured import PruningPlan, apply_pruning, plan_sizes
from edgepress.compress.model.edits import Edit, apply_edits
from edgepress.compress.model.model import Model, network_from_config
from edgepress.compress.model.own import own_network
from edgepress.compress.model.padding import START, adopt_padding
from edgepress.compress.network.adapt import Fit, adapt
from edgepress.compress.network.blocks import ffn_groups, head_groups, residual_group
from edgepress.compress.network.layer_count import (
    check_fit,
    decoder_list,
    fitting,
    layer_list,
    refuse_stages,
    set_decoder_count,
    set_layer_count,
    spread,
)
from edgepress.compress.network.probing import probe_logits
from edgepress.compress.network.slicing import Group
from edgepress.compress.network.spectra import factorizable
from edgepress.compress.recipe.recipe import Student
from edgepress.compress.recipe.sections import Importance
from edgepress.compress.tasks import load_task
from edgepress.compress.tasks.trial import takes
from edgepress.targets.errors import EdgepressError, ModelError, told
from edgepress.targets.records import Feeds


def derive_student(
    teacher: Model,
    options: Student,
    seed: int,
    calibration: Sequence[Feeds],
    labels: Sequence[np.ndarray],
    tell: Callable[[tuple[Fit, ...]], None] = lambda _: None,
) -> Model:
    """The student of a recipe. With no options: a copy of the teacher.

    Teacher-derived sizes are applied in the order layers (DistilBERT, arXiv 1910.01108), heads and ffn (the most
    important), hidden (Minitron, arXiv 2407.14679), embedding_rank (ALBERT, arXiv 1909.11942). Of another architecture,
    weights that do not come with it are random under `seed`.

    Args:
        calibration: calibration batches, each `{input: array}`; read to score units, to weight the words of an
            embedding, and to see that another architecture takes the data.
        labels: int class labels `[batch]`, one array for each batch.
        tell: hears what each weight of `init: adapt` starts from.

    Raises:
        ModelError: the teacher cannot be reduced as asked, or the other architecture does not fit its data.
    """
    if options.config is not None or options.model is not None or options.code is not None:
        return _other(teacher, options, seed, calibration, tell)
    model = teacher.copy()
    try:
        if options.layers is not None:
            model = keep_layers(model, options.layers)
        if options.decoder_layers is not None:
            model = keep_decoder_layers(model, options.decoder_layers)
        for kind, groups in (("heads", head_groups), ("ffn", ffn_groups)):
            if (size := getattr(options, kind)) is not None:
                plan = _narrow(model, kind, groups(model.network), size, options.importance, calibration, labels)
                model = apply_pruning(model, plan, "student")
        if options.hidden is not None:
            model = _reduce_hidden(model, options.hidden, calibration, labels)
        if options.embedding_rank is not None:
            model = _factorize_words(model, options.embedding_rank, calibration)
    except ModelError:
        raise
    except EdgepressError as fault:
        raise ModelError(f"student: {fault}") from fault
    if model.edits != teacher.edits or (options.layers, options.decoder_layers) != (None, None):
        check_rebuild(model)
    return model


def keep_layers(model: Model, layers: int | tuple[int, ...]) -> Model:
    """A model of some blocks only, of an encoder-decoder its encoder's: a count keeps the last of each of so many even
    spans (3 of 6: 1, 3, 5).

    Raises:
        ModelError: the network has no list of equal blocks, or too few of them.
    """
    name = layer_list(model.network)
    if name is None:
        raise ModelError(
            f"student.layers: {type(model.network).__name__} has no list of equal blocks to choose from; "
            f"give a smaller architecture in `student.config`"
        )
    reduced, kept, count = _with_layers(model, name, layers)
    set_layer_count(reduced.network.config, count, kept)
    return reduced.after("student", f"layers {', '.join(map(str, kept))} of {count}")


def keep_decoder_layers(model: Model, layers: int | tuple[int, ...]) -> Model:
    """The same of an encoder-decoder's decoder.

    Raises:
        ModelError: the network has no decoder beside an encoder, or too few layers in it.
    """
    reduced, kept, count = _with_layers(model, decoder_list(model.network), layers)
    set_decoder_count(reduced.network.config, len(kept))
    return reduced.after("student", f"decoder layers {', '.join(map(str, kept))} of {count}")


def _with_layers(model: Model, name: str, layers: int | tuple[int, ...]) -> tuple[Model, tuple[int, ...], int]:
    """The model with some blocks of the list `name`, which ones, and how many there were; its configuration still says
    their old number."""
    if hasattr(model.network, "own"):
        raise ModelError(
            f"student.layers: {type(model.network).__name__} is your own code, which builds its layers itself. Build "
            f"it with fewer as `student.code`"
        )
    network = copy.deepcopy(model.network)
    blocks: Any = network.get_submodule(name)
    refuse_stages(network, blocks)
    kept = kept_layers(len(blocks), layers)
    if isinstance(layers, int):
        kept = fitting(blocks, kept)
    check_fit(blocks, kept)
    parent, _, attribute = name.rpartition(".")
    setattr(network.get_submodule(parent), attribute, nn.ModuleList(blocks[i] for i in kept))
    for new, old in enumerate(kept):
        for module in blocks[old].modules():
            if isinstance(getattr(module, "layer_idx", None), int):
                module.layer_idx = new
    edits = tuple(renamed for edit in model.edits if (renamed := _renumber(edit, name, kept)))
    return Model(network, model.task, model.signature, edits, model.lineage), kept, len(blocks)


def kept_layers(count: int, layers: int | tuple[int, ...]) -> tuple[int, ...]:
    """Indices to keep.

    >>> kept_layers(6, 3), kept_layers(12, 5), kept_layers(6, (0, 5))
    ((1, 3, 5), (1, 3, 6, 8, 11), (0, 5))
    """
    if isinstance(layers, int):
        if layers > count:
            raise ModelError(f"student.layers: {layers} layers asked for, the teacher has {count}")
        return spread(count, layers)
    wrong = [i for i in layers if i >= count]
    if wrong or not layers or list(layers) != sorted(set(layers)):
        raise ModelError(f"student.layers: give rising indices from 0 to {count - 1}, got {list(layers)}")
    return layers


def _renumber(edit: Edit, blocks: str, kept: tuple[int, ...]) -> Edit | None:
    """The same edit under the block's new number; None for a block that left."""
    if not edit.module.startswith(f"{blocks}."):
        return edit
    number, _, rest = edit.module[len(blocks) + 1 :].partition(".")
    if int(number) not in kept:
        return None
    return edit.model_copy(update={"module": f"{blocks}.{kept.index(int(number))}.{rest}".rstrip(".")})


def _narrow(
    model: Model,
    kind: str,
    groups: list[Group],
    size: int,
    importance: Importance,
    calibration: Sequence[Feeds],
    labels: Sequence[np.ndarray],
) -> PruningPlan:
    """Keep `size` heads or neurons in each layer, the most important ones."""
    if not groups:
        raise ModelError(f"student.{kind}: {type(model.network).__name__} has no {kind} that can be told apart")
    for group in groups:
        if size > (have := group.units * group.heads_per_unit):
            raise ModelError(f"student.{kind}: {size} asked for, {group.name} of the teacher has {have}")
        if size % group.heads_per_unit:
            raise ModelError(
                f"student.{kind}: {group.name} shares keys and values between {group.heads_per_unit} heads; "
                f"ask for a multiple of {group.heads_per_unit}, got {size}"
            )
    sizes = [size // group.heads_per_unit for group in groups]
    return plan_sizes(model, groups, sizes, importance, calibration, labels)


def _reduce_hidden(model: Model, hidden: int, calibration: Sequence[Feeds], labels: Sequence[np.ndarray]) -> Model:
    group = residual_group(model.network)
    if hidden > group.units:
        raise ModelError(f"student.hidden: {hidden} asked for, the teacher has {group.units}")
    if getattr(model.network.config, "embedding_width", None) == group.units:
        raise ModelError(
            f"student.hidden: the teacher's vectors are its hidden states, {group.units} wide, and would become "
            f"narrower; give a smaller architecture in `student.config` and `init: adapt`: its vectors stay as wide"
        )
    plan = plan_sizes(model, [group], [hidden], "activation", calibration, labels)
    return apply_pruning(model, plan, "student")


def _factorize_words(model: Model, rank: int, calibration: Sequence[Feeds]) -> Model:
    """SVD of the largest embedding table, its rows weighted by how often calibration reads them."""
    tables = [layer for layer in factorizable(model.network) if layer.kind == "embedding"]
    if not tables:
        raise ModelError(f"student.embedding_rank: {type(model.network).__name__} has no embedding table of its own")
    words = max(tables, key=lambda layer: layer.parameters)
    others = tuple(table.name for table in tables if table is not words)
    plan = plan_ranks(model, Factorize(rank=rank, layers=("embedding",), exclude=others), calibration)
    if not plan.changes:
        limit = (words.parameters - 1) // words.cost_of_rank
        raise ModelError(f"student.embedding_rank: {rank} would not make {words.name} smaller; use at most {limit}")
    return apply_ranks(model, plan, "student")


def check_rebuild(model: Model) -> None:
    """Raises ModelError unless configuration and edits alone give every weight of the model its place."""
    config: Any = model.network.config
    try:
        saved = type(config).from_dict(json.loads(json.dumps(config.to_dict(), default=str)))
        with torch.device("meta"):
            rebuilt = network_from_config(saved, model.task)
            apply_edits(rebuilt, model.edits)
    except (ValueError, TypeError, RuntimeError) as fault:
        raise ModelError(
            f"student: {type(model.network).__name__} cannot be rebuilt at this size: {told(fault)}; "
            f"give a smaller architecture in `student.config`"
        ) from fault
    want = {name: value.shape for name, value in model.network.state_dict().items()}
    got = {name: value.shape for name, value in rebuilt.state_dict().items()}
    if wrong := sorted(name for name in want.keys() | got.keys() if want.get(name) != got.get(name)):
        raise ModelError(
            f"student: {type(model.network).__name__} cannot be rebuilt at this size: {wrong[0]!r} is "
            f"{got.get(wrong[0])} instead of {want.get(wrong[0])}; give a smaller architecture in `student.config`"
        )


def _other(
    teacher: Model,
    options: Student,
    seed: int,
    calibration: Sequence[Feeds],
    tell: Callable[[tuple[Fit, ...]], None],
) -> Model:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if options.model is not None:
            network, source = _pretrained(teacher, options.model), options.model
        elif options.code is not None:
            network = own_network(
                options.code, options.weights, options.states, _head(teacher), teacher.task, "student"
            )
            source = f"code of {options.code}"
        else:
            assert options.config is not None
            network = _from_options(teacher, options.config)
            source = f"{network.config.model_type} from `student.config`"
            if options.init == "adapt":
                source += f", {_adapted(network, teacher, options.init_from, tell)}"
    adopt_padding(network.config, getattr(teacher.network.config, "pad_token_id", None), "the teacher")
    # An architecture may take fewer inputs than the teacher's: DistilBERT knows no token types.
    inputs = tuple(spec for spec in teacher.signature.inputs if takes(network, spec.name))
    signature = teacher.signature.model_copy(update={"inputs": inputs})
    student = Model(network.eval(), teacher.task, signature).after("student", source)
    return _fitting(teacher, student, calibration)


def _adapted(network: Any, teacher: Model, source: str | None, tell: Callable[[tuple[Fit, ...]], None]) -> str:
    """Start from the teacher's weights, or from those of `source`; the summary for the lineage."""
    found = adapt(network, teacher.network if source is None else _pretrained(teacher, source))
    tell(found)
    counts = Counter(fit.how for fit in found)
    if counts["random"] == len(found):
        raise ModelError(
            f"student.init: no weight of {type(network).__name__} is called as one of {source or 'the teacher'}; "
            f"take an architecture of its kind, or leave init out"
        )
    return f"{', '.join(f'{count} {how}' for how, count in counts.items())} from {source or 'the teacher'}"


def _pretrained(teacher: Model, source: str) -> Any:
    """Weights of a folder or hub id; a classifier of other classes than the teacher's starts at random."""
    from edgepress.compress.model.loading import load_network

    labels: Any = teacher.network.config
    network: Any = load_network(source, teacher.task, False, num_labels=labels.num_labels, fresh_head=True)
    for field, value in _head(teacher).items():
        setattr(network.config, field, value)
    return network


def _head(teacher: Model) -> dict[str, Any]:
    """The fields of a configuration that gives the teacher's outputs."""
    kind, config = load_task(teacher.task).outputs, teacher.network.config
    fields = kind.head(kind.labels(config))
    if getattr(config, "is_encoder_decoder", False):
        fields |= {name: getattr(config, name) for name in ("pad_token_id", "eos_token_id", START)}
    if "output_kind" not in fields:
        return fields
    pooling: Any = getattr(config, "sentence_pooling", "mean")  # the user's own code does not say it
    return fields | {"sentence_pooling": pooling, "embedding_width": teacher.signature.outputs[0].shape[-1]}


def _from_options(teacher: Model, options: dict[str, Any]) -> Any:
    from edgepress.compress.model.hub import auto_config

    fields = dict(options)
    kind = fields.pop("model_type", None)
    if kind is None:
        raise ModelError("student.config: 'model_type' is missing, e.g. {model_type: bert, hidden_size: 256}")
    fields |= _head(teacher)
    try:
        config = auto_config().for_model(kind, **fields)
    except Exception as fault:  # each architecture checks its fields with exceptions of its own
        raise ModelError(f"student.config: {told(fault)}") from fault
    return network_from_config(config, teacher.task)


def _fitting(teacher: Model, student: Model, calibration: Sequence[Feeds]) -> Model:
    """The student, with the height and width of its own maps. Raises ModelError where its vocabulary, inputs or classes
    do not fit the teacher's."""
    have, need = (getattr(model.network.config, "vocab_size", None) for model in (student, teacher))
    if have is not None and need is not None and have < need:
        raise ModelError(
            f"student: vocab_size is {have}, the teacher's tokenizer has {need} tokens; use vocab_size {need}"
        )
    classes = [getattr(model.network.config, "num_labels", None) for model in (student, teacher)]
    if classes[0] != classes[1]:
        raise ModelError(
            f"student: it has {classes[0]} classes, the teacher {classes[1]}; give it num_labels {classes[1]}"
        )
    if not calibration:
        return student
    if not student.signature.inputs:
        wanted = ", ".join(spec.name for spec in teacher.signature.inputs)
        raise ModelError(f"student: {type(student.network).__name__} takes none of the teacher's inputs ({wanted})")
    try:
        logits = probe_logits(student.network, student.signature.select(calibration[0]))
    except (RuntimeError, ValueError, TypeError, IndexError) as fault:
        raise ModelError(f"student: it does not run on the teacher's inputs: {told(fault)}") from fault
    wanted_shape = (len(logits), *teacher.signature.outputs[0].shape[1:])
    maps = len(wanted_shape) == 4 == logits.ndim  # of any height and width: they are brought to the labels' size
    if tuple(logits.shape[: 2 if maps else None]) != wanted_shape[: 2 if maps else None]:
        raise ModelError(
            f"student: {type(student.network).__name__} gives logits of shape {list(logits.shape)} for {len(logits)} "
            f"rows, the teacher {list(wanted_shape)}. Give it a head of {teacher.signature.outputs[0].channels} outputs"
        )
    outputs = (teacher.signature.outputs[0].model_copy(update={"shape": ("batch", *logits.shape[1:])}),)
    return replace(student, signature=student.signature.model_copy(update={"outputs": outputs})) if maps else student
