"""A model and its tokenizer agree on the token that pads, or the user is told."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, BertConfig, GPT2Config

from edgepress.compress.model.loading import quiet
from edgepress.compress.model.model import network_from_config
from edgepress.compress.model.padding import adopt_padding
from tests.compress.tiny import tiny_text_data, tiny_tokenizer
from tests.end_to_end.recipes import BENCHMARK, edgepress, write_recipe

SIZES = {"vocab_size": 17, "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 64, "num_labels": 2}


def test_the_tokenizers_padding_token_is_taken_where_config_names_none() -> None:
    config = GPT2Config(**SIZES)
    assert adopt_padding(config, 2, "the tokenizer") == (
        "config.json names no pad_token_id; the tokenizer's is taken: 2"
    )
    assert config.pad_token_id == 2
    torch.manual_seed(0)
    network: Any = network_from_config(config, "text-classification").eval()
    ids, mask = torch.tensor([[5, 6, 7], [5, 6, 2]]), torch.tensor([[1, 1, 1], [1, 1, 0]])
    with torch.no_grad():
        logits = network(input_ids=ids, attention_mask=mask).logits
        alone = network(input_ids=ids[1:, :2], attention_mask=mask[1:, :2]).logits
    torch.testing.assert_close(logits[1:], alone)


def test_a_decoder_whose_config_names_another_token_is_warned_of_and_left_alone() -> None:
    config = AutoConfig.for_model("llama", pad_token_id=3)
    told = adopt_padding(config, 2, "the tokenizer")
    assert told is not None and told.startswith("config.json says pad_token_id 3 and the tokenizer pads with 2: ")
    assert config.pad_token_id == 3
    assert adopt_padding(config, 3, "the tokenizer") is None
    assert adopt_padding(BertConfig(pad_token_id=3), 2, "the tokenizer") is None  # reads its first token
    assert adopt_padding(config, None, "the tokenizer") is None


@pytest.mark.slow  # a whole run
def test_a_gpt2_without_pad_token_id_goes_through_and_its_release_names_it(tmp_path: Path) -> None:
    with quiet():
        torch.manual_seed(0)
        network_from_config(GPT2Config(**SIZES, pad_token_id=None), "text-classification").save_pretrained(
            tmp_path / "teacher"
        )
        tiny_tokenizer(token_types=False).save_pretrained(tmp_path / "teacher")
    tiny_text_data(tmp_path / "data", 48)
    assert json.loads((tmp_path / "teacher" / "config.json").read_text()).get("pad_token_id") is None
    recipe = {
        "name": "pad", "task": "text-classification", "teacher": {"model": "teacher"}, "benchmark": BENCHMARK,
        "data": {"train": "data/train.jsonl", "labels": ["LABEL_0", "LABEL_1"], "max_length": 16,
                 "calibration": 8, "validation_fraction": 0.2},
        "stages": [{"distill": {"training": {"epochs": 1, "batch_size": 16}}}],
    }  # fmt: skip
    done = edgepress(tmp_path, "run", str(write_recipe(tmp_path, recipe)))
    assert done.returncode == 0, done.stderr
    assert "teacher: config.json names no pad_token_id; the tokenizer's is taken: 0" in done.stderr
