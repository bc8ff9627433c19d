"""The graphs of an artifact for ONNX Runtime, one or an encoder's and a decoder's, and what each is fed for a call of
"main"."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np

from edgepress.targets.device.needs import handed_on
from edgepress.targets.exportable import Exportable, stepping_of
from edgepress.targets.onnx_graph.session import DECODER_FILE, ENCODER_FILE, MODEL_FILE
from edgepress.targets.records import ENCODE, STEP, Feeds, MacCount, Signature, WeightCount

Encode = Callable[[Feeds], Feeds]
"""Tokens and mask of sources → what the encoder gives for them."""


def export_graphs(model: Exportable, example: Feeds, folder: Path) -> Path:
    """Write the fp32 graphs of a model and return their folder: of a decoder its step, with empty caches the whole of
    it; of an encoder-decoder what reads a source, and the step behind it.

    Args:
        model: what is exported.
        example: feeds of "main" to trace it with, where it has no steps.
        folder: where they go.
    """
    from edgepress.targets.onnx_graph.export import export_onnx

    step = stepping_of(model)
    if step is None:
        export_onnx(model, example, folder / MODEL_FILE)
    elif step.encoder is None:
        export_onnx(step, step.example, folder / MODEL_FILE)
    else:
        export_onnx(step.encoder, step.encoder.example, folder / ENCODER_FILE)
        export_onnx(step, step.example, folder / DECODER_FILE)
    return folder


def programs_of(model: Exportable) -> dict[str, Signature]:
    """The programs beside "main": none, a step, or a step and what reads a source before it."""
    step = stepping_of(model)
    if step is None:
        return {}
    return {STEP: step.signature} | ({ENCODE: step.encoder.signature} if step.encoder is not None else {})


def files_of(programs: Mapping[str, Signature]) -> tuple[str, ...]:
    """The graphs of an artifact with these programs, by their path in its folder."""
    return (ENCODER_FILE, DECODER_FILE) if ENCODE in programs else (MODEL_FILE,)


def graph_feeds(feeds: Feeds, programs: Mapping[str, Signature], encode: Encode | None = None) -> dict[str, Feeds]:
    """What each graph is fed for one call of "main", by its file; steps get caches of no positions.

    Args:
        feeds: of that call, {input: `[batch, ...]`}.
        programs: the artifact's; without a step there is nothing to add.
        encode: gives what a decoder reads of its sources; zeros for None, which are as good where shapes matter alone.
    """
    step = programs.get(STEP)
    if step is None:
        return {MODEL_FILE: feeds}
    rows, length = feeds["input_ids"].shape
    if ENCODE not in programs:
        return {MODEL_FILE: {**step.zeros(batch=rows, sequence=length, past=0, total=length), **feeds}}
    source = {name: feeds[name] for name in ("input_ids", "attention_mask")}
    before, mask = feeds["decoder_input_ids"], feeds["attention_mask"]
    caches = step.zeros(batch=rows, source=length, sequence=before.shape[1], past=0)
    read = handed_on(encode(source)) if encode is not None else {}
    return {
        ENCODER_FILE: source,
        DECODER_FILE: {**caches, **read, "input_ids": before, "encoder_attention_mask": mask},
    }


def encoder_of(folder: Path, programs: Mapping[str, Signature]) -> Encode | None:
    """Runs the encoder of a folder; None where there is none."""
    if ENCODE not in programs:
        return None
    import onnxruntime

    names = [spec.name for spec in programs[ENCODE].outputs]
    session = onnxruntime.InferenceSession(str(folder / ENCODER_FILE), providers=["CPUExecutionProvider"])

    def encode(feeds: Feeds) -> dict[str, np.ndarray]:
        return dict(zip(names, session.run(names, dict(feeds)), strict=True))

    return encode


def all_macs(counts: Iterable[MacCount]) -> MacCount:
    """The sum over graphs."""
    found = list(counts)
    return MacCount(
        sum(one.total for one in found), sum(one.int8 for one in found), sum(one.weight_bytes for one in found)
    )


def all_weights(counts: Iterable[WeightCount]) -> WeightCount:
    """The sum over graphs; a table that both have counts in each."""
    found = list(counts)
    return WeightCount(weights=sum(one.weights for one in found), zeros=sum(one.zeros for one in found))
