"""Everything the command line says: bars on a terminal, few plain lines in a log, one JSON object a line for machines.

Progress, events, warnings and errors go to stderr, results to stdout. rich is loaded when something is first drawn.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TextIO

from edgepress.targets.progress import Advance
from edgepress.targets.text import visible

if TYPE_CHECKING:
    from rich.console import Console as RichConsole
    from rich.console import ConsoleOptions
    from rich.progress import Progress, TaskID
    from rich.segment import Segment
    from rich.table import Table


Mode = Literal["rich", "plain", "json", "silent"]
# Wide enough that no table of a report is folded in a log.
LOG_WIDTH = 240


@dataclass
class TaskState:
    """How far one task is. Times in seconds of the console's clock; `first` is what was done before it began."""

    title: str
    total: float | None
    first: float
    began: float
    done: float = field(init=False)
    note: str = ""
    last_shown: float = field(init=False)

    def __post_init__(self) -> None:
        self.done = self.first
        self.last_shown = self.began

    def seconds_left(self, now: float) -> float | None:
        """Linear estimate; what was done before this process began says nothing about its speed."""
        if self.total is None or self.done <= self.first:
            return None
        return (now - self.began) / (self.done - self.first) * max(self.total - self.done, 0.0)

    def text(self, now: float) -> str:
        """`Training student: 120/480, 3:10 left, loss 0.31`."""
        left = self.seconds_left(now)
        count = f"{self.done:g}" if self.total is None else f"{self.done:g}/{self.total:g}"
        parts = [count, f"{duration(left)} left" if left is not None else "", self.note]
        return f"{self.title}: {', '.join(part for part in parts if part)}"

    def fields(self, now: float) -> dict[str, object]:
        left = self.seconds_left(now)
        return {
            "title": self.title,
            "done": self.done,
            "total": self.total,
            "seconds": round(now - self.began, 1),
            "seconds_left": None if left is None else round(left, 1),
            "note": self.note,
        }


def duration(seconds: float) -> str:
    """
    >>> duration(0.42), duration(190), duration(3725)
    ('0.4 s', '3:10', '1:02:05')
    """
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def event_text(kind: str, fields: Mapping[str, object]) -> str:
    """An event as people read it.

    >>> event_text("stage", {"name": "prune", "state": "finished", "seconds": 75, "dropped": None, "layers": 3})
    'stage prune finished: 1:15, layers 3'
    """
    given = {name: value for name, value in fields.items() if value is not None and value != ""}
    head = [kind, *(str(given.pop(name)) for name in ("name", "state") if name in given)]
    rest = [
        duration(value) if name == "seconds" and isinstance(value, int | float) else f"{name} {value}"
        for name, value in given.items()
    ]
    return " ".join(head) + (f": {', '.join(rest)}" if rest else "")


