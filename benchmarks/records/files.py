"""The files of a report: JSON and its schema, Markdown, CSV, HTML; written whole or not at all, read back the same."""

from __future__ import annotations

from pathlib import Path

from edgepress.benchmarks.records.report import Report
from edgepress.benchmarks.records.schema import report_schema, schema_text
from edgepress.benchmarks.report.markdown import markdown
from edgepress.benchmarks.report.page import page
from edgepress.benchmarks.report.sheet import sheet
from edgepress.benchmarks.report.terminal import answer_table, stages_table, summary_table
from edgepress.targets.files import write_whole

__all__ = ["answer_table", "read_report", "report_schema", "stages_table", "summary_table", "write_report"]

JSON_NAME, MARKDOWN_NAME, HTML_NAME = "report.json", "report.md", "report.html"
CSV_NAME, SCHEMA_NAME = "report.csv", "report.schema.json"
FILE_NAMES = (HTML_NAME, MARKDOWN_NAME, CSV_NAME, SCHEMA_NAME, JSON_NAME)


def write_report(report: Report, folder: Path) -> None:
    """Write all files into `folder` (made where missing), each beside its place and then renamed.

    report.json comes last: where it is, the others are of the same run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        HTML_NAME: page(report),
        MARKDOWN_NAME: markdown(report),
        CSV_NAME: sheet(report),
        SCHEMA_NAME: schema_text(),
        JSON_NAME: report.model_dump_json(indent=1) + "\n",
    }
    for name, text in texts.items():
        write_whole(folder / name, text)


def read_report(folder: Path) -> Report:
    """The report of a run.

    Raises:
        ArtifactError: report.json is missing, damaged or of another schema version.
    """
    return Report.read(folder / JSON_NAME)
