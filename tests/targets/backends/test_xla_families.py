"""Families of models through the table of operations, in every precision, without the file and the compiler."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig

from edgepress import targets
from edgepress.compress.model.model import Model, TaskName, network_from_config
from edgepress.targets.acceptance.accept import LEAST_DB
from edgepress.targets.acceptance.comparison import compare
from edgepress.targets.acceptance.reference import run_torch
from edgepress.targets.graph.narrowing import inference_program
from edgepress.targets.process.quiet import quiet
from edgepress.targets.records import Feeds, Signature, TensorSpec
from tests.targets.tiny import CLASSES, make_calibration, text_signature

if targets.load("xla-tpu").probe().state == "missing":
    pytest.skip("the extra xla is not installed", allow_module_level=True)

ENCODER = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
TEXT = {"vocab_size": 100, "num_labels": CLASSES, "max_position_embeddings": 32}
IMAGE = {"num_channels": 3, "num_labels": CLASSES, "image_size": 32}
STAGES: dict[str, Any] = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]}
CONFIGS: dict[str, dict[str, Any]] = {
    "albert": ENCODER | TEXT | {"embedding_size": 16},
    "distilbert": TEXT | {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48},
    "electra": ENCODER | TEXT | {"embedding_size": 16},
    "convnext": IMAGE | {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2, "patch_size": 2},
    "mobilenet_v2": IMAGE | {"depth_multiplier": 0.25, "tf_padding": True},
    "mobilevit": IMAGE | {"hidden_sizes": [16, 24, 32], "neck_hidden_sizes": [8, 8, 16, 16, 24, 24, 32],
                          "num_attention_heads": 2},
    "regnet": IMAGE | STAGES | {"groups_width": 8},
    "swin": IMAGE | {"patch_size": 2, "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4},
    "vit": IMAGE | ENCODER | {"patch_size": 8},
}  # fmt: skip


def make(kind: str) -> tuple[Model, list[Feeds]]:
    """A random model, and two batches of four rows."""
    torch.manual_seed(0)
    task: TaskName = "text-classification" if "vocab_size" in CONFIGS[kind] else "image-classification"
    network = network_from_config(AutoConfig.for_model(kind, **CONFIGS[kind]), task).eval()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.uniform_(-0.2, 0.2)  # type: ignore[union-attr]
                module.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
    if task == "text-classification":
        model = Model(network, task, text_signature({"batch": (1, 6), "sequence": (2, 24)}))
        return model, make_calibration(model.signature)
    pixels = TensorSpec(name="pixel_values", dtype="float32", shape=("batch", 3, 32, 32))
    logits = TensorSpec(name="logits", dtype="float32", shape=("batch", CLASSES))
    signature = Signature(inputs=(pixels,), outputs=(logits,), bounds={"batch": (1, 6)})
    rows = np.random.default_rng(0).standard_normal((2, 4, 3, 32, 32)).astype(np.float32)
    return Model(network, task, signature), [{"pixel_values": batch} for batch in rows]


@pytest.mark.slow
@pytest.mark.parametrize("kind", CONFIGS)
def test_a_family_is_lowered_in_every_precision_and_answers_like_torch(kind: str) -> None:
    import jax

    from edgepress.targets.xla_tpu.calibrate import calibrate, weights_for
    from edgepress.targets.xla_tpu.lowering import Lowering, Macs

    jax.config.update("jax_platforms", "cpu")
    model, batches = make(kind)
    program = inference_program(model, batches[0])
    with quiet():
        program = program.run_decompositions()
    want = [outputs["logits"] for outputs in run_torch(model, batches)]
    scales = calibrate(program, model.signature, batches)
    for precision, floats in (("fp32", "float32"), ("bf16", "bfloat16"), ("int8", "bfloat16")):
        lowering = Lowering(program, floats, scales if precision == "int8" else {})
        weights, macs = weights_for(lowering), Macs()
        run = jax.jit(lowering.function(macs))
        got = [np.asarray(run(weights, *feeds.values())) for feeds in batches]
        found = compare(want, got)
        assert found.sqnr_db is not None and found.sqnr_db >= LEAST_DB[precision] + 5, (precision, found)
        assert (macs.int8 > macs.other) == (precision == "int8")
