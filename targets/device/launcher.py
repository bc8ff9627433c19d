"""Measures the release that this file lies in: `python run_benchmark.py --help`.

It needs Python 3.9 or newer, NumPy and the runtime of the target, nothing else.
"""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 (pathlib comes after the next line)
# Nothing that lies beside this file may pose as a library, not even as one of Python's own: those come after this.
sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or ".") != HERE]  # noqa: PTH100

import hashlib  # noqa: E402
import json  # noqa: E402
from importlib.util import find_spec, module_from_spec, spec_from_file_location  # noqa: E402
from pathlib import Path  # noqa: E402

PACKAGE, LAUNCHER = "edgepress_device", "run_benchmark.py"


def fault_of(folder: Path) -> str:
    """Why the package beside this file is not the released one; empty where it is.

    Looked at before anything of it runs. What is wrong with the manifest itself is told by the package.
    """
    try:
        entries = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["files"]
        known = {entry["path"]: entry["sha256"] for entry in entries}
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    for path in sorted((folder / PACKAGE).rglob("*.py")):
        want = known.get(path.relative_to(folder).as_posix())
        got = hashlib.sha256(path.read_bytes()).hexdigest()
        if want is None and LAUNCHER in known:
            return f"{path} is not of this release. Copy the release again."
        if want is not None and got != want:
            return f"{path} is not the released file: its sha256 is {got[:16]}…, not {str(want)[:16]}…."
    return ""


def load(folder: Path) -> None:
    """The package beside this file, by its place alone: a folder on the path of Python is anybody's."""
    place = folder / PACKAGE
    spec = spec_from_file_location(PACKAGE, str(place / "__init__.py"), submodule_search_locations=[str(place)])
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[PACKAGE] = module
    spec.loader.exec_module(module)


def main() -> int:
    """Exit code 2, with one line, where the runner cannot start."""
    release = Path(HERE)
    if sys.version_info < (3, 9):  # noqa: UP036 (this file travels to devices)
        fault = "this runner needs Python 3.9 or newer, this is " + sys.version.split()[0] + "."
    elif find_spec("numpy") is None:
        fault = "this runner needs NumPy. Run: pip install numpy"
    elif not (release / PACKAGE / "__init__.py").is_file():
        fault = f"{release / PACKAGE} is missing. Copy the release again."
    else:
        fault = fault_of(release)
    if fault:
        print("error:", fault, file=sys.stderr)
        return 2
    load(release)
    from edgepress_device.device.main import main as measure  # type: ignore[import-not-found]

    return int(measure())


if __name__ == "__main__":
    sys.exit(main())
