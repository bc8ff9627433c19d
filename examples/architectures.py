"""Every architecture of transformers' classifiers through every stage, tiny and with random weights.

    python examples/architectures.py                  # those without a result in examples/results/architectures.json
    python examples/architectures.py bert resnet      # these again
    python examples/architectures.py --page           # docs/architectures.md from the results alone

Each architecture runs in a process of its own with a time limit: a teacher from fixed seeds and 64 rows, then a student
of fewer layers, distillation of hidden states, pruning of heads, neurons and channels, factorization, and the
export to ONNX Runtime and TFLite in fp32 and int8. A step that refuses leaves the model as it was, and its line is
kept. Anything else than a refusal in one line is a fault of this project: the exit code is 1.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tiny_architectures import IMAGE, TEXT

if TYPE_CHECKING:
    from edgepress.compress.model.model import Model
    from edgepress.compress.pipeline.stages.base import Work

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "architectures.json"
PAGE = HERE.parent / "docs" / "architectures.md"
TIME_LIMIT_S = 600
ROWS, LENGTH = 64, 16
ONCE = {"epochs": 1, "batch_size": 16, "learning_rate": 1e-3}
STEPS = ("layers", "hidden states", "heads", "ffn", "channels", "factorize")
TARGETS = ("onnxruntime-cpu", "tflite-mobile")
PRECISIONS = ("fp32", "int8")
# What an error's line begins with, and whose limit it then is; everything else is this project's own.
LIMITS = {
    r"torch\.export refused|the model cannot take every": "torch.export",
    r"ONNX opset|the ONNX exporter": "torch.onnx",
    r"litert-torch refused|tflite-mobile has no form": "litert-torch",
    r"the torch model fails|the weights do not fit": "transformers",
    r"the quantizer refused": "ai-edge-quantizer",
    r"the runtime cannot open|the TFLite runtime": "LiteRT",
}
WORDS = ("good", "bad", "fine", "poor", "film", "plot", "a", "the", "not", "very", "actor", "scene", "dull", "bright")


def write_texts(folder: Path, name: str) -> None:
    """A word-level tokenizer and rows in which one word decides."""
    import numpy as np
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    vocabulary = {word: number for number, word in enumerate([*special.values(), "[MASK]", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    ends = [("[CLS]", 2), ("[SEP]", 3)]
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", ends)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        mask_token="[MASK]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        **special,
    ).save_pretrained(folder / "teacher")
    generator = np.random.default_rng(len(name))
    rows = []
    for number in range(ROWS):
        words = [*generator.choice(WORDS[2:], int(generator.integers(2, 12))), WORDS[number % 2]]
        rows.append(json.dumps({"text": " ".join(words), "label": number % 2}))
    (folder / "rows.jsonl").write_text("\n".join(rows) + "\n")


def write_images(folder: Path, size: int) -> None:
    """Pre-processing, and noise whose upper half is bright for class 1."""
    import numpy as np

    settings = {
        "image_processor_type": "ViTImageProcessor", "do_resize": True, "size": {"height": size, "width": size},
        "resample": 2, "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True, "image_mean": [0.5] * 3,
        "image_std": [0.25] * 3,
    }  # fmt: skip
    (folder / "teacher" / "preprocessor_config.json").write_text(json.dumps(settings))
    labels = np.arange(ROWS) % 2
    images = np.random.default_rng(0).integers(0, 128, (ROWS, 16, 16, 3), dtype=np.uint8)
    images[labels == 1, :8] += 127
    np.savez(folder / "rows.npz", x_train=images, y_train=labels)


def write_teacher(folder: Path, name: str) -> str:
    """Weights, processor and data of one architecture in `folder`; returns the data's file."""
    import torch
    from transformers import AutoConfig

    from edgepress.compress.model.model import network_from_config

    fields = dict(TEXT.get(name) or IMAGE[name])
    task = "text-classification" if name in TEXT else "image-classification"
    torch.manual_seed(0)
    network: Any = network_from_config(AutoConfig.for_model(name, num_labels=2, **fields), task)
    network.save_pretrained(folder / "teacher")
    if name in TEXT:
        write_texts(folder, name)
        return "rows.jsonl"
    write_images(folder, int(fields.get("image_size", 32)))
    return "rows.npz"


def work_of(folder: Path, name: str) -> Work:
    """The recipe's rows and options, as each stage is given them."""
    from edgepress import Recipe
    from edgepress.compress.cli.console import Console
    from edgepress.compress.methods.data import Data, Run
    from edgepress.compress.methods.measuring import Measuring
    from edgepress.compress.pipeline.stages.base import Work
    from edgepress.compress.tasks.workspace import Workspace
    from edgepress.compress.training.output_store import OutputStore

    rows = {"train": str(folder / write_teacher(folder, name)), "max_length": LENGTH, "calibration": 16,
            "validation_fraction": 0.2, "labels": ["LABEL_0", "LABEL_1"]}  # fmt: skip
    task = "text-classification" if name in TEXT else "image-classification"
    recipe = Recipe.model_validate(
        {"name": name, "task": task, "data": rows, "teacher": {"model": str(folder / "teacher")}}
    )
    console = Console("silent")
    workspace, cache = Workspace(recipe, console), folder / "cache"
    data = Data(workspace, folder / "model", OutputStore(cache, None, console))
    run = Run("teacher", recipe.seed, folder / "scratch", console)
    return Work(folder, (), data, run, Measuring(recipe, workspace, data, run, cache))


