from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgepress.benchmarks.records.report import ClassAccuracy, Report
from edgepress.benchmarks.report.page import page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRAWN = "[...document.querySelectorAll('.plot')].every(one => one.querySelector('svg .trace'))"
WIDER = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the path")]


@pytest.fixture
def place(report: Report, tmp_path: Path) -> Path:
    """A page with raw samples, classes and a name that is markup."""
    row = report.candidates[0]
    timed = tuple(one.model_copy(update={"raw": (one.p50, one.p90, one.p50)}) for one in row.latency)
    classes = (ClassAccuracy(name="<b>cat", samples=5, accuracy=0.8, difference=-0.2),)
    name = '<script>alert("x")</script>'
    row = row.model_copy(update={"latency": timed, "classes": classes, "name": name})
    return written(report.model_copy(update={"candidates": (row, *report.candidates[1:])}), tmp_path)


@pytest.fixture
def whole_place(whole: Report, tmp_path: Path) -> Path:
    return written(whole, tmp_path)


def written(report: Report, folder: Path) -> Path:
    path = folder / "report.html"
    path.write_text(page(report), encoding="utf-8")
    return path


def wait(tab: Any, truth: str) -> None:
    """Until an expression holds, 5 s at most: the page's own policy forbids the driver's way of polling."""
    for _ in range(50):
        if tab.evaluate(truth):
            return
        tab.wait_for_timeout(100)
    raise AssertionError(f"never true: {truth}")


@contextlib.contextmanager
def opened(place: Path, width: int = 390) -> Iterator[tuple[Any, list[str]]]:
    """The opened page at some width, and everything it complained of or asked for."""
    from playwright.sync_api import sync_playwright

    faults: list[str] = []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": width, "height": 800})
        tab.on("console", lambda one: faults.append(one.text) if one.type in ("error", "warning") else None)
        tab.on("pageerror", lambda one: faults.append(str(one)))
        tab.on("request", lambda one: faults.append(one.url) if one.url != place.as_uri() else None)
        tab.goto(place.as_uri())
        wait(tab, DRAWN)
        yield tab, faults
        browser.close()


@pytest.fixture
def seen(place: Path) -> Iterator[tuple[Any, list[str]]]:
    """The page at phone width."""
    with opened(place) as found:
        yield found


def test_the_page_draws_sorts_filters_and_follows_the_mode(seen: tuple[Any, list[str]]) -> None:
    tab, faults = seen
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


@pytest.mark.parametrize("width", [360, 390, 768, 1440])
def test_a_page_with_everything_is_drawn_at_any_width_and_only_tables_scroll(whole_place: Path, width: int) -> None:
    with opened(whole_place, width) as (tab, faults):
        # 2 trade-offs, 2 of latency, 1 sustained run, 2 rooflines, 1 of classes, 3 waterfalls.
        assert tab.locator(".plot").count() == 11
        assert not tab.evaluate(WIDER)
        outside = "[...document.querySelectorAll('table')].filter(one => !one.closest('.scroll')).length"
        assert tab.evaluate(outside) == 0
        unnamed = "document.querySelectorAll('.scroll:not([aria-label]):not([aria-labelledby])').length"
        assert tab.evaluate(unnamed) == 0
        assert faults == []


def test_labels_of_plots_are_not_cut_off_at_phone_width(whole_place: Path) -> None:
    with opened(whole_place, 390) as (tab, _):
        cut = """[...document.querySelectorAll('figure')].flatMap(figure => {
            const card = figure.querySelector('.plot').getBoundingClientRect();
            return [...figure.querySelectorAll('svg text')].filter(one => {
                const box = one.getBoundingClientRect();
                return box.width && (box.left < card.left - 1 || box.right > card.right + 1);
            }).map(one => one.textContent);
        })"""
        assert tab.evaluate(cut) == []


def test_the_jump_list_and_tables_can_be_used_by_keyboard(whole_place: Path) -> None:
    with opened(whole_place, 390) as (tab, _):
        tab.locator("nav a", has_text="Footprint").press("Enter")
        assert tab.evaluate("location.hash") == "#footprint"
        region = tab.get_by_role("region", name="Footprint, table")
        region.focus()
        region.press("ArrowRight")
        wait(tab, "document.activeElement.scrollLeft > 0")
        assert tab.get_by_role("table").first.get_by_role("row").count() == 5


def test_paper_is_light_and_shows_what_is_folded_away(whole_place: Path) -> None:
    with opened(whole_place, 1045) as (tab, faults):
        tab.emulate_media(color_scheme="dark")
        shown = "getComputedStyle(document.documentElement).getPropertyValue('--card').trim()"
        fill = "document.querySelector('.plot .main-svg').style.background"
        dark = tab.evaluate(shown), tab.evaluate(fill)
        tab.evaluate("window.dispatchEvent(new Event('beforeprint'))")
        assert tab.evaluate(shown) == "#ffffff" and tab.evaluate(fill) != dark[1]
        assert tab.locator("details.behind[open]").count() == 1
        tab.evaluate("window.dispatchEvent(new Event('afterprint'))")
        assert (tab.evaluate(shown), tab.evaluate(fill)) == dark
        assert tab.locator("details.behind[open]").count() == 0
        assert tab.pdf().startswith(b"%PDF")
        assert faults == []
