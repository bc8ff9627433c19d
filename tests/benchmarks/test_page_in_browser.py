from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.page import page
from benchmarks.records import ClassAccuracy, Report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the path")]


@pytest.fixture
def place(report: Report, tmp_path: Path) -> Path:
    """A page with raw samples, classes and a name that is markup."""
    row = report.candidates[0]
    timed = tuple(one.model_copy(update={"raw": (one.p50, one.p90, one.p50)}) for one in row.latency)
    classes = (ClassAccuracy(name="<b>cat", samples=5, accuracy=0.8, difference=-0.2),)
    name = '<script>alert("x")</script>'
    row = row.model_copy(update={"latency": timed, "classes": classes, "name": name})
    path = tmp_path / "report.html"
    path.write_text(page(report.model_copy(update={"candidates": (row, *report.candidates[1:])})), encoding="utf-8")
    return path


@pytest.fixture
def seen(place: Path) -> Iterator[tuple[Any, list[str]]]:
    """The opened page at phone width, and everything it complained of or asked for."""
    from playwright.sync_api import sync_playwright

    faults: list[str] = []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 390, "height": 800})
        tab.on("console", lambda one: faults.append(one.text) if one.type in ("error", "warning") else None)
        tab.on("pageerror", lambda one: faults.append(str(one)))
        tab.on("request", lambda one: faults.append(one.url) if one.url != place.as_uri() else None)
        tab.goto(place.as_uri())
        yield tab, faults
        browser.close()


def test_the_page_draws_sorts_filters_and_follows_the_mode(seen: tuple[Any, list[str]]) -> None:
    tab, faults = seen
    tab.wait_for_function("[...document.querySelectorAll('.plot')].every(one => one.querySelector('svg .trace'))")
    assert tab.locator(".plot").count() == 8
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    order = "[...document.querySelectorAll('#candidates tbody tr')].map(one => one.cells[0].textContent)"
    head = tab.locator("#candidates thead th button", has_text="p50")
    head.press("Enter")
    assert tab.evaluate(order)[:2] == ["1", "0"]
    head.press("Enter")
    assert tab.evaluate(order)[:2] == ["0", "1"]
    tab.select_option("select[name=status]", "failed")
    assert tab.locator("#count").text_content() == "1 of 4 rows shown"
    assert tab.locator("#candidates tbody tr:visible").count() == 1
    ground = "getComputedStyle(document.body).backgroundColor"
    light = tab.evaluate(ground)
    tab.emulate_media(color_scheme="dark")
    assert tab.evaluate(ground) != light
    assert faults == []
