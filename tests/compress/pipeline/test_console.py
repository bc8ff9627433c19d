from __future__ import annotations

import io
import json
import subprocess
import sys

import pytest
from rich.table import Table
from rich.text import Text

from edgepress.compress.cli.console import Console, Mode, duration


class Clock:
    """Seconds that pass only when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Said:
    """A console on two buffers, with its clock."""

    def __init__(self, mode: Mode | None, err: io.StringIO | None = None) -> None:
        self.out, self.err, self.clock = io.StringIO(), err or io.StringIO(), Clock()
        self.console = Console(mode, out=self.out, err=self.err, clock=self.clock)

    def events(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.err.getvalue().splitlines()]

    def lines(self) -> list[str]:
        return self.err.getvalue().splitlines()


def result_table() -> Table:
    table = Table("candidate", "accuracy", title=Text.assemble("Result ", ("digits", "bold")))
    table.add_row("teacher", Text("0.98", "bold"))
    table.add_row("int8", "0.97")
    return table


def test_without_a_terminal_a_task_says_one_line_every_ten_seconds() -> None:
    said = Said(None)
    with said.console.task("Training student", total=100) as advance:
        for _ in range(100):
            said.clock.now += 0.25
            advance(1, note="loss 0.3")
    assert said.lines() == [
        "Training student: 40/100, 0:15 left, loss 0.3",
        "Training student: 80/100, 5.0 s left, loss 0.3",
        "Training student: finished after 0:25, 100 done, loss 0.3",
    ]


def test_a_log_has_no_control_characters() -> None:
    said = Said(None)
    said.console.table(result_table())
    with said.console.task("x", total=2) as advance:
        said.clock.now += 60
        advance()
        said.console.warn("careful [not markup]")
    text = said.out.getvalue() + said.err.getvalue()
    assert "\x1b" not in text and "\r" not in text and "warning: careful [not markup]" in text


def test_a_task_of_less_than_a_second_leaves_a_log_alone() -> None:
    said = Said("plain")
    with said.console.task("quick", total=1) as advance:
        said.clock.now += 0.9
        advance()
    assert said.lines() == []


def test_a_task_that_fails_says_so_and_lets_the_error_through() -> None:
    said = Said("plain")
    with pytest.raises(KeyboardInterrupt), said.console.task("Training", total=10) as advance:
        said.clock.now += 3
        advance(4)
        raise KeyboardInterrupt
    assert said.lines() == ["Training: failed after 3.0 s, 4 done"]


def test_a_task_that_counts_nothing_tells_its_time_alone() -> None:
    said = Said("plain")
    with said.console.task("Preparing rows"):
        said.clock.now += 2
    assert said.lines() == ["Preparing rows: finished after 2.0 s"]


def test_what_an_earlier_run_did_does_not_count_as_speed() -> None:
    said = Said("json")
    with said.console.task("Training", total=100, done=80) as advance:
        said.clock.now += 20
        advance(10)
    running = said.events()[1]
    assert (running["state"], running["done"], running["seconds_left"]) == ("running", 90, 20.0)


def test_json_is_one_object_a_line_from_start_to_end() -> None:
    said = Said("json")
    said.console.event("stage", name="prune", state="finished", seconds=3.2)
    with said.console.task("Calibrating") as advance:
        advance(3, total=7)
    said.console.error("no such file")
    stage, started, finished, error = said.events()
    assert stage == {"event": "stage", "name": "prune", "state": "finished", "seconds": 3.2}
    assert (started["event"], started["state"], started["total"]) == ("progress", "started", None)
    assert (finished["state"], finished["done"], finished["total"]) == ("finished", 3, 7)
    assert error == {"event": "error", "text": "no such file"}


def test_a_table_as_json_is_plain_data_on_stdout() -> None:
    said = Said("json")
    said.console.table(result_table())
    assert json.loads(said.out.getvalue()) == {
        "event": "table",
        "title": "Result digits",
        "columns": ["candidate", "accuracy"],
        "rows": [["teacher", "0.98"], ["int8", "0.97"]],
    }
    assert said.err.getvalue() == ""


def users_table() -> Table:
    table = Table("[/a] and so on, so that the title fits", title="[red]mine[/red] :bug:")
    table.add_row("[/x] \x1b[31m")
    return table


@pytest.mark.parametrize("out", [io.StringIO, Terminal], ids=["file", "terminal"])
def test_a_table_shows_the_users_texts_as_they_are(out: type[io.StringIO], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    stream = out()
    Console("rich", out=stream).table(users_table())
    for words in ("[red]mine[/red] :bug:", "[/a]", r"[/x] \x1b[31m"):
        assert words in stream.getvalue()


def test_a_table_of_the_users_texts_is_the_same_as_json() -> None:
    said = Said("json")
    said.console.table(users_table())
    found = json.loads(said.out.getvalue())
    assert (found["title"], found["columns"], found["rows"]) == (
        "[red]mine[/red] :bug:", ["[/a] and so on, so that the title fits"], [["[/x] \x1b[31m"]],
    )  # fmt: skip


@pytest.mark.parametrize("mode", ["plain", "rich"])
def test_control_characters_of_others_do_not_reach_the_terminal(mode: Mode) -> None:
    said = Said(mode)
    said.console.error("unknown key \x1b[31mred\x9b0m \u202egnp \ud800")
    assert said.lines() == [r"error: unknown key \x1b[31mred\x9b0m \u202egnp \ud800"]


def test_results_go_to_stdout_and_the_rest_to_stderr() -> None:
    said = Said("plain")
    said.console.line("report: runs/digits/report.html")
    said.console.event("stage", name="prune", dropped=None)
    said.console.warn("slow")
    assert said.out.getvalue() == "report: runs/digits/report.html\n"
    assert said.lines() == ["stage prune", "warning: slow"]


def test_silent_still_warns() -> None:
    said = Said("silent")
    said.console.line("result")
    said.console.table(result_table())
    said.console.event("stage", name="prune")
    with said.console.task("x", total=1) as advance:
        said.clock.now += 99
        advance()
    said.console.warn("slow")
    assert said.out.getvalue() == "" and said.lines() == ["warning: slow"]


def test_a_terminal_gets_one_display_for_nested_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    said = Said(None, Terminal())
    with said.console.task("Stage 2 of 5", total=5) as outer:
        with said.console.task("Training [student]", total=10) as inner:
            said.clock.now += 30
            inner(4, note="loss 0.3")
            said.console.warn("in between")
        outer()
    text = said.err.getvalue()
    assert "Training [student]" in text and "in between" in text
    assert "Training [student]: 0:30, loss 0.3" in text and "\x1b[?25h" in text  # the cursor is shown again
    assert said.out.getvalue() == ""


def test_results_inside_a_task_stay_whole_on_a_terminal_and_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    screen, file = Terminal(), io.StringIO()
    for out in (screen, file):
        console = Console(out=out, err=screen)
        with console.task("Training", total=2):
            console.line("a result")
    assert file.getvalue() == "a result\n" and screen.getvalue().count("a result\n") == 1


def test_a_dumb_terminal_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    assert Said(None, Terminal()).console.mode == "plain"


def test_a_long_path_is_not_folded() -> None:
    said = Said("rich")
    path = "/".join(["folder"] * 60)
    said.console.line(path)
    assert said.out.getvalue() == path + "\n"


def test_durations_are_short_to_read() -> None:
    assert [duration(s) for s in (0, 9.94, 9.96, 59.6, 3599.7)] == ["0.0 s", "9.9 s", "0:10", "1:00", "1:00:00"]


def test_rich_is_not_loaded_until_something_is_drawn() -> None:
    code = (
        "import sys; from edgepress.compress.cli.console import Console; Console().line('x'); "
        "sys.exit('rich' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
