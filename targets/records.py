"""The ground floor's records: signatures, candidates, artifacts, and what a target says of itself.

Nothing here imports torch or a backend.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import pydantic

from edgepress.targets.errors import ArtifactError, SignatureError, told
from edgepress.targets.files import plain_name, plain_path, sha256_of, within
from edgepress.targets.layouts import as_written_today
from edgepress.targets.text import sane_numbers

MAIN = "main"  # the program that every artifact has
STEP = "step"  # that of a decoder: a few tokens more, with the state of those before them
ENCODE = "encode"  # that of an encoder-decoder: a source read once, before the first step
TOTAL = "total"  # positions behind a step: those before it and its own
Feeds = Mapping[str, np.ndarray]
PlainPath = Annotated[str, pydantic.AfterValidator(plain_path)]
PlainName = Annotated[str, pydantic.AfterValidator(plain_name)]
Precision = Literal["fp32", "fp16", "bf16", "int8", "int4"]  # int4: weights of 4 bits; activations have more
INTEGERS: tuple[Precision, ...] = ("int8", "int4")  # those that multiply integers


class Record(pydantic.BaseModel):
    """Frozen data that is saved as JSON and read back the same."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    def write(self, path: Path) -> None:
        path.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises ArtifactError when the file is missing or does not hold this record."""
        try:
            return cls.parsed(path.read_bytes(), path)
        except FileNotFoundError:
            raise ArtifactError(f"{path} is missing. Run the stage that writes it again.") from None
        except OSError as fault:
            raise ArtifactError(f"{path} is damaged or of another version: {_first_fault(fault)}") from None

    @classmethod
    def parsed(cls, content: bytes, path: Path | str) -> Self:
        """The record that `content` holds, which `path` names in messages. Raises ArtifactError where it holds none."""
        try:
            return cls.model_validate_json(sane_numbers(content.decode("utf-8")))
        except (ValueError, RecursionError) as fault:
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

    @property
    def channels(self) -> int | str:
        """How many numbers stand at one place, such as one a class: the last size; of maps `[batch, channels, height,
        width]` the second.

        >>> TensorSpec(name="logits", dtype="float32", shape=("batch", 11, 8, 8)).channels
        11
        """
        return self.shape[1 if len(self.shape) == 4 else -1]


class Signature(Record):
    """Inputs and outputs of a model, and within which bounds (inclusive) its named dimensions vary.

    `state` names each output that the next call takes as an input, {output: input}: a cache of keys and values.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    bounds: dict[str, tuple[int, int]]
    state: dict[str, str] = {}

    @pydantic.model_validator(mode="after")
    def _state_fits(self) -> Self:
        if len(set(self.state.values())) < len(self.state):
            raise ValueError(f"state: two outputs go into one input, got {self.state}")
        for source, goal in self.state.items():
            given, taken = _named(source, self.outputs, "output"), _named(goal, self.inputs, "input")
            pairs = zip(given.shape, taken.shape, strict=False)
            differing = any(a != b for a, b in pairs if isinstance(a, int) and isinstance(b, int))
            if given.dtype != taken.dtype or len(given.shape) != len(taken.shape) or differing:
                raise ValueError(f"state: output {_words(given)} does not fit input {_words(taken)}")
        return self

    def at(self, **sizes: int) -> Signature:
        """The same with sizes in place of the names of dimensions; without state, since that grows from call to call.

        >>> x = TensorSpec(name="x", dtype="int64", shape=("batch", "sequence"))
        >>> Signature(inputs=(x,), outputs=(), bounds={"batch": (1, 8), "sequence": (1, 9)}).at(batch=1).inputs[0].shape
        (1, 'sequence')
        """

        def fixed(spec: TensorSpec) -> TensorSpec:
            shape = tuple(sizes.get(size, size) if isinstance(size, str) else size for size in spec.shape)
            return spec.model_copy(update={"shape": shape})

        bounds = {name: ends for name, ends in self.bounds.items() if name not in sizes}
        return Signature(inputs=tuple(map(fixed, self.inputs)), outputs=tuple(map(fixed, self.outputs)), bounds=bounds)

    def zeros(self, **sizes: int) -> dict[str, np.ndarray]:
        """Every input, of zeros.

        >>> x = TensorSpec(name="x", dtype="int64", shape=("batch", 2))
        >>> Signature(inputs=(x,), outputs=(), bounds={"batch": (1, 8)}).zeros(batch=1)["x"].tolist()
        [[0, 0]]

        Args:
            sizes: of the named dimensions.
        """
        shapes = (
            (spec, [sizes[size] if isinstance(size, str) else size for size in spec.shape]) for spec in self.inputs
        )
        return {spec.name: np.zeros(shape, spec.dtype) for spec, shape in shapes}

    def select(self, feeds: Feeds) -> dict[str, np.ndarray]:
        """Those of the feeds that this model takes: a student may take fewer inputs than its teacher."""
        return {spec.name: feeds[spec.name] for spec in self.inputs if spec.name in feeds}

    def check(self, feeds: Feeds) -> None:
        """Whether the model takes `feeds`, {input: array}.

        Raises:
            SignatureError: a missing or unknown input, a wrong dtype, rank or size, or a size out of bounds.
        """
        names = {spec.name for spec in self.inputs}
        if unknown := sorted(set(feeds) - names):
            raise SignatureError(f"unknown input {unknown[0]!r}; the model takes {', '.join(sorted(names))}")
        sizes: dict[str, int] = {}
        for spec in self.inputs:
            if spec.name not in feeds:
                raise SignatureError(f"input {spec.name!r} is missing; the model takes {', '.join(sorted(names))}")
            self._check_one(spec, feeds[spec.name], sizes)

    def _check_one(self, spec: TensorSpec, value: np.ndarray, sizes: dict[str, int]) -> None:
        # Words are made for a fault alone: this runs before every inference, also of models that take microseconds.
        fits = value.dtype == spec.dtype and value.ndim == len(spec.shape)
        for dimension, size in zip(spec.shape, value.shape, strict=False):
            if isinstance(dimension, int):
                fits = fits and size == dimension
        if not fits:
            want = _words(spec).partition(" ")[2]
            raise SignatureError(f"input {spec.name!r} must be {want}, got {value.dtype}{list(value.shape)}")
        for dimension, size in zip(spec.shape, value.shape, strict=True):
            if isinstance(dimension, int):
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


