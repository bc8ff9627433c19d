"""The front of a release's README as the Hugging Face hub reads it: licence, origins, figures of the artifacts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from edgepress.benchmarks.records.report import Report, Row
from edgepress.compress.bundle.manifest import Manifest
from edgepress.compress.licences.records import Input
from edgepress.compress.licences.table import OTHER, of_name

PIPELINE = re.compile("(audio|image|tabular|text)-classification|image-segmentation")
"""Tasks that the hub knows by the same name."""
HUB_REFERENCES = ("gemma", "llama2", "llama3", "llama3.1", "llama3.2", "llama3.3", "llama4", "openrail")
"""Licences without SPDX id that the hub has a tag for."""


def front(manifest: Manifest, report: Report | None) -> str:
    """The front matter, marks and all; without a report there are no figures.

    Args:
        manifest: of the release, which need not be sealed.
        report: its report.
    """
    facts: dict[str, Any] = {**_licence(manifest.licence), "library_name": "edgepress"}
    if report is not None and PIPELINE.fullmatch(report.task):
        facts["pipeline_tag"] = report.task
    facts["tags"] = ["edgepress", *manifest.artifacts]
    origins = {
        "base_model": _on_hub(manifest, ("teacher.model", "student.model", "student.init_from")),
        "datasets": _on_hub(manifest, ("data.train", "data.validation", "data.test")),
    }
    facts |= {key: names for key, names in origins.items() if names}
    if report is not None and (results := list(_results(manifest, report))):
        facts["model-index"] = [{"name": manifest.name, "results": results}]
    text: str = yaml.safe_dump(facts, sort_keys=False, allow_unicode=True, width=1000)
    return f"---\n{text}---"


def _licence(expression: str) -> dict[str, Any]:
    """The release's licence in the hub's words; nothing where nobody said which it is."""
    names = expression.split(" OR ")
    if not expression:
        return {}
    if all(re.fullmatch(r"[A-Za-z0-9.-]+", name) and not name.startswith(OTHER) for name in names):
        return {"license": [name.lower() for name in names] if len(names) > 1 else names[0].lower()}
    name = expression.removeprefix(OTHER)
    if name in HUB_REFERENCES:
        return {"license": name}
    row = of_name(expression)
    link = {"license_link": row.source} if row is not None else {}
    return {"license": "other", "license_name": name, **link}


def _on_hub(manifest: Manifest, parts: tuple[str, ...]) -> list[str]:
    """Ids of the hub among the inputs, each once; local folders have none."""
    found = [re.split("[:@]", one.source)[0] for one in manifest.inputs if one.part in parts and one.kind == "hub"]
    return list(dict.fromkeys(found))


def _results(manifest: Manifest, report: Report) -> Iterator[dict[str, Any]]:
    """One entry: the task, the test rows, and each artifact's metrics on them."""
    metrics = [
        {"type": figure.key, "name": f"{figure.name} ({row.target}, {row.precision})", "value": figure.value}
        for row in _released(manifest, report)
        for figure in row.metrics
    ]
    if metrics:
        yield {"task": {"type": report.task}, "dataset": _rows(manifest.inputs), "metrics": metrics}


def _released(manifest: Manifest, report: Report) -> Iterator[Row]:
    return (row for row in report.candidates if row.chosen and row.target in manifest.artifacts)


def _rows(inputs: tuple[Input, ...]) -> Mapping[str, str]:
    """The test rows, or what they were cut from. The hub wants a type: an id there, or a name that may be one."""
    by_part = {one.part: one for one in inputs}
    source = by_part.get("data.test") or by_part.get("data.train")
    name = source.source if source is not None else "not recorded"
    kind = re.split("[:@]", name)[0] if source is not None and source.kind == "hub" else ""
    return {"name": name, "type": kind or re.sub(r"[^A-Za-z0-9._]+", "-", name).strip("-.") or "rows", "split": "test"}