def steps_of(work: Work) -> dict[str, Callable[[Model], Model]]:
    """Name of a step -> the step."""
    from edgepress.compress.methods.distill.options import Distill
    from edgepress.compress.methods.factorize.options import Factorize
    from edgepress.compress.methods.prune.options import Prune
    from edgepress.compress.methods.student import derive_student
    from edgepress.compress.methods.transform import transform
    from edgepress.compress.recipe.recipe import Student

    def stage(options: Any) -> Callable[[Model], Model]:
        return lambda model: transform(model, options, Distill(), work.data, work.run).model

    def layers(model: Model) -> Model:
        feeds, labels = work.data.calibration_batches(model), work.data.calibration_labels()
        return derive_student(model, Student(layers=1), 0, feeds, labels)

    found = {
        "layers": layers,
        "hidden states": stage(Distill.model_validate({"hidden": 1.0, "training": ONCE})),
        "heads": stage(Prune(heads=0.5)),
        "ffn": stage(Prune(ffn=0.5)),
        "channels": stage(Prune(channels=0.5)),
        "factorize": stage(Factorize(energy=0.5)),
    }
    if work.measuring.recipe.task == "text-classification":
        del found["channels"]
    return found


def attempt(work: Callable[[], Any], folder: Path) -> tuple[Any, dict[str, Any]]:
    """What `work` gives and the cell of the table: ok, or the line and whose limit it is."""
    from edgepress.targets.errors import EdgepressError

    began = time.monotonic()
    try:
        answer = work()
    except EdgepressError as fault:
        line = str(fault).replace(str(folder), "")
        return None, {"ok": False, "line": line, "limit": limit_of(line), "seconds": round(time.monotonic() - began, 1)}
    except Exception as fault:  # the very thing that is looked for: no user should see one
        line = f"{type(fault).__name__}: {str(fault).splitlines()[0] if str(fault) else ''}".replace(str(folder), "")
        return None, {"ok": False, "line": line, "limit": "fault", "seconds": round(time.monotonic() - began, 1)}
    return answer, {"ok": True, "seconds": round(time.monotonic() - began, 1)}


def limit_of(line: str) -> str:
    """Whose limit an error's line tells of."""
    return next((owner for pattern, owner in LIMITS.items() if re.search(pattern, line)), "edgepress")


def export(model: Model, work: Work, target: str, out: Path) -> dict[str, dict[str, Any]]:
    """The cells of one target: fp32, and the first int8 candidate that is accepted, with the first one's reason where
    none is."""
    from edgepress.targets.records import Artifact

    backend, feeds = work.measuring.target(target), work.data.calibration_batches(model)
    asked = {precision: backend.candidates(model, precision) for precision in ("fp32", "int8")}
    began = time.monotonic()
    made = list(backend.export_all(model, feeds, (asked["fp32"][0], asked["int8"][0]), out))
    if isinstance(made[0], Artifact) and not isinstance(made[1], Artifact):
        for one in backend.export_all(model, feeds, asked["int8"][1:], out / "others"):
            made.append(one)
            if isinstance(one, Artifact):
                break
    cells = {}
    for precision, tried in (("fp32", made[:1]), ("int8", made[1:])):
        ok = any(isinstance(one, Artifact) for one in tried)
        cells[f"{target} {precision}"] = {"ok": ok, "seconds": round(time.monotonic() - began, 1)}
        if not ok:
            line = next(one.reason for one in tried if not isinstance(one, Artifact))
            cells[f"{target} {precision}"] |= {"line": line, "limit": limit_of(line)}
    return cells


def run_one(name: str, folder: Path) -> dict[str, Any]:
    """All steps of one architecture; runs in a process of its own."""
    from edgepress.compress.pipeline.stages.teacher import make_teacher, stages_of

    work = work_of(folder, name)
    (teacher,) = stages_of(work.measuring.recipe)
    cells: dict[str, Any] = {}
    model, cells["teacher"] = attempt(lambda: make_teacher(teacher, work), folder)
    if model is None:
        return cells
    model.save(folder / "model")
    for step, change in steps_of(work).items():
        made, cells[step] = attempt(lambda change=change, model=model: change(model), folder)  # type: ignore[misc]
        model = made if made is not None else model
    for target in TARGETS:
        out = folder / target
        made, cell = attempt(lambda model=model, t=target, o=out: export(model, work, t, o), folder)  # type: ignore[misc]
        cells |= made if made is not None else {f"{target} {precision}": cell for precision in PRECISIONS}
    return cells