class Console:
    """Where a run reports to. Without a `mode` it looks at stderr: a terminal gets bars, anything else plain lines.

    `interval` is the least time between two lines of one task in a log, in seconds; `clock` counts seconds.
    """

    def __init__(
        self,
        mode: Mode | None = None,
        *,
        out: TextIO | None = None,
        err: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
        interval: float = 10.0,
    ) -> None:
        self._given_out, self._given_err = out, err
        self._clock = clock
        self._interval = interval
        self.mode: Mode = mode or ("rich" if is_terminal(self._err) else "plain")
        self._progress: Progress | None = None
        self._open_tasks = 0

    # The streams are looked up each time: whoever redirects sys.stdout later is heard.
    @property
    def _out(self) -> TextIO:
        return self._given_out or sys.stdout

    @property
    def _err(self) -> TextIO:
        return self._given_err or sys.stderr

    def line(self, text: str = "") -> None:
        """One line of the result."""
        self._say("line", text, self._out, {"text": text})

    def warn(self, text: str) -> None:
        """Something the user should know; shown in every mode."""
        self._say("warning", f"warning: {text}", self._err, {"text": text}, style="yellow")

    def error(self, text: str) -> None:
        """Why the command failed; shown in every mode."""
        self._say("error", f"error: {text}", self._err, {"text": text}, style="bold red")

    def event(self, kind: str, **fields: object) -> None:
        """A step of the run: `event("stage", name="prune", state="finished", seconds=3.2)`."""
        self._say(kind, event_text(kind, fields), self._err, fields)

    def table(self, table: Table) -> None:
        """A result table. As JSON: its title, columns and rows."""
        if self.mode == "json":
            self._emit("table", self._out, table_fields(table))
        elif self.mode != "silent":
            self._rich(self._out).print(_Visible(table))

    @contextmanager
    def task(self, title: str, total: float | None = None, *, done: float = 0) -> Iterator[Advance]:
        """Progress of something longer than a second; `done` units were finished before, by a run that was cut off."""
        state = TaskState(visible(title), total, done, self._clock())
        if self.mode == "rich":
            with self._bar(state) as advance:
                yield advance
            return
        if self.mode == "json":
            self._emit("progress", self._err, {"state": "started", **state.fields(state.began)})
        outcome = "failed"
        try:
            yield self._logged(state)
            outcome = "finished"
        finally:
            self._end_log(state, outcome)

    def _logged(self, state: TaskState) -> Advance:
        def advance(amount: float = 1, *, note: str | None = None, total: float | None = None) -> None:
            _update(state, amount, note, total)
            now = self._clock()
            if now - state.last_shown < self._interval:
                return
            state.last_shown = now
            self._say("progress", state.text(now), self._err, {"state": "running", **state.fields(now)})

        return advance

    def _end_log(self, state: TaskState, outcome: str) -> None:
        now = self._clock()
        if self.mode == "json":
            self._emit("progress", self._err, {"state": outcome, **state.fields(now)})
        elif self.mode == "plain" and now - state.began >= 1:
            # A task that counts nothing has a time only.
            parts = [duration(now - state.began), f"{state.done:g} done" if state.done else "", state.note]
            text = f"{state.title}: {outcome} after {', '.join(part for part in parts if part)}"
            print(text, file=self._err, flush=True)

    @contextmanager
    def _bar(self, state: TaskState) -> Iterator[Advance]:
        progress = self._begin_bars()
        row: TaskID = progress.add_task(state.title, total=state.total, completed=state.first, note="")  # type: ignore[arg-type]

        def advance(amount: float = 1, *, note: str | None = None, total: float | None = None) -> None:
            _update(state, amount, note, total)
            progress.update(row, completed=state.done, total=state.total, note=state.note)

        try:
            yield advance
        finally:
            progress.remove_task(row)
            self._end_bars()
            taken = self._clock() - state.began
            if taken >= 1:
                note = f", {state.note}" if state.note else ""
                self._say("progress", f"{state.title}: {duration(taken)}{note}", self._err, {}, style="dim")

    def _begin_bars(self) -> Progress:
        """The one live display: a task inside a task is one more row of it."""
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._open_tasks += 1
        if self._progress is None:
            self._progress = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(elapsed_when_finished=True),
                TextColumn("{task.fields[note]}", markup=False),
                console=self._rich(self._err),
                transient=True,
                redirect_stdout=is_terminal(self._out),
                get_time=self._clock,
            )
            self._progress.start()
        return self._progress

    def _end_bars(self) -> None:
        self._open_tasks -= 1
        if self._open_tasks == 0 and self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _say(self, kind: str, text: str, stream: TextIO, fields: dict[str, object], style: str = "") -> None:
        text = visible(text)
        if self.mode == "json":
            self._emit(kind, stream, fields)
        elif self.mode == "rich":
            self._rich(stream).print(text, style=style or None, markup=False, highlight=False, soft_wrap=True)
        elif self.mode == "plain" or kind in ("warning", "error"):
            print(text, file=stream, flush=True)

    def _emit(self, kind: str, stream: TextIO, fields: dict[str, object]) -> None:
        print(json.dumps({"event": kind, **fields}, default=str), file=stream, flush=True)

    def _rich(self, stream: TextIO) -> RichConsole:
        from rich.console import Console as RichConsole

        # Bars are redrawn in place: whatever the same screen shows must go through them, stdout's lines too.
        if self._progress is not None and is_terminal(stream):
            return self._progress.console
        # Texts are shown as they are, in titles too: `[red]` and `:bug:` may be in names of the user's. Styles
        # come from rich's `Text`.
        if is_terminal(stream):
            return RichConsole(file=stream, markup=False, emoji=False, highlight=False)
        return RichConsole(
            file=stream,
            width=LOG_WIDTH,
            force_terminal=False,
            no_color=True,
            markup=False,
            emoji=False,
            highlight=False,
        )


@dataclass(frozen=True)
class _Visible:
    """A table whose cells may hold what others wrote: nothing in it steers the terminal."""

    table: Table

    def __rich_console__(self, console: RichConsole, options: ConsoleOptions) -> Iterator[Segment]:
        from rich.segment import Segment

        for segment in console.render(self.table, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)


def is_terminal(stream: TextIO) -> bool:
    """Whether `stream` can redraw a line."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def table_fields(table: Table) -> dict[str, object]:
    """A rich table as data: `{"title", "columns", "rows"}`, all texts without styles."""
    columns = [[str(cell) for cell in column.cells] for column in table.columns]
    return {
        "title": str(table.title) if table.title else None,
        "columns": [str(column.header) for column in table.columns],
        "rows": [list(row) for row in zip(*columns, strict=True)],
    }


def _update(state: TaskState, amount: float, note: str | None, total: float | None) -> None:
    state.done += amount
    if note is not None:
        state.note = visible(note)
    if total is not None:
        state.total = total
