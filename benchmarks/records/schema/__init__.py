"""The JSON Schema of report.json, made from the records; `report-1.0.json` beside this file is what is shipped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgepress.benchmarks.records.report import SCHEMA_VERSION, Report

SHIPPED = Path(__file__).with_name(f"report-{SCHEMA_VERSION}.json")


def report_schema() -> dict[str, Any]:
    """The schema, each field with its meaning and unit; `$id` carries the version of the layout."""
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:edgepress:report:{SCHEMA_VERSION}",
    }
    return {**head, **Report.model_json_schema(mode="serialization")}


def schema_text() -> str:
    """The schema as it is written to a file."""
    return json.dumps(report_schema(), indent=1, ensure_ascii=False) + "\n"
