"""Energy of the processor packages, from RAPL's counters (Linux on Intel and AMD).

The counters are of whole packages: idle power and whatever else runs are in them.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

MEASURED = "RAPL counters of whole processor packages: idle power and other processes are in it"


class Package(NamedTuple):
    """One processor package. `range_uj`: where its counter begins again."""

    counter: Path
    range_uj: int


class Meter(NamedTuple):
    """`packages` is empty where energy cannot be measured; `note` says how it is measured, or why not."""

    packages: tuple[Package, ...]
    note: str

    def read(self) -> list[int]:
        """The counters in microjoules; empty where there are none."""
        return [int(package.counter.read_text(encoding="ascii")) for package in self.packages]

    def spent_uj(self, before: list[int]) -> int | None:
        """Microjoules of all packages since `before`; None without counters."""
        pairs = zip(self.packages, before, self.read())  # noqa: B905 (Python 3.9 has no strict)
        return sum((after - start) % package.range_uj for package, start, after in pairs) if self.packages else None


def meter(root: Path = Path("/")) -> Meter:
    """What this system lets us read."""
    folders = sorted((root / "sys/class/powercap").glob("intel-rapl:*"))
    found = []
    for folder in folders:
        try:
            if not (folder / "name").read_text(encoding="ascii").startswith("package"):
                continue
            int((folder / "energy_uj").read_text(encoding="ascii"))
            found.append(Package(folder / "energy_uj", int((folder / "max_energy_range_uj").read_text("ascii")) + 1))
        except PermissionError:
            return Meter((), f"not measured: {folder.name}/energy_uj may be read by root alone")
        except (OSError, ValueError) as fault:
            return Meter((), f"not measured: {folder.name} cannot be read ({type(fault).__name__})")
    if not found:
        return Meter((), "not measured: this system shows no RAPL counters")
    return Meter(tuple(found), MEASURED)
