"""Whole teacher folders and data files, tiny and random, for tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

WORDS = ("good", "bad", "fine", "poor", "film", "plot", "a", "the", "not", "very", "actor", "scene")
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def tiny_tokenizer(token_types: bool = True) -> Any:
    """One token a word, [CLS] text [SEP] pair [SEP]."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: number for number, word in enumerate((*SPECIAL, *WORDS))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = ["input_ids", "token_type_ids", "attention_mask"] if token_types else ["input_ids", "attention_mask"]
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_input_names=names, mask_token="[MASK]", **special)


def tiny_text_config(architecture: str = "bert", labels: int = 2) -> Any:
    """Two layers of width 16 with 4 heads; room for 64 positions."""
    import transformers

    common = {"vocab_size": len(SPECIAL) + len(WORDS), "num_labels": labels, "max_position_embeddings": 64}
    if architecture == "distilbert":
        return transformers.DistilBertConfig(dim=16, hidden_dim=32, n_layers=2, n_heads=4, **common)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    if architecture == "electra":
        return transformers.ElectraConfig(embedding_size=8, **sizes, **common)
    return transformers.BertConfig(**sizes, **common)


def tiny_text_teacher(folder: Path, architecture: str = "bert", labels: int = 2) -> Path:
    """bert, distilbert or electra with random weights and a tokenizer, as `save_pretrained` writes them."""
    from transformers import AutoModelForSequenceClassification

    torch.manual_seed(0)
    network = AutoModelForSequenceClassification.from_config(tiny_text_config(architecture, labels))
    return _save(network, folder, tiny_tokenizer(token_types=architecture != "distilbert"))


TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")


def tiny_tagger(folder: Path, tags: tuple[str, ...] = TAGS) -> Path:
    """A random bert that gives a tag for each token, and its tokenizer."""
    from transformers import AutoModelForTokenClassification

    torch.manual_seed(0)
    config = tiny_text_config(labels=len(tags))
    config.id2label, config.label2id = dict(enumerate(tags)), {tag: number for number, tag in enumerate(tags)}
    return _save(AutoModelForTokenClassification.from_config(config), folder, tiny_tokenizer())


def tiny_tagged_rows(rows: int = 96) -> list[dict[str, Any]]:
    """Rows of words whose tags they decide: `actor` begins a person, who goes on with `good`; `scene` is a place."""
    random = np.random.default_rng(rows)
    found = []
    for _ in range(rows):
        words = [str(word) for word in random.choice(WORDS, int(random.integers(3, 12)))]
        tags = ["B-PER" if word == "actor" else "B-LOC" if word == "scene" else "O" for word in words]
        for place in range(1, len(words)):
            if words[place] == "good" and tags[place - 1].endswith("PER"):
                tags[place] = "I-PER"
        found.append({"tokens": words, "tags": tags})
    return found


def tiny_reader(folder: Path) -> Path:
    """A random bert that gives first and last token of an answer, and its tokenizer."""
    from transformers import AutoModelForQuestionAnswering

    torch.manual_seed(0)
    return _save(AutoModelForQuestionAnswering.from_config(tiny_text_config()), folder, tiny_tokenizer())


def tiny_questions(rows: int = 96, longest: int = 12) -> list[dict[str, Any]]:
    """Rows that ask `actor` or `scene`; the answer is that word and the one behind it, which stand in the text once."""
    random = np.random.default_rng(rows)
    others = [word for word in WORDS if word not in ("actor", "scene")]
    found = []
    for _ in range(rows):
        words = [str(word) for word in random.choice(others, int(random.integers(5, longest)))]
        asked, other = ("actor", "scene") if random.random() < 0.5 else ("scene", "actor")
        place, another = random.permutation(len(words) - 1)[:2]
        words[place], words[another] = asked, other
        answer = " ".join(words[place : place + 2])
        start = len(" ".join([*words[:place], ""]))
        found.append({"question": asked, "context": " ".join(words), "answers": [{"text": answer, "start": start}]})
    return found


def tiny_image_config(architecture: str = "resnet", channels: int = 3, labels: int = 10) -> Any:
    """resnet, mobilenet_v2 or vit for images of 32 x 32."""
    import transformers

    common = {"num_channels": channels, "num_labels": labels}
    if architecture == "mobilenet_v2":
        return transformers.MobileNetV2Config(image_size=32, depth_multiplier=0.25, min_depth=4, **common)
    if architecture == "vit":
        sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
        return transformers.ViTConfig(image_size=32, patch_size=8, **sizes, **common)
    sizes = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}
    return transformers.ResNetConfig(**sizes, **common)


