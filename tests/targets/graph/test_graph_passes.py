from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.utils.flop_counter import FlopCounterMode

from edgepress.targets.graph.export import export_program
from edgepress.targets.graph.narrowing import plan_narrowing, push_selects_down
from tests.targets.tiny import make_feeds, make_model


def macs(program: ExportedProgram, *inputs: Tensor) -> int:
    counter = FlopCounterMode(display=False)
    with counter, torch.inference_mode():
        program.module(check_guards=False)(*inputs)
    return counter.get_total_flops() // 2


def operations(program: ExportedProgram) -> list[str]:
    return [str(node.target) for node in program.graph.nodes if node.op == "call_function"]


class Network(nn.Module):
    """A linear layer and a chain of operations behind it."""

    def __init__(self, chain: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)
        self.norm = nn.LayerNorm(8)
        self.chain = chain

    def forward(self, x: Tensor) -> Tensor:
        return self.chain(self.norm(self.linear(x)))


def trace(chain: Callable[[Tensor], Tensor]) -> tuple[ExportedProgram, nn.Module]:
    """Traced for inputs `[batch, sequence, 8]`."""
    torch.manual_seed(0)
    module = Network(chain).eval()
    shapes = ({0: Dim("batch", min=1, max=8), 1: Dim("sequence", min=3, max=16)},)
    return torch.export.export(module, (torch.randn(2, 5, 8),), dynamic_shapes=shapes), module


@pytest.mark.parametrize("kind", ["bert", "distilbert", "electra", "vit"])
def test_classifiers_give_the_same_logits_with_fewer_multiplications(kind: str) -> None:
    model = make_model(kind)
    program = export_program(model, make_feeds(model.signature, batch=3, sequence=8))
    inputs = [torch.from_numpy(x) for x in make_feeds(model.signature, seed=5, batch=2, sequence=24).values()]
    before = macs(program, *inputs)
    assert push_selects_down(program) == 14
    program.validate()
    torch.testing.assert_close(program.module()(*inputs), model.module(*inputs), atol=1e-5, rtol=0)
    assert macs(program, *inputs) < 0.75 * before


def test_the_last_layer_costs_one_position_and_the_keys_and_values_of_all() -> None:
    model = make_model("bert")
    program = export_program(model, make_feeds(model.signature, batch=2, sequence=8))
    ids, mask = (torch.from_numpy(x) for x in make_feeds(model.signature, batch=1, sequence=16).values())
    before = macs(program, ids, mask)
    push_selects_down(program)
    # 15 positions fewer: query and output of width 32, an FFN of 64, and both attention products over 16 positions.
    assert before - macs(program, ids, mask) == 15 * (32 * 32 * 2 + 32 * 64 * 2 + 16 * 32 * 2)


@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.parametrize("sequence", [3, 16])
def test_batch_and_sequence_still_vary(batch: int, sequence: int) -> None:
    program, module = trace(lambda x: torch.relu(x)[:, 0])
    assert push_selects_down(program) == 3
    x = torch.randn(batch, sequence, 8)
    torch.testing.assert_close(program.module()(x), module(x))


@pytest.mark.parametrize(
    "chain",
    [
        lambda x: x[:, -1],
        lambda x: x[:, 1:2] * 2,
        lambda x: x[:, -1:],
        lambda x: (x.transpose(1, 2) + 1)[:, :, 0],
        lambda x: x.permute(1, 0, 2)[0],
        lambda x: torch.softmax(x, -1)[:, 0],
        lambda x: x.unflatten(-1, (2, 4)).flatten(2)[:, 0],
        lambda x: (x @ x.transpose(1, 2))[:, 0],
        lambda x: nn.functional.scaled_dot_product_attention(x, x, x)[:, 0],
        lambda x: nn.functional.scaled_dot_product_attention(x, x, x, torch.ones(1, 8 - 7, dtype=torch.bool))[:, 0],
        lambda x: torch.cat([x[:, 0], torch.tanh(x[:, 0])], -1),
        lambda x: x[0] + torch.arange(8),
        lambda x: (x.unsqueeze(1) * torch.ones(3, 1, 8))[:, :, 0],
    ],
)
def test_each_operation_keeps_its_values_and_gets_cheaper(chain: Callable[[Tensor], Tensor]) -> None:
    program, module = trace(chain)
    x = torch.randn(3, 7, 8)
    before = macs(program, x)
    assert push_selects_down(program) > 0
    torch.testing.assert_close(program.module()(x), module(x))
    assert macs(program, x) <= before


@pytest.mark.parametrize(
    "chain",
    [
        lambda x: x.mean(1),
        lambda x: x[:, 0] + x[:, 1],
        lambda x: x[:, 0] + x.mean(1),
        lambda x: torch.softmax(x, 1)[:, 0],
        lambda x: x.cumsum(1)[:, 0],
        lambda x: x[:, 1:],
        lambda x: x[..., 0],
        lambda x: x.flatten(0, 1)[0],
    ],
)
def test_models_that_read_more_than_one_position_are_left_alone(chain: Callable[[Tensor], Tensor]) -> None:
    program, _ = trace(chain)
    before = str(program.graph)
    assert push_selects_down(program) == 0
    assert str(program.graph) == before


def test_a_convolutional_network_is_left_alone() -> None:
    model = make_model("resnet")
    program = export_program(model, make_feeds(model.signature, batch=2))
    before = str(program.graph)
    assert push_selects_down(program) == 0
    assert str(program.graph) == before


def test_a_causal_attention_mask_is_not_cut_short() -> None:
    attention = nn.functional.scaled_dot_product_attention
    program, module = trace(lambda x: attention(x, x, x, is_causal=True)[:, -1])
    assert push_selects_down(program) == 0
    x = torch.randn(2, 6, 8)
    torch.testing.assert_close(program.module()(x), module(x))


def test_the_plan_can_be_read_before_it_is_applied() -> None:
    program, _ = trace(lambda x: torch.relu(x)[:, 0])
    before = operations(program)
    plan = plan_narrowing(program.graph)
    assert [(node.name, position.dim, position.index) for node, position in plan.nodes.items()] == [
        ("relu", 1, 0),
        ("layer_norm", 1, 0),
        ("linear", 1, 0),
    ]
    assert operations(program) == before


def test_shapes_in_the_graph_are_true_after_the_edit() -> None:
    program, _ = trace(lambda x: torch.relu(x)[:, 0])
    push_selects_down(program)
    shapes = {
        node.name: tuple(node.meta["val"].shape)[1:] for node in program.graph.nodes if node.op == "call_function"
    }
    assert shapes == {"slice_tensor": (1, 8), "linear": (1, 8), "layer_norm": (1, 8), "relu": (1, 8), "select": (8,)}