def _named(name: str, specs: tuple[TensorSpec, ...], kind: str) -> TensorSpec:
    for spec in specs:
        if spec.name == name:
            return spec
    raise ValueError(f"state: there is no {kind} {name!r}; there are {', '.join(spec.name for spec in specs)}")


def _words(spec: TensorSpec) -> str:
    return f"{spec.name} {spec.dtype}[{', '.join(map(str, spec.shape))}]"


class FileEntry(Record):
    """One file of an artifact or release, relative to its folder. The device does without those that aren't shipped."""

    path: PlainPath
    bytes: Annotated[int, pydantic.Field(ge=0, lt=1 << 63)]
    sha256: str
    shipped: bool = True

    @classmethod
    def of(cls, folder: Path, path: str, shipped: bool = True) -> FileEntry:
        """That of the file `path` in `folder`, as it is now; `shipped` where the device needs it."""
        size = (folder / path).stat().st_size
        return cls(path=path, bytes=size, sha256=sha256_of(folder / path), shipped=shipped)


class Comparison(Record):
    """Outputs of an artifact against those of the torch model on the same real inputs.

    `sqnr_db` = 10 log10(sum(reference²) / sum((reference - output)²)), in dB; None where the outputs are identical.
    `agreement`, 0..1: how often the largest value of an output's last axis stands at the same place; None where each
    output has one value a place.
    """

    samples: int
    max_abs_diff: float
    agreement: float | None
    sqnr_db: float | None


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
    """What a device gets: files of one target and precision, what they take, where they come from.

    `programs`: what each program of the files takes and gives; "main" is what callers use, and others may stand behind
    it (a .tflite has one for each sequence length). `options`: the target's own, with which it is opened again.
    `settings`: of the session. `int8_mac_share`, 0..1; `conversion_peak_bytes`: the converter's memory.
    """

    name: str
    target: str
    candidate: Candidate
    precision: Precision
    files: tuple[FileEntry, ...]
    programs: dict[str, Signature]
    options: dict[str, Any] = {}
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

    @pydantic.model_validator(mode="before")
    @classmethod
    def _of_an_older_version(cls, fields: Any) -> Any:
        try:
            return as_written_today(fields) if isinstance(fields, Mapping) else fields
        except (KeyError, TypeError, AttributeError) as fault:  # fields of anybody's making
            raise ValueError(f"it is of no layout that is known ({told(fault)})") from None

    @pydantic.field_validator("programs")
    @classmethod
    def _has_main(cls, programs: dict[str, Signature]) -> dict[str, Signature]:
        if MAIN not in programs:
            raise ValueError(f"there is no program {MAIN!r}, got {', '.join(programs) or 'none'}")
        return programs

    @property
    def signature(self) -> Signature:
        """What callers feed and get: that of the program "main"."""
        return self.programs[MAIN]

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


class WeightCount(Record):
    """Weights of two and more dimensions in the files of an artifact, and how many of them are zero."""

    weights: int
    zeros: int

    @property
    def share(self) -> float:
        """Of zeros, 0..1; 0 where there are no weights."""
        return self.zeros / self.weights if self.weights else 0.0


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
