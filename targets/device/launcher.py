"""Measures the release that this file lies in: `python run_benchmark.py --help`.

It needs Python 3.9 or newer, NumPy and the runtime of the target, nothing else.
"""

import os
import sys

HERE = os.path.dirname(os.path.realpath(__file__))  # noqa: PTH120 (pathlib comes after the next line)
# Nothing that lies beside this file may pose as a library, not even as one of Python's own: those come after this.
# Python itself names the folder by its real path, whatever links lead to it.
sys.path[:] = [entry for entry in sys.path if os.path.realpath(entry or ".") != HERE]
sys.dont_write_bytecode = True  # the release stays as it is, so that the next start finds it whole

import hashlib  # noqa: E402
from importlib.util import find_spec, module_from_spec, spec_from_file_location  # noqa: E402
from pathlib import Path  # noqa: E402

PACKAGE, LAUNCHER = "edgepress_device", "run_benchmark.py"
SUMS, UNLISTED = "SHA256SUMS", ("SHA256SUMS", "model.sig")


def fault_of(folder: Path) -> str:
    """Why what lies in the release's folder is not the release, as far as code could come of it; empty where it is.

    Looked at before anything of it runs: no file too many, no link, and each file of the package as it was released.
    All other files are compared by the package, before any of them is opened.
    """
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
        known = {line[66:]: line[:64] for line in lines}
    except (OSError, ValueError) as fault:
        return f"{folder / SUMS} cannot be read ({type(fault).__name__}). Copy the release again."
    if LAUNCHER not in known:
        return "this release was not packaged. Run `edgepress package`, and copy the folder again."
    for place, folders, files in os.walk(folder):
        for path in [Path(place, name) for name in [*folders, *files]]:
            name = path.relative_to(folder).as_posix()
            is_record = path.suffix == ".json" and "/" not in name  # the package looks into it
            if path.is_symlink() or not (path.is_dir() or name in known or name in UNLISTED or is_record):
                shown = str(path) if str(path).isprintable() else ascii(str(path))
                return f"{shown} is not of this release. Copy the release again."
    for name in [name for name in known if name.startswith(f"{PACKAGE}/")]:
        if not (folder / name).is_file():
            return f"{folder / name} is missing. Copy the release again."
        got = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        if got != known[name]:
            return f"{folder / name} is not the released file: its sha256 is {got[:16]}…, not {known[name][:16]}…."
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
