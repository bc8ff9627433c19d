from __future__ import annotations

import getpass
import json
import platform
import subprocess
import sys
from pathlib import Path

from edgepress.benchmarks.measure.environment import environment
from edgepress.targets.device.environment import versions

ARM = """processor\t: 0
BogoMIPS\t: 50.00
Features\t: fp asimd evtstrm aes asimddp i8mm

processor\t: 1
Features\t: fp
Hardware\t: Some SoC
"""


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True)
    path.write_text(text)


def test_cpu_flags_governor_and_quota_are_read_from_the_system(tmp_path: Path) -> None:
    write(tmp_path / "proc/cpuinfo", "model name\t: Test CPU 9\nflags\t\t: fpu avx2 avx512_vnni amx_int8 nonsense\n\n")
    write(tmp_path / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance\n")
    write(tmp_path / "sys/fs/cgroup/cpu.max", "150000 100000\n")
    found = environment(tmp_path)
    assert (found["cpu"], found["isa"]) == ("Test CPU 9", ["avx2", "avx512_vnni", "amx_int8"])
    assert (found["governor"], found["cpu_quota"]) == ("performance", 1.5)


def test_arm_flags_are_those_of_the_first_core(tmp_path: Path) -> None:
    write(tmp_path / "proc/cpuinfo", ARM)
    assert environment(tmp_path)["isa"] == ["asimd", "asimddp", "i8mm"]


def test_what_cannot_be_read_is_none_and_the_cpu_still_has_a_name(tmp_path: Path) -> None:
    found = environment(tmp_path)
    assert (found["governor"], found["cpu_quota"], found["isa"]) == (None, None, [])
    assert found["cpu"]


def test_the_environment_is_json_and_names_neither_host_nor_user_nor_paths() -> None:
    text = json.dumps(environment())
    for private in (platform.node(), str(Path.home()), str(Path.cwd())):
        assert private == "/" or private not in text
    assert "user" not in text and f'"{getpass.getuser()}"' not in text


def test_versions_come_from_metadata_and_missing_packages_are_left_out() -> None:
    assert set(versions(("numpy", "no-such-package-here"))) == {"numpy"}


def test_reading_the_environment_imports_no_backend() -> None:
    code = (
        "import sys; from edgepress.benchmarks.measure.environment import environment; environment(); "
        "import edgepress.benchmarks.records.files, edgepress.benchmarks.measure.latency; "
        "import edgepress.benchmarks.judge.latency, edgepress.targets.process.isolation; "
        "sys.exit(str(sorted({'torch', 'onnx', 'onnxruntime', 'transformers', 'jinja2', 'rich'} & set(sys.modules))) "
        "if {'torch', 'onnx', 'onnxruntime', 'transformers', 'jinja2', 'rich'} & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[3])
    assert (done.returncode, done.stderr) == (0, "")
