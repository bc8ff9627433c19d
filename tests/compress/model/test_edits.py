"""Structural edits: what they change, and what they refuse."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edgepress.compress.model.edits import Edit, apply_edits, resize_edits, sizes_of, structure
from edgepress.compress.model.factors import LowRankConv, LowRankEmbedding, LowRankLinear
from edgepress.targets.errors import ModelError


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(10, 4)
        self.dense = nn.Linear(4, 6)
        self.norm = nn.LayerNorm(6)
        self.conv = nn.Conv2d(3, 8, 3, bias=False)
        self.batch = nn.BatchNorm2d(8)
        self.token = nn.Parameter(torch.zeros(1, 1, 4))


def resize(module: str, **sizes: int) -> Edit:
    return Edit(kind="resize", module=module, sizes=sizes)


def test_resizing_gives_every_weight_of_a_layer_its_new_shape() -> None:
    network = Small()
    apply_edits(
        network,
        (
            resize("dense", in_features=3, out_features=5),
            resize("norm", normalized_shape=5),
            resize("conv", out_channels=7),
            resize("batch", num_features=7),
            resize("words", embedding_dim=3),
            Edit(kind="resize", module="", sizes={"token.2": 3}),
        ),
    )
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    assert shapes == {
        "token": (1, 1, 3),
        "words.weight": (10, 3),
        "dense.weight": (5, 3),
        "dense.bias": (5,),
        "norm.weight": (5,),
        "norm.bias": (5,),
        "conv.weight": (7, 3, 3, 3),
        "batch.weight": (7,),
        "batch.bias": (7,),
        "batch.running_mean": (7,),
        "batch.running_var": (7,),
        "batch.num_batches_tracked": (),
    }


def test_a_resized_depthwise_convolution_keeps_one_filter_a_channel() -> None:
    network = nn.Sequential(nn.Conv2d(8, 8, 3, groups=8))
    apply_edits(network, (resize("0", in_channels=5, out_channels=5, groups=5),))
    assert network[0].weight.shape == (5, 1, 3, 3)
    assert network(torch.zeros(1, 5, 4, 4)).shape == (1, 5, 2, 2)


def test_edits_found_by_comparison_rebuild_the_changed_structure() -> None:
    changed, fresh = Small(), Small()
    before = structure(changed)
    apply_edits(changed, (resize("dense", in_features=4, out_features=2),))
    edits = resize_edits(before, changed)
    assert [edit.module for edit in edits] == ["dense"]
    apply_edits(fresh, edits)
    assert structure(fresh) == structure(changed)


def test_an_unchanged_network_needs_no_edits() -> None:
    network = Small()
    assert resize_edits(structure(network), network) == ()


def test_low_rank_layers_say_the_full_matrix_that_they_stand_for() -> None:
    x = torch.randn(2, 4)
    dense = LowRankLinear(nn.Linear(4, 6), 2)
    assert torch.allclose(dense(x), x @ dense.weight.T + dense.second.bias, atol=1e-6)
    words = LowRankEmbedding(nn.Embedding(10, 4), 2)
    assert torch.allclose(words(torch.tensor([3])), words.weight[3:4], atol=1e-6)
    image = torch.randn(2, 3, 9, 9)
    conv = LowRankConv(nn.Conv2d(3, 8, 3, stride=2, padding=1), 2)
    full = nn.functional.conv2d(image, conv.weight, conv.second.bias, stride=2, padding=1)
    assert torch.allclose(conv(image), full, atol=1e-5)


def test_a_low_rank_convolution_still_says_how_it_strides_for_padding_by_hand() -> None:
    conv = LowRankConv(nn.Conv2d(3, 8, 3, stride=2, dilation=2), 2)
    assert (conv.kernel_size, conv.stride, conv.dilation) == ((3, 3), (2, 2), (2, 2))


def test_an_embedding_keeps_its_padding_row() -> None:
    network = nn.Sequential(nn.Embedding(10, 4, padding_idx=0))
    apply_edits(network, (Edit(kind="low_rank", module="0", sizes={"rank": 2}),))
    assert network[0].first.padding_idx == 0


def test_attention_modules_list_their_head_counts() -> None:
    module = nn.Module()
    module.num_attention_heads, module.all_head_size = 4, 32
    assert sizes_of(module) == {"num_attention_heads": 4, "all_head_size": 32}


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (resize("nowhere", in_features=2), "names module 'nowhere', which this architecture lacks"),
        (resize("dense", in_channels=2), "names size 'in_channels', which Linear lacks"),
        (resize("dense", in_features=0), "needs sizes of at least 1, got {'in_features': 0}"),
        (Edit(kind="low_rank", module="dense", sizes={}), "needs sizes of at least 1, got {}"),
        (Edit(kind="low_rank", module="norm", sizes={"rank": 2}), "LayerNorm has no low-rank form"),
    ],
)
def test_an_edit_that_does_not_fit_is_refused(edit: Edit, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        apply_edits(Small(), (edit,))
