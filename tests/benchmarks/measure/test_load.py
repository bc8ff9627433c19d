from __future__ import annotations

import os
from pathlib import Path

from edgepress.benchmarks.measure.busy import MachineLoad, load_notes, machine_load


def write_stat(root: Path, busy: int, idle: int, steal: int) -> None:
    (root / "proc").mkdir(exist_ok=True)
    (root / "proc/stat").write_text(f"cpu  {busy} 0 0 {idle} 0 0 0 {steal} 7 0\ncpu0 1 1\n")


def test_the_time_of_others_is_what_the_processors_did_while_we_slept(tmp_path: Path) -> None:
    write_stat(tmp_path, busy=1000, idle=5000, steal=10)
    (tmp_path / "proc/loadavg").write_text("3.00 1.00 0.50 1/200 99\n")
    # 20 busy and 5 stolen of 100 ticks.
    found = machine_load(tmp_path, wait=lambda seconds: write_stat(tmp_path, 1020, 5075, 15))
    assert found == MachineLoad(load_per_core=round(3 / (os.cpu_count() or 1), 3), busy_share=0.25)


def test_what_the_system_does_not_tell_is_none(tmp_path: Path) -> None:
    assert machine_load(tmp_path, wait=lambda seconds: None) == MachineLoad(load_per_core=None, busy_share=None)


def test_a_loaded_machine_is_said_and_an_idle_one_not() -> None:
    assert load_notes(MachineLoad(load_per_core=0.5, busy_share=0.1)) == []
    assert load_notes(MachineLoad(load_per_core=None, busy_share=None)) == []
    busy, average = load_notes(MachineLoad(load_per_core=0.81, busy_share=0.37))
    assert "other processes took 37% of the processors' time just before the measurement" in busy
    assert average.startswith("The load average was 0.81 per core before the measurement")
