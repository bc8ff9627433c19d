"""What windows of sound cost a device that listens all the time: compute a second of audio, from the p50."""

from __future__ import annotations

from edgepress.benchmarks.records.report import Report
from edgepress.benchmarks.report.sections.base import Line, Section, all_rows, artifact
from edgepress.benchmarks.report.wording import ms, shape_words

WINDOW = "window_seconds"
"""Key of `Report.data`: seconds of audio in a row; only reports of recordings have it."""

NOTHING = "Not measured: no row of this report has a latency."


def streaming(report: Report) -> Section | None:
    """One line for each artifact and shape; None where rows are no windows of sound.

    A window is taken to begin where the last one ended; windows that overlap by half cost twice as much.
    """
    seconds = report.data.get(WINDOW)
    if not isinstance(seconds, int | float):
        return None
    lines: list[Line] = []
    for row in all_rows(report):
        for one in row.latency:
            spent = one.p50 / (one.batch * seconds)
            lines.append((artifact(row), shape_words(one.shape), ms(spent), f"{spent / 1000:.2g}"))
    note = f"Windows of {seconds:g} s, one behind the other; a real-time factor below 1 keeps up with the sound."
    heads = ("artifact", "shape", "ms a second of audio", "real-time factor")
    return Section("streaming", "Streaming", heads, lines, ("artifact", "shape"), (note,) if lines else (), NOTHING)
