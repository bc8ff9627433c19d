"""What `edgepress gc` says: each thing that went, with its bytes, and the sum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgepress.compress.cli.console import Console
    from edgepress.compress.pipeline.garbage import Garbage


def show_garbage(found: Sequence[Garbage], dry_run: bool, console: Console) -> None:
    """One row for each thing, then the sum."""
    from rich.table import Table

    total = sum(one.bytes for one in found)
    if found:
        table = Table(title="What no recipe reaches")
        for column in ("run", "path", "bytes"):
            table.add_column(column, justify="right" if column == "bytes" else "left")
        for one in found:
            table.add_row(one.run, str(one.path), f"{one.bytes:,}")
        console.table(table)
    verb = "would free" if dry_run else "freed"
    console.line(f"{len(found)} things that no recipe reaches: {verb} {total:,} bytes")
