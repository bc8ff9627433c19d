"""The tokenizer of examples/multi30k.yaml: one byte-pair vocabulary for English and German.

python examples/multi30k_tokenizer.py ../shared/data/text/multi30k/train.jsonl.gz ../multi30k-tokenizer
"""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

VOCABULARY = 8000
SPECIAL = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
LANGUAGES = ("en", "de")


def texts(path: Path) -> Iterator[str]:
    """All sentences of both languages."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            yield from (row[language] for language in LANGUAGES)


def trained(path: Path) -> PreTrainedTokenizerFast:
    """Pieces of words, the token that ends a text behind each."""
    tokenizer = Tokenizer(models.BPE(unk_token=SPECIAL["unk_token"]))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=[*SPECIAL.values()], show_progress=False)
    tokenizer.train_from_iterator(texts(path), trainer)
    end = SPECIAL["eos_token"]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {end}", special_tokens=[(end, tokenizer.token_to_id(end))]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **SPECIAL)


def main() -> None:
    source, folder = map(Path, sys.argv[1:3])
    trained(source).save_pretrained(folder)


if __name__ == "__main__":
    main()