def tiny_image_teacher(folder: Path, architecture: str = "resnet", channels: int = 3, labels: int = 10) -> Path:
    """resnet, mobilenet_v2 or vit with random weights, and a preprocessor_config.json for 32 x 32."""
    from transformers import AutoModelForImageClassification

    torch.manual_seed(0)
    network = AutoModelForImageClassification.from_config(tiny_image_config(architecture, channels, labels))
    _save(network, folder)
    settings = {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "size": {"height": 32, "width": 32},
        "resample": 2,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.5] * channels,
        "image_std": [0.25] * channels,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


def tiny_text_data(folder: Path, rows: int = 64, name: str = "train.jsonl", pairs: bool = False) -> Path:
    """JSON lines in which the words decide the label, half of the rows each."""
    generator = np.random.default_rng(len(name) + rows)
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for number in range(rows):
        label = number % 2
        words = [*generator.choice(WORDS[4:], size=int(generator.integers(1, 9))), WORDS[1 - label]]
        row = {"text": " ".join(words), "label": label} | ({"pair": "the film"} if pairs else {})
        lines.append(json.dumps(row))
    path = folder / name
    path.write_text("\n".join(lines) + "\n")
    return path


def tiny_image_data(folder: Path, rows: int = 64, size: int = 8, channels: int = 1) -> Path:
    """An .npz of grey noise, the upper half bright for label 1."""
    generator = np.random.default_rng(rows)
    labels = np.arange(rows) % 2
    images = generator.integers(0, 128, (rows, size, size, channels), dtype=np.uint8)
    images[labels == 1, : size // 2] += 127
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "images.npz"
    np.savez(path, x_train=images, y_train=labels)
    return path


def _save(network: Any, folder: Path, tokenizer: Any | None = None) -> Path:
    from edgepress.compress.model.loading import quiet

    with quiet():
        network.save_pretrained(folder)
        if tokenizer is not None:
            tokenizer.save_pretrained(folder)
    return folder


def tiny_sentence_teacher(folder: Path, pooling: str = "mean", architecture: str = "bert", width: int = 16) -> Path:
    """A random encoder as sentence-transformers saves one: modules.json, and how it pools."""
    from transformers import AutoModel

    torch.manual_seed(0)
    config = tiny_text_config(architecture)
    if width != 16:
        config.hidden_size = width
    _save(AutoModel.from_config(config), folder, tiny_tokenizer(token_types=architecture != "distilbert"))
    kinds = {"Transformer": "", "Pooling": "1_Pooling", "Normalize": "2_Normalize"}
    modules = [{"path": path, "type": f"sentence_transformers.models.{kind}"} for kind, path in kinds.items()]
    (folder / "modules.json").write_text(json.dumps(modules))
    modes = {"pooling_mode_cls_token": pooling == "cls", "pooling_mode_mean_tokens": pooling == "mean"}
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling/config.json").write_text(json.dumps({"word_embedding_dimension": width, **modes}))
    return folder


def tiny_pairs(folder: Path, name: str = "pairs.jsonl", rows: int = 24) -> Path:
    """Pairs of texts, and how many of their words they share as the score, 0 to 1."""
    generator = np.random.default_rng(len(name) + rows)
    found = []
    for _ in range(rows):
        one, other = (list(generator.choice(WORDS, int(generator.integers(2, 8)))) for _ in range(2))
        share = len({*one} & {*other}) / len({*one} | {*other})
        found.append({"text": " ".join(one), "text_pair": " ".join(other), "score": share})
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in found))
    return path


def tiny_decoder_tokenizer(pad: bool = False) -> Any:
    """One token a word, `<s>` before a text; `</s>` ends one, and nothing pads unless `pad` is set."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = ("<unk>", "<s>", "</s>", *WORDS, *(("<pad>",) if pad else ()))
    tokenizer = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    special = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"} | ({"pad_token": "<pad>"} if pad else {})
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)


def tiny_decoder_config(architecture: str = "llama", layers: int = 2) -> Any:
    """Width 16 with 4 heads that share 2 keys, as transformers' AutoConfig makes them; embeddings are tied."""
    from transformers import AutoConfig

    sizes = {
        "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": layers, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 64, "vocab_size": 16,
        "bos_token_id": 1, "eos_token_id": 2, "tie_word_embeddings": True,
    }  # fmt: skip
    return AutoConfig.for_model(architecture, **sizes)


def tiny_decoder(folder: Path, architecture: str = "llama", layers: int = 2) -> Path:
    """A random decoder and its tokenizer, as `save_pretrained` writes them."""
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    return _save(
        AutoModelForCausalLM.from_config(tiny_decoder_config(architecture, layers)), folder, tiny_decoder_tokenizer()
    )


