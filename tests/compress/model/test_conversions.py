from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from edgepress.compress.methods.quantize import export as conversions
from edgepress.compress.methods.quantize.export import (
    Order,
    conversion_bytes,
    export_candidates,
    export_fp32,
    free_memory,
    with_processor,
)
from edgepress.targets.acceptance.reference import Reference
from edgepress.targets.errors import TargetError
from edgepress.targets.records import Artifact, Candidate, Refusal
from tests.compress.fakes import TokenFeatures, tiny_bert, write_artifact

MODEL = tiny_bert()
FEEDS = [MODEL.signature.select(TokenFeatures(4).batch([0, 1, 2, 3], 12))]
FP32, INT8 = Candidate(name="fp32", precision="fp32"), Candidate(name="int8", precision="int8")


@pytest.fixture(autouse=True)
def calibrated(measuring: Any) -> None:
    measuring.data.calibration_batches = lambda model: FEEDS


class Told:
    """Targets that write down what they are asked, in `said`; those of `faults` fail at `begin` or with a result."""

    def __init__(self, **faults: str) -> None:
        self.faults = faults
        self.said: list[str] = []
        self.references: list[Reference] = []

    def target(self, name: str) -> Any:
        references, said, fault = self.references, self.said, self.faults.get(name, "")

        class Target:
            @contextmanager
            def begin_export(
                self, model: Any, calibration: Any, candidates: Sequence[Candidate], folder: Path, reference: Reference
            ) -> Iterator[Iterator[Artifact | Refusal]]:
                if fault == "begin":
                    raise TargetError(f"{name} takes no such model")
                said.append(f"{name} begins")
                references.append(reference)
                try:
                    yield self.results(candidates, folder)
                finally:
                    said.append(f"{name} ends")

            def results(self, candidates: Sequence[Candidate], folder: Path) -> Iterator[Artifact | Refusal]:
                if fault == "convert":
                    raise TargetError(f"{name} cannot convert it")
                for candidate in candidates:
                    said.append(f"{name} {candidate.name}")
                    if fault == candidate.name:
                        yield Refusal(candidate=candidate, reason="no such operator")
                    else:
                        yield write_artifact(folder / candidate.name, name, candidate.name)

        return Target()


def orders(folder: Path, *names: str) -> dict[str, Order]:
    return {name: Order((FP32, INT8), folder / name) for name in names}


def test_all_targets_begin_before_the_first_is_waited_for(measuring: Any, tmp_path: Path) -> None:
    told = Told(b="int8")
    measuring.target = told.target
    found = export_candidates(MODEL, orders(tmp_path, "a", "b"), measuring)
    assert told.said == ["a begins", "b begins", "a fp32", "a int8", "b fp32", "b int8", "b ends", "a ends"]
    assert [(one.key, one.failure) for made in found.values() for one in made] == [  # type: ignore[union-attr]
        ("a/fp32", ""), ("a/int8", ""), ("b/fp32", ""), ("b/int8", "no such operator"),
    ]  # fmt: skip
    first, second = told.references
    assert first is second  # the torch model ran once


def test_with_too_little_memory_for_all_they_go_one_after_the_other(
    measuring: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told()
    measuring.target = told.target
    monkeypatch.setattr(conversions, "free_memory", lambda: 2 * conversion_bytes(MODEL) - 1)
    export_candidates(MODEL, orders(tmp_path, "a", "b"), measuring)
    assert told.said[:5] == ["a begins", "a fp32", "a int8", "a ends", "b begins"]
    first, second = told.references
    assert first is second  # the torch model ran once here too
    assert conversion_bytes(MODEL) == 1_000_000_000 + 40 * MODEL.parameters


@pytest.mark.parametrize(("when", "message"), [("begin", "b takes no such model"), ("convert", "b cannot convert it")])
def test_a_target_that_refuses_the_model_does_not_stop_the_others(
    measuring: Any, tmp_path: Path, when: str, message: str
) -> None:
    measuring.target = Told(b=when).target
    found = export_candidates(MODEL, orders(tmp_path, "a", "b", "c"), measuring)
    assert [len(found[name]) for name in "ac"] == [2, 2]  # type: ignore[arg-type]
    assert isinstance(found["b"], TargetError)
    assert str(found["b"]) == message


def test_without_calibration_every_target_says_so(measuring: Any, tmp_path: Path) -> None:
    measuring.data.calibration_batches = lambda model: []
    found = export_candidates(MODEL, orders(tmp_path, "a", "b"), measuring)
    assert [str(fault) for fault in found.values()] == 2 * [
        "nothing to compare the export with: give at least one calibration batch"
    ]


def test_an_interruption_ends_what_was_begun(measuring: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told()
    measuring.target = told.target

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(conversions, "with_processor", interrupt)
    with pytest.raises(KeyboardInterrupt):
        export_candidates(MODEL, orders(tmp_path, "a", "b"), measuring)
    assert told.said == ["a begins", "b begins", "a fp32", "b ends", "a ends"]


def test_fp32_exports_lie_where_they_were_wanted_and_refused_ones_leave_nothing(measuring: Any, tmp_path: Path) -> None:
    measuring.target = Told(b="fp32", c="begin").target
    folder = tmp_path / "cache/exports"
    refused = export_fp32(MODEL, {name: folder / name for name in "abc"}, measuring)
    assert {name: str(fault) for name, fault in refused.items()} == {
        "b": "no such operator",
        "c": "c takes no such model",
    }
    assert [path.name for path in folder.iterdir()] == ["a"]
    assert Artifact.read(folder / "a/artifact.json").recipe_digest == "d" * 64
    assert export_fp32(MODEL, {}, measuring) == {}


def test_an_export_is_furnished_with_what_other_tools_need_and_its_bytes_count(measuring: Any, tmp_path: Path) -> None:
    folder = tmp_path / "fp32"
    furnished = with_processor(write_artifact(folder), folder, MODEL, measuring)
    assert [entry.path for entry in furnished.files] == ["model.onnx", "config.json", "tokenizer.json"]
    assert furnished.bytes == 5 + (folder / "config.json").stat().st_size + 2
    assert json.loads((folder / "config.json").read_text())["model_type"] == "bert"
    assert Artifact.read(folder / "artifact.json") == furnished
    assert furnished.recipe_digest == "d" * 64


@pytest.mark.parametrize(("limit", "free"), [("3000000", 2_000_000), ("max", None), (None, None)])
def test_a_containers_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, free: int) -> None:
    monkeypatch.setattr(conversions.psutil, "virtual_memory", lambda: type("Memory", (), {"available": 9_000_000}))
    if limit is not None:
        (tmp_path / "memory.max").write_text(f"{limit}\n")
        (tmp_path / "memory.current").write_text("1000000\n")
    assert free_memory(tmp_path) == (free or 9_000_000)
