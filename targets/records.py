"""The ground floor's records and the two protocols that every backend implements: `Target` and `Session`.

Nothing here imports torch or a backend.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import pydantic

from edgepress.targets.errors import ArtifactError, SignatureError, TargetError, told
from edgepress.targets.files import plain_name, plain_path, sha256_of, within
from edgepress.targets.text import sane_numbers

Feeds = Mapping[str, np.ndarray]
PlainPath = Annotated[str, pydantic.AfterValidator(plain_path)]
PlainName = Annotated[str, pydantic.AfterValidator(plain_name)]
Precision = Literal["fp32", "fp16", "bf16", "int8"]


class Record(pydantic.BaseModel):
    """Frozen data that is saved as JSON and read back the same."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    def write(self, path: Path) -> None:
        path.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises ArtifactError when the file is missing or does not hold this record."""
        try:
            return cls.model_validate_json(sane_numbers(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise ArtifactError(f"{path} is missing. Run the stage that writes it again.") from None
        except (ValueError, OSError, RecursionError) as fault:
            raise ArtifactError(f"{path} is damaged or of another version: {_first_fault(fault)}") from None


def _first_fault(fault: Exception) -> str:
    if isinstance(fault, pydantic.ValidationError):
        first = fault.errors()[0]
        return f"{'.'.join(map(str, first['loc'])) or 'file'}: {first['msg']}"
    return told(fault)


class TensorSpec(Record):
    """One input or output. A dimension is a size or the name of one that varies, e.g. `("batch", "sequence")`."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


class Signature(Record):
    """Inputs and outputs of a model, and within which bounds (inclusive) its named dimensions vary."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    bounds: dict[str, tuple[int, int]]

    def select(self, feeds: Feeds) -> dict[str, np.ndarray]:
        """Those of the feeds that this model takes: a student may take fewer inputs than its teacher."""
        return {spec.name: feeds[spec.name] for spec in self.inputs if spec.name in feeds}

    def check(self, feeds: Feeds) -> None:
        """Raises SignatureError for a missing or unknown input, a wrong dtype, rank or size, a size out of bounds."""
        names = {spec.name for spec in self.inputs}
        if unknown := sorted(set(feeds) - names):
            raise SignatureError(f"unknown input {unknown[0]!r}; the model takes {', '.join(sorted(names))}")
        sizes: dict[str, int] = {}
        for spec in self.inputs:
            if spec.name not in feeds:
                raise SignatureError(f"input {spec.name!r} is missing; the model takes {', '.join(sorted(names))}")
            self._check_one(spec, feeds[spec.name], sizes)

    def _check_one(self, spec: TensorSpec, value: np.ndarray, sizes: dict[str, int]) -> None:
        want = f"{spec.dtype}[{', '.join(map(str, spec.shape))}]"
        if str(value.dtype) != spec.dtype or value.ndim != len(spec.shape):
            raise SignatureError(f"input {spec.name!r} must be {want}, got {value.dtype}{list(value.shape)}")
        for dimension, size in zip(spec.shape, value.shape, strict=True):
            if isinstance(dimension, int):
                if size != dimension:
                    raise SignatureError(f"input {spec.name!r} must be {want}, got {value.dtype}{list(value.shape)}")
                continue
            low, high = self.bounds[dimension]
            if not low <= size <= high:
                raise SignatureError(
                    f"input {spec.name!r}: {dimension} is {size}, and this model takes {low} to {high}. "
                    f"Split or truncate the input, or raise the bound in the recipe and export again."
                )
            if sizes.setdefault(dimension, size) != size:
                raise SignatureError(
                    f"input {spec.name!r}: {dimension} is {size}, another input has {sizes[dimension]}"
                )


class FileEntry(Record):
    """One file of an artifact or release, relative to its folder. The device does without those that aren't shipped."""

    path: PlainPath
    bytes: Annotated[int, pydantic.Field(ge=0, lt=1 << 63)]
    sha256: str
    shipped: bool = True

    @classmethod
    def of(cls, folder: Path, path: str, shipped: bool = True) -> FileEntry:
        size = (folder / path).stat().st_size
        return cls(path=path, bytes=size, sha256=sha256_of(folder / path), shipped=shipped)


class Comparison(Record):
    """Outputs of an artifact against those of the torch model on the same real inputs.

    `sqnr_db` = 10 log10(sum(reference²) / sum((reference - output)²)), in dB; None where the outputs are identical.
    """

    samples: int
    max_abs_diff: float
    agreement: float
    sqnr_db: float | None


