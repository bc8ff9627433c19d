"""The table of `edgepress bench --scenario`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgepress.benchmarks.bench import ScenarioRow

if TYPE_CHECKING:
    from rich.table import Table


def scenario_table(scenario: str, rows: Sequence[ScenarioRow]) -> Table:
    """A line for each artifact and shape."""
    from rich.table import Table

    table = Table(title=f"Scenario {scenario}")
    for column in ("artifact", "batch", "sequence", "threads", "figure", "samples", "remark"):
        table.add_column(column, justify="left" if column in ("artifact", "remark") else "right")
    for row in rows:
        shape = row.case.shape
        cells = (row.name, str(shape.batch), str(shape.sequence or "–"), str(shape.threads))
        if row.result is None:
            table.add_row(*cells, "–", "–", f"failed: {row.failure}")
        else:
            figure = f"{row.result.value:.4g} {row.result.unit}"
            table.add_row(*cells, figure, str(row.result.samples), row.result.meaning)
    return table
