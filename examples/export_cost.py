"""What an export costs: seconds and peak memory for each target, in fp32 and int8, calibration included.

    DATA=../shared/data python examples/export_cost.py student teacher
    python examples/export_cost.py teacher --targets tflite-mobile xla-tpu

`student` is the student of examples/sst2.yaml as it leaves its first stage, `teacher` a BERT-base (768 x 12) with
random weights: both cost what trained ones cost. Each export runs in a process of its own; its memory is that of this
process and its children together, sampled ten times a second. Processor seconds, of all threads and children together,
hardly change when something else runs beside it, as the time does. Writes `examples/results/export.json`, where other
models and targets keep their rows.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "export.json"
TARGETS = ("onnxruntime-cpu", "tensorrt-gpu", "tflite-mobile", "xla-tpu")
ROWS, BATCH, LONGEST = 128, 16, 128
SAMPLE_S = 0.1


def make_student(folder: Path) -> None:
    """The recipe's own student; what the stages after it change costs no export more."""
    from edgepress import Recipe, run

    recipe = Recipe.load(HERE / "sst2.yaml", overrides=("data.limit=500",))
    made = run(recipe, until="student", runs=folder)
    (made.folder / made.stages[-1].folder).rename(folder / "model")


def make_teacher(folder: Path) -> None:
    from transformers import BertConfig

    from edgepress.compress.model.model import Model, network_from_config
    from edgepress.targets.records import Signature, TensorSpec

    shape = ("batch", "sequence")
    signature = Signature(
        inputs=tuple(TensorSpec(name=name, dtype="int64", shape=shape) for name in ("input_ids", "attention_mask")),
        outputs=(TensorSpec(name="logits", dtype="float32", shape=("batch", 2)),),
        bounds={"batch": (1, 256), "sequence": (2, LONGEST)},
    )
    network = network_from_config(BertConfig(num_labels=2), "text-classification")
    Model(network=network, task="text-classification", signature=signature).save(folder / "model")


def export_one(folder: Path, target: str, precision: str, out: Path) -> dict[str, Any]:
    """Runs in a process of its own."""
    import numpy as np

    from edgepress import targets
    from edgepress.compress.model.model import Model

    model = Model.load(folder / "model")
    numbers = np.random.default_rng(0)
    batches = []
    for length in np.linspace(8, LONGEST, ROWS // BATCH, dtype=int):
        ids = numbers.integers(1000, 20000, (BATCH, length))
        known = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        batches.append({spec.name: known[spec.name] for spec in model.signature.inputs})
    backend = targets.load(target)
    began, worked = time.monotonic(), _processor_seconds()
    artifact = backend.export(model, batches, backend.candidates(model, precision)[0], out)  # type: ignore[arg-type]
    return {
        "seconds": round(time.monotonic() - began, 1),
        "processor_seconds": round(_processor_seconds() - worked, 1),
        "bytes": artifact.bytes,
    }


def _processor_seconds() -> float:
    """Of this process and of its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


class Watch(threading.Thread):
    """Largest resident memory of a process and its children together, in bytes."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid, self.peak = pid, 0

    def run(self) -> None:
        import psutil

        try:
            process = psutil.Process(self.pid)
            while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                self.peak = max(self.peak, sum(_resident(one) for one in (process, *process.children(recursive=True))))
                time.sleep(SAMPLE_S)
        except psutil.NoSuchProcess:
            pass  # it ended between two looks


def _resident(process: Any) -> int:
    import psutil

    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def measure(folder: Path, target: str, precision: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="edgepress-") as out:
        command = [sys.executable, __file__, "--one", str(folder), target, precision, f"{out}/artifact"]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        watch = Watch(child.pid)
        watch.start()
        answer, told = child.communicate()
        if child.returncode:
            raise SystemExit(f"the export to {target} in {precision} failed: {told[-2000:]}")
        return {"target": target, "precision": precision, **json.loads(answer), "peak_bytes": watch.peak}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=["student", "teacher"], help="student, teacher")
    parser.add_argument("--targets", nargs="+", choices=TARGETS, default=TARGETS)
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        folder, target, precision, out = given.one
        answer = export_one(Path(folder), target, precision, Path(out))
        print(json.dumps(answer))
        return
    figures = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
    for name in given.models:
        with tempfile.TemporaryDirectory(prefix="edgepress-") as temporary:
            (make_student if name == "student" else make_teacher)(Path(temporary))
            figures[name] = [row for row in figures.get(name, ()) if row["target"] not in given.targets]
            for target in given.targets:
                for precision in ("fp32", "int8"):
                    row = measure(Path(temporary), target, precision)
                    memory = f"{row['peak_bytes'] / 1e9:.2f} GB"
                    seconds = f"{row['seconds']:6.1f} s ({row['processor_seconds']:.1f} s of processors)"
                    print(f"{name:8} {target:16} {precision}  {seconds}  {memory}", flush=True)
                    figures[name].append(row)
            figures[name].sort(key=lambda row: TARGETS.index(row["target"]))
            figures["cores"] = os.cpu_count()
    RESULTS.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