def tiny_pair_config(architecture: str = "t5", layers: int = 2) -> Any:
    """t5, marian or bart of width 16 with 4 heads, as transformers' AutoConfig makes them; `<s>` begins a target."""
    from transformers import AutoConfig

    tokens = {"vocab_size": 16, "pad_token_id": 15, "eos_token_id": 2, "decoder_start_token_id": 1}
    sizes = {"d_model": 16, "num_layers": layers, "num_decoder_layers": layers, "num_heads": 4, "d_kv": 4, "d_ff": 32}
    if architecture != "t5":
        sides = {"layers": layers, "ffn_dim": 32, "attention_heads": 4}
        sizes = {f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in sides.items()}
        sizes |= {"d_model": 16, "max_position_embeddings": 64}
    return AutoConfig.for_model(architecture, **sizes, **tokens)


def tiny_pair(folder: Path, architecture: str = "t5", layers: int = 2) -> Path:
    """A random encoder-decoder and its tokenizer, as `save_pretrained` writes them."""
    from transformers import AutoModelForSeq2SeqLM

    torch.manual_seed(0)
    network = AutoModelForSeq2SeqLM.from_config(tiny_pair_config(architecture, layers))
    return _save(network, folder, tiny_decoder_tokenizer(pad=True))


def tiny_pairs_of_texts(rows: int = 96) -> list[dict[str, str]]:
    """Words, and for each of them the next one in `WORDS`."""
    random = np.random.default_rng(rows)
    found = []
    for _ in range(rows):
        places = random.integers(0, len(WORDS), int(random.integers(2, 7)))
        source, target = (" ".join(WORDS[i % len(WORDS)] for i in places + step) for step in (0, 1))
        found.append({"source": source, "target": target})
    return found


def tiny_stories(rows: int = 96) -> list[dict[str, str]]:
    """Texts in which each word follows from the one before it: the next in `WORDS`, or the third after it."""
    random = np.random.default_rng(rows)
    found = []
    for _ in range(rows):
        place, words = int(random.integers(len(WORDS))), []
        for step in random.choice([1, 3], int(random.integers(5, 12)), p=[0.8, 0.2]):
            words.append(WORDS[place])
            place = (place + int(step)) % len(WORDS)
        found.append({"text": " ".join(words)})
    return found


def tiny_segmenter_config(architecture: str = "segformer", channels: int = 1, labels: int = 3) -> Any:
    """A segmenter for pictures of 32 x 32: segformer, mobilenet_v2 or mobilevit (both with DeepLabV3)."""
    import transformers

    common = {"num_channels": channels, "num_labels": labels}
    if architecture == "mobilenet_v2":
        return transformers.MobileNetV2Config(
            image_size=32, depth_multiplier=0.25, min_depth=4, output_stride=8, **common
        )
    if architecture == "mobilevit":
        sizes = {"hidden_sizes": [16, 16, 16], "neck_hidden_sizes": [8, 8, 8, 8, 8, 8, 16], "aspp_out_channels": 8}
        return transformers.MobileViTConfig(
            image_size=32, num_attention_heads=2, aspp_dropout_prob=0.0, **sizes, **common
        )
    blocks = {"num_encoder_blocks": 2, "hidden_sizes": [8, 16], "depths": [1, 1], "num_attention_heads": [1, 2]}
    shapes = {"strides": [4, 2], "patch_sizes": [7, 3], "sr_ratios": [2, 1], "mlp_ratios": [2, 2]}
    return transformers.SegformerConfig(
        decoder_hidden_size=16, classifier_dropout_prob=0.0, **blocks, **shapes, **common
    )


def tiny_scenes(folder: Path, name: str = "train", rows: int = 48, size: int = 32) -> Path:
    """A table of grey pictures and masks: a bright square (1) and a dim one (2) on black (0), edges unjudged (255)."""
    from PIL import Image

    random = np.random.default_rng(len(name) + rows)
    (folder / name).mkdir(parents=True, exist_ok=True)
    found = []
    for row in range(rows):
        picture, mask = np.zeros((2, size, size), np.uint8)
        for kind, (left, grey) in enumerate(((0, 250), (size // 2, 120)), start=1):
            top, side = int(random.integers(0, size // 2)), int(random.integers(size // 4, size // 2))
            picture[top : top + side, left : left + side] = grey
            mask[top : top + side, left : left + side] = 255
            mask[top + 1 : top + side - 1, left + 1 : left + side - 1] = kind
        names = {kind: f"{name}/{row}-{kind}.png" for kind in ("image", "mask")}
        Image.fromarray(picture).save(folder / names["image"])
        Image.fromarray(mask).save(folder / names["mask"])
        found.append(names)
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in found))
    return path
