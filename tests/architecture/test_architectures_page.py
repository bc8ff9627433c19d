"""docs/architectures.md is what examples/architectures.py makes of its results, and holds no fault of this project."""

import json
import sys
from typing import Any

import pytest

from tests.conftest import ROOT


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    import architectures

    yield architectures
    for name in ("architectures", "tiny_architectures"):
        sys.modules.pop(name, None)


def test_the_page_is_made_of_the_results_and_no_step_ends_in_a_traceback(script: Any) -> None:
    kept = json.loads(script.RESULTS.read_text(encoding="utf-8"))
    assert script.faults(kept["results"]) == []
    assert script.PAGE.read_text(encoding="utf-8") == script.page(kept["results"], kept["versions"])


def test_a_refusal_says_whose_limit_it_is_and_a_traceback_is_a_fault(script: Any) -> None:
    assert script.limit_of("torch.export refused the model: x") == "torch.export"
    assert script.limit_of("litert-torch refused the model: x") == "litert-torch"
    assert script.limit_of("prune: x has no attention heads that can be pruned") == "edgepress"
    cells = {"bert": {"teacher": {"ok": False, "line": "KeyError: 'x'", "limit": "fault"}}}
    assert script.faults(cells) == ["bert, teacher: KeyError: 'x'"]