class Options(Record):
    """Options of a target as a recipe gives them; a target with some of its own has a subclass."""

    @classmethod
    def of(cls, target: str, given: Mapping[str, Any] | None) -> Self:
        """Raises TargetError, which names the option, for an unknown or wrong one."""
        try:
            return cls.model_validate(dict(given or {}))
        except pydantic.ValidationError as fault:
            first = fault.errors()[0]
            key = ".".join(map(str, first["loc"]))
            known = ", ".join(cls.model_fields) or "no options"
            raise TargetError(f"{target}, option {key!r}: {first['msg']}; {target} takes {known}") from None


class HardwareBuild(Record):
    """What a compiler made of an artifact for hardware that is not here, and what it estimates. Never a measurement.

    The products are GEMMs and convolutions by the type they multiply in, as the compiler kept them.
    """

    hardware: str
    sizes: dict[str, int] = {}
    int8_products: int
    half_products: int
    float_products: int
    code_bytes: int | None = None
    memory_bytes: int | None = None
    estimated_ms: float | None = None
    roofline_ms: float | None = None
    source: str
    notes: tuple[str, ...] = ()


class Candidate(Record):
    """One way to export a model to a target: a precision and the method behind it. `options` are the method's own."""

    name: str
    precision: Precision
    options: dict[str, Any] = {}


class Artifact(Record):
    """What a device gets: files of one target and precision, what they take, where they come from."""

    name: str
    target: str
    candidate: Candidate
    precision: Precision
    files: tuple[FileEntry, ...]
    signature: Signature
    parameters: int
    int8_mac_share: float
    comparison: Comparison
    settings: dict[str, Any] = {}
    calibration_digest: str | None = None
    recipe_digest: str | None = None
    versions: dict[str, str] = {}
    notes: tuple[str, ...] = ()
    builds: tuple[HardwareBuild, ...] = ()
    conversion_peak_bytes: int | None = None

    FILE_NAME: ClassVar[str] = "artifact.json"

    def unknown_files(self, folder: Path) -> list[str]:
        """What lies in `folder` and is not of the artifact, by its path there, sorted."""
        known = {self.FILE_NAME, *(entry.path for entry in self.files)}
        there = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())
        return sorted(path for path in there if path not in known)

    @property
    def bytes(self) -> int:
        """Shipped bytes: every file that the device needs, the record itself not counted."""
        return sum(file.bytes for file in self.files if file.shipped)

    def estimated_ms(self) -> float | None:
        """Geometric mean of the compiler's estimates over hardware and sizes, in ms; None where one is missing."""
        estimates = [build.estimated_ms for build in self.builds]
        known = [estimate for estimate in estimates if estimate is not None]
        return float(np.exp(np.mean(np.log(known)))) if known and len(known) == len(estimates) else None

    def check_files(self, folder: Path, needed: Sequence[str] = ()) -> None:
        """`needed`: the files that a session opens, by their path in `folder`.

        Raises:
            ArtifactError: a file is missing, cut short or changed, lies elsewhere, or is needed and not named.
        """
        named = {entry.path for entry in self.files}
        if unnamed := [path for path in needed if path not in named]:
            raise ArtifactError(f"{folder / self.FILE_NAME} does not name {unnamed[0]}. Export it again.")
        for entry in self.files:
            path = within(folder, entry.path)
            if not path.is_file():
                raise ArtifactError(f"{path} is missing from artifact {self.name!r}. Export it again.")
            if (size := path.stat().st_size) != entry.bytes:
                raise ArtifactError(f"{path} is damaged: {size} bytes, {entry.bytes} were exported. Export it again.")
            if sha256_of(path) != entry.sha256:
                raise ArtifactError(f"{path} is damaged: its sha256 is not the recorded one. Export it again.")


class Refusal(Record):
    """A candidate that could not be exported, and why."""

    candidate: Candidate
    reason: str


class Availability(Record):
    """Whether a target can run here, only build here, or neither, and what to do about it.

    A broken one is installed and cannot be loaded: something went wrong, where a missing one was never asked for.
    """

    state: Literal["available", "built-only", "missing", "broken"]
    reason: str = ""
    remedy: str = ""


class Description(Record):
    """What travels with a model for those who use it: class names, and mean and deviation of each image channel."""

    labels: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


@dataclass(frozen=True)
class MacCount:
    """Multiply-accumulates of one call, in all and in int8 x int8; and the weights that they read, in bytes."""

    total: int
    int8: int
    weight_bytes: int = 0

    @property
    def int8_share(self) -> float:
        """0..1; 0 for a graph that multiplies nothing."""
        return self.int8 / self.total if self.total else 0.0
