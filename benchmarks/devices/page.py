"""The hardware report as one HTML page: opens offline, asks for nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgepress.benchmarks.devices.outcomes import Outcome
from edgepress.benchmarks.devices.plots import NOTE, tradeoffs
from edgepress.benchmarks.devices.ranking import artifact_ranking, device_ranking, pair_ranking, ship_section
from edgepress.benchmarks.devices.shipping import Standing
from edgepress.benchmarks.report.environment import templates
from edgepress.benchmarks.report.plots.base import library
from edgepress.benchmarks.report.sections.base import Section
from edgepress.targets.text import visible


def devices_page(title: str, found: Sequence[Standing], outcomes: Sequence[Outcome] = ()) -> str:
    """The page; every text of a record is escaped, and what cannot be seen in it is made visible.

    Args:
        title: of the report.
        found: what stands for each device and target.
        outcomes: what became of the devices of a fleet.
    """
    found = [_visible(one) for one in found]
    return templates().get_template("devices.html.j2").render(
        title=visible(title), sections=[_seen(one) for one in sections_of(found, outcomes)],
        plots=tradeoffs(found), note=NOTE, library=library(),
    )  # fmt: skip


def sections_of(found: Sequence[Standing], outcomes: Sequence[Outcome]) -> list[Section]:
    """The tables of the page, that of what to ship first."""
    rankings = [device_ranking(found), artifact_ranking(found), pair_ranking(found)]
    return [ship_section(found, outcomes), *rankings, lacking_section(outcomes)]


def lacking_section(outcomes: Sequence[Outcome]) -> Section:
    """A line for each device and target that gave no figures."""
    found = sorted((one for one in outcomes if one.state != "measured"), key=lambda one: one.place)
    lines = [(one.device, one.target or "all", one.state, one.reason or "no reason was given") for one in found]
    heads = ("device", "target", "what happened", "reason")
    return Section("lacking", "Not measured", heads, list(lines), heads)


def _visible(one: Standing) -> Standing:
    names = {key: visible(getattr(one.record, key)) for key in ("device", "target", "artifact")}
    return replace(one, record=one.record.model_copy(update=names))


def _seen(one: Section) -> Section:
    return one._replace(lines=[tuple(map(visible, line)) for line in one.lines])
