"""Run example recipes from an empty folder; write their figures to `examples/results/` and README's table from them.

    python examples/reproduce.py digits sst2

Each recipe runs as a user runs it, in a process of its own; its wall time is part of the figures.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from edgepress.benchmarks.measure.environment import lacks_vnni
from edgepress.benchmarks.records.files import read_report
from edgepress.benchmarks.records.report import Row
from edgepress.benchmarks.records.upgrade import upgraded_row

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
README = HERE.parent / "README.md"
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"


def reproduce(name: str, keep: Path | None) -> Path:
    """Run `examples/<name>.yaml` in a fresh folder and write `examples/results/<name>.json`."""
    with ExitStack() as stack:
        runs = keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edgepress-")))
        if (runs / name).exists():
            raise SystemExit(f"{runs / name} is there: its finished stages would not be timed. Remove it first.")
        command = [
            sys.executable,
            "-m",
            "edgepress",
            "run",
            str(HERE / f"{name}.yaml"),
            "--runs",
            str(runs),
        ]
        began = time.monotonic()
        code = subprocess.run(command, cwd=HERE.parent, check=False).returncode
        seconds = time.monotonic() - began
        if code:
            raise SystemExit(f"the recipe {name} ended with exit code {code}; its figures were not written")
        return write_figures(runs / name, seconds)


def write_figures(run: Path, seconds: float | None) -> Path:
    """The figures of a finished run; `seconds` is None for one that was not timed as a whole."""
    report = read_report(run / "report")
    rows = [without_samples(row.model_dump(mode="json")) for row in (report.teacher, *report.candidates)]
    figures: dict[str, Any] = {
        "recipe": f"examples/{report.name}.yaml",
        "seconds": seconds and round(seconds, 1),
        "environment": report.environment,
        "data": report.data,
        "rows": rows,
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{report.name}.json"
    path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return path


def without_samples(row: dict[str, Any]) -> dict[str, Any]:
    """Thousands of timed calls stay in the run's own report."""
    return {**row, "latency": [{**item, "raw": []} for item in row["latency"]]}


def table(figures: dict[str, Any]) -> str:
    """The chosen artifact of each target of one recipe as Markdown, beside the teacher's figures in the line above."""
    data, teacher = figures["data"], Row.model_validate(upgraded_row(figures["rows"][0]))
    took = f", {figures['seconds'] / 60:.1f} min in all" if figures["seconds"] else ""
    head = (
        f"**[`{figures['recipe']}`]({figures['recipe']})**: teacher {teacher.name}, "
        f"{_metric(teacher)} on {data['test']} test rows ({_processor(figures['environment'])}{took})\n\n"
        "| artifact | accuracy | faster | smaller |\n|---|---|---|---|\n"
    )
    # Results that were kept before metrics had a list of their own are read as they stand.
    kept = [Row.model_validate(upgraded_row(row)) for row in figures["rows"]]
    return head + "".join(_line(row) for row in kept if row.chosen)


def _metric(row: Row) -> str:
    return f"{row.primary.name} {row.primary.value:.4f}" if row.primary else "not measured"


def _processor(environment: dict[str, Any]) -> str:
    """Its name and what int8 makes of it: the same name is sold with and without VNNI."""
    isa = environment["isa"]
    vnni = "" if "avx2" not in isa else ", without VNNI" if lacks_vnni(isa) else ", with VNNI"
    return f"{environment['cpu']}{vnni}"


def _line(row: Row) -> str:
    timed = [item for item in row.latency if item.speedup is not None]
    speed = " / ".join(f"{item.speedup:.1f}x" for item in timed)
    lengths = " / ".join(str(item.sequence) for item in timed if item.sequence)
    absent = {"built": "built, not run here", "estimated": "compiled, not run here"}.get(row.status, "–")
    faster = f"{speed} (sequence {lengths})" if lengths else speed or absent
    value = f"{row.primary.value:.4f}" if row.primary else "–"
    return f"| {row.target}: {row.name} | {value} | {faster} | {row.shrink:.1f}x, {(row.bytes or 0) / 1e6:.2f} MB |\n"


def update_readme(paths: list[Path]) -> None:
    """Replace what stands between the marks."""
    text = README.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    # Other commands keep their figures there, too: those of recipes say which.
    found = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    tables = "\n".join(table(figures) for figures in found if "recipe" in figures)
    README.write_text(f"{before}{BEGIN}\n{tables}{END}{after}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", help="names of recipes in examples/; none: only write the README's table")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="leave the runs in this folder")
    parser.add_argument("--from-run", type=Path, metavar="FOLDER", help="take the figures of this finished run")
    given = parser.parse_args()
    if given.from_run:
        print(f"wrote {write_figures(given.from_run, None)}")
    for name in given.recipes:
        print(f"wrote {reproduce(name, given.keep)}")
    update_readme(sorted(RESULTS.glob("*.json"), reverse=True))


if __name__ == "__main__":
    main()
