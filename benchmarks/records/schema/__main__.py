"""`python -m edgepress.benchmarks.records.schema` writes the shipped schema anew, after a change of the records."""

from __future__ import annotations

from edgepress.benchmarks.records.schema import SHIPPED, schema_text

if __name__ == "__main__":
    SHIPPED.write_text(schema_text(), encoding="utf-8", newline="")
    print(f"Wrote {SHIPPED.name}")