def run_apart(name: str) -> dict[str, Any]:
    """`run_one` in a child that ends within the time limit; children are forked off a process that has the libraries
    loaded."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        [
            "torch",
            "transformers",
            "edgepress.compress.methods.student",
            "edgepress.compress.methods.transform",
            "edgepress.compress.pipeline.stages.teacher",
        ]
    )
    with tempfile.TemporaryDirectory(prefix="edgepress-") as folder:
        answer = Path(folder) / "cells.json"
        child = context.Process(target=_child, args=(name, folder, str(answer)))
        child.start()
        child.join(TIME_LIMIT_S)
        if child.is_alive():
            child.kill()
            child.join()
            return {"teacher": {"ok": False, "line": f"no end after {TIME_LIMIT_S} s", "limit": "fault"}}
        if child.exitcode:
            line = f"the process ended with {child.exitcode}; its last words are above"
            return {"teacher": {"ok": False, "line": line, "limit": "fault"}}
        cells: dict[str, Any] = json.loads(answer.read_text())
        return cells


def _child(name: str, folder: str, answer: str) -> None:
    Path(answer).write_text(json.dumps(run_one(name, Path(folder))))


def faults(results: Mapping[str, Any]) -> list[str]:
    """Cells that are neither done nor a refusal in one line."""
    return [
        f"{name}, {step}: {cell['line']}"
        for name, cells in results.items()
        for step, cell in cells.items()
        if cell.get("limit") == "fault"
    ]


def page(results: Mapping[str, Any], versions: Mapping[str, str]) -> str:
    """The results as Markdown: two tables, and under them each line that a step refused with."""
    used = ", ".join(f"{package} {version}" for package, version in versions.items())
    parts = [
        "# Architectures\n",
        "Written by `python examples/architectures.py`: every architecture tiny, with random weights from a fixed "
        f"seed and {ROWS} rows, through each stage and to two targets ({used}). A number stands for a line below "
        "that says why a step was refused and whose limit it is; the steps after it go on with the model before it.\n",
    ]
    lines: list[str] = []
    for title, table in (("Text", TEXT), ("Images", IMAGE)):
        parts.append(f"## {title}\n")
        parts.append(_table(table, results, lines))
    notes = "\n".join(f"{number}. {line}" for number, line in enumerate(lines, 1))
    missing = [name for name in (*TEXT, *IMAGE) if name not in results]
    tail = f"\nNot run: {', '.join(missing)}.\n" if missing else ""
    return "\n".join(parts) + f"\n## Why not\n\n{notes}\n{tail}"


def _table(names: Mapping[str, Any], results: Mapping[str, Any], lines: list[str]) -> str:
    texts = all(name in TEXT for name in names)
    steps = [step for step in STEPS if not (texts and step == "channels")]
    columns = ["teacher", *steps, *(f"{target} {precision}" for target in TARGETS for precision in PRECISIONS)]
    rows = [f"| architecture | {' | '.join(columns)} |", f"|---|{'---|' * len(columns)}"]
    for name in names:
        if name in results:
            cells = [_cell(results[name].get(column), lines) for column in columns]
            rows.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def _cell(cell: Mapping[str, Any] | None, lines: list[str]) -> str:
    if cell is None:
        return "–"
    if cell["ok"]:
        return "works"
    limit = cell["limit"] if cell["limit"] == "fault" else limit_of(cell["line"])
    line = f"{limit}: {cell['line']}"
    if line not in lines:
        lines.append(line)
    return f"[{lines.index(line) + 1}]"


def versions() -> dict[str, str]:
    from importlib.metadata import version

    names = ("transformers", "torch", "onnxruntime", "litert-torch", "ai-edge-litert", "ai-edge-quantizer")
    return {name: version(name) for name in names}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="architectures to run again; without any, those not run yet")
    parser.add_argument("--page", action="store_true", help="only write the page from the results")
    given = parser.parse_args()
    os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}
    sys.path.insert(0, str(HERE.parent))
    os.environ["PYTHONPATH"] = str(HERE.parent)
    kept = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {"results": {}}
    results: dict[str, Any] = kept["results"]
    if unknown := [name for name in given.names if name not in TEXT and name not in IMAGE]:
        raise SystemExit(f"{unknown[0]} is none of: {', '.join((*TEXT, *IMAGE))}")
    wanted = given.names or [name for name in (*TEXT, *IMAGE) if name not in results]
    for name in [] if given.page else wanted:
        results[name] = run_apart(name)
        done = sum(cell["ok"] for cell in results[name].values())
        print(f"{name:16} {done} of {len(results[name])} steps", flush=True)
        kept = {"versions": versions(), "results": {n: results[n] for n in (*TEXT, *IMAGE) if n in results}}
        RESULTS.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(results, kept.get("versions", {})), encoding="utf-8")
    if told := faults(results):
        raise SystemExit("\n".join(["faults of this project:", *told]))


if __name__ == "__main__":
    main()
