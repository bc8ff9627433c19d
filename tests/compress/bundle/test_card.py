"""The front of a release's README, as huggingface_hub itself reads model cards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from edgepress.compress.bundle.manifest import Manifest
from edgepress.compress.bundle.readme import write_readme
from edgepress.compress.licences.records import Input
from edgepress.targets.records import Artifact
from tests.benchmarks.quality import quality
from tests.benchmarks.tiny_release import TARGET
from tests.compress.bundles import HELD, OTHER, report_of, tiny_bundle


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two artifacts with figures."""
    folder = tiny_bundle(tmp_path_factory.mktemp("card") / "release")
    artifacts = [Artifact.read(folder / target / "artifact.json") for target in (TARGET, OTHER)]
    report = report_of(artifacts, (HELD,))
    rows = [
        row.model_copy(update={"metrics": quality(value)})
        for row, value in zip(report.candidates, (0.75, 0.5), strict=True)
    ]
    (folder / "report.json").write_text(report.model_copy(update={"candidates": tuple(rows)}).model_dump_json())
    return folder


def hub(part: str, source: str) -> Input:
    role: Any = part.partition(".")[0]
    return Input(role=role, part=part, source=source, kind="hub", verdict="permits", licence="MIT")


def card(release: Path, **facts: Any) -> ModelCard:
    manifest = Manifest.read(release / "manifest.json")
    write_readme(release, manifest.model_copy(update=facts))
    return ModelCard.load(release / "README.md")


INPUTS = (
    hub("teacher.model", "google/teacher"),
    hub("student.init_from", "google/teacher"),
    hub("data.train", "stanfordnlp/sst2:train"),
    hub("data.test", "stanfordnlp/sst2:test"),
)


def test_the_hub_reads_licence_origins_and_figures(release: Path) -> None:
    data = card(release, inputs=INPUTS, licence="Apache-2.0").data
    assert (data.license, data.library_name, data.pipeline_tag) == ("apache-2.0", "edgepress", "image-classification")
    assert (data.base_model, data.datasets) == (["google/teacher"], ["stanfordnlp/sst2"])
    assert data.tags == ["edgepress", TARGET, OTHER]
    figures = {
        result.metric_name: result.metric_value for result in data.eval_results if result.metric_type == "accuracy"
    }
    assert sorted(figures.values()) == [0.5, 0.75]
    assert [name for name, value in figures.items() if value == 0.75] == [f"accuracy ({TARGET}, fp32)"]
    assert {(result.dataset_type, result.dataset_split) for result in data.eval_results} == {
        ("stanfordnlp/sst2", "test")
    }


def test_the_page_for_the_receiver_follows(release: Path) -> None:
    text = card(release).text
    assert text.lstrip().startswith("# tiny\n") and "## Check it" in text


@pytest.mark.parametrize(
    ("licence", "told"),
    [
        ("", (None, None, None)),
        ("MIT OR Apache-2.0", (["mit", "apache-2.0"], None, None)),
        ("LicenseRef-gemma", ("gemma", None, None)),
        ("LicenseRef-mine", ("other", "mine", None)),
        ("MIT AND CC-BY-4.0", ("other", "MIT AND CC-BY-4.0", None)),
        (
            "LicenseRef-tongyi-qianwen",
            (
                "other",
                "tongyi-qianwen",
                "https://github.com/QwenLM/Qwen/blob/main/Tongyi%20Qianwen%20LICENSE%20AGREEMENT",
            ),
        ),
    ],
)
def test_the_licence_is_told_in_the_hubs_words(release: Path, licence: str, told: tuple[Any, ...]) -> None:
    data = card(release, licence=licence).data
    assert (data.license, data.license_name, data.license_link) == told


def test_names_that_look_like_yaml_stay_names(release: Path) -> None:
    source = "a: [b]\n---\nlicense: mit # x.csv"
    rows = Input(role="data", part="data.train", source=source, kind="file", verdict="not stated")
    data = card(release, inputs=(rows,)).data
    assert data.license is None
    assert {result.dataset_name for result in data.eval_results} == {source}
    assert {result.dataset_type for result in data.eval_results} == {"a-b-license-mit-x.csv"}
