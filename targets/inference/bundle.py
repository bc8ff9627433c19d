"""One released model, ready to answer: pre-processing, a checked session, and what its outputs mean."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from edgepress import targets
from edgepress.targets.bundle.sums import SUMS, check_sums
from edgepress.targets.errors import ArtifactError, DataError, TargetError, TargetUnavailable
from edgepress.targets.inference.answers import Answer, Reading, reading_of
from edgepress.targets.inference.decoder import Text, decoder_of
from edgepress.targets.inference.generation import Sampling
from edgepress.targets.inference.masks import MaskedPictures, mask_answer
from edgepress.targets.inference.prepare import CONFIG, Prepares, preparer_of, read_json
from edgepress.targets.inference.questions import Questions
from edgepress.targets.inference.words import WordRows
from edgepress.targets.protocols import Session
from edgepress.targets.records import MAIN, STEP, Artifact, Feeds

NO_READING = Reading("numbers", ())
PREFERRED = ("tensorrt-gpu", "xla-tpu", "openvino", "onnxruntime-cpu", "tflite-mobile", "pytorch")
"""Which artifact of a release is opened where nobody says: the first one whose hardware is here."""


@dataclass(frozen=True)
class Locked:
    """A session of which one call runs at a time, whoever calls."""

    session: Session
    lock: threading.Lock

    def infer(self, feeds: Feeds, program: str = MAIN) -> dict[str, np.ndarray]:
        """See `Session.infer`."""
        with self.lock:
            return self.session.infer(feeds, program)


class Bundle:
    """An opened artifact; `targets.open_bundle` makes one. Calls from several threads wait for each other."""

    def __init__(self, folder: Path, artifact: Artifact, threads: int, stand_in: bool) -> None:
        """
        Args:
            folder: of the artifact.
            artifact: what the folder says of itself.
            threads: of the runtime.
            stand_in: whether another runtime gives the same numbers on this CPU where the hardware is not here.

        Raises:
            TargetUnavailable: the runtime or its hardware is not here.
            ArtifactError: the artifact or a file beside it cannot be read.
        """
        self.artifact = artifact
        self._lock = threading.Lock()
        self._stack = ExitStack()
        target = targets.of(artifact)
        opened = target.open_stand_in if stand_in and target.probe().state != "available" else target.open
        signature = artifact.signature
        config, step = read_json(folder / CONFIG), artifact.programs.get(STEP)
        self._decoder = decoder_of(folder, artifact.programs, config)
        self._prepare: Prepares | None = preparer_of(folder, signature) if step is None else None
        outputs = int(signature.outputs[0].channels)
        self._reading = reading_of(config, outputs, str(folder / CONFIG)) if step is None else NO_READING
        self._session = self._stack.enter_context(opened(artifact, folder, threads))

    @property
    def labels(self) -> tuple[str, ...]:
        """What the outputs are called, in their order."""
        return self._reading.names

    @property
    def decodes(self) -> bool:
        """Whether it goes on with a text, by `generate`, and answers no rows."""
        return self._decoder is not None

    @property
    def preparer(self) -> Prepares | None:
        """What makes feeds of raw rows; None where no file of the release says how."""
        return self._prepare

    @property
    def content(self) -> str:
        """What a row is."""
        if self._decoder is not None:
            return "a text to go on with, for Bundle.generate"
        return self._prepare.content if self._prepare is not None else "arrays, for Bundle.infer"

    @property
    def most_rows(self) -> int:
        """Rows that one call of the model takes at most."""
        return self.artifact.signature.bounds.get("batch", (1, 1))[1]

    def predict(self, rows: Sequence[Any], batch: int = 1) -> list[Answer]:
        """What the model says of each row.

        Args:
            rows: texts, pictures, recordings or vectors, as `content` says.
            batch: rows of a call. Scales that are taken at run time are those of the whole batch, so that answers of
                such artifacts depend on it; reports measure 1.

        Raises:
            DataError: a row is none of the kind, or nothing says how rows are prepared.
            TargetError: the runtime fails, or gives NaN or infinity.
        """
        prepare = self._prepare
        if self._decoder is not None:
            raise DataError("this release goes on with a text and answers no rows. Use Bundle.generate.")
        if prepare is None:
            raise DataError("nothing in this release says how rows are prepared. Feed arrays with Bundle.infer.")
        if not 1 <= batch <= self.most_rows:
            raise DataError(f"batch is {batch}, and this model takes 1 to {self.most_rows} rows.")
        parts = (rows[start : start + batch] for start in range(0, len(rows), batch))
        return [answer for part in parts for answer in self._answers(prepare, part)]

    def __call__(self, row: Any) -> Answer:
        """What the model says of one row."""
        return self.predict([row])[0]

    def generate(self, prompt: str, sampling: Sampling | None = None) -> Text:
        """The text that follows a prompt: iterate over it for its pieces as they are made, or take `str(...)` of it.

        Args:
            prompt: as the model was trained to have it.
            sampling: how tokens are chosen; None takes the likeliest, at most 128 of them.

        Raises:
            DataError: the release is of no decoder, or the prompt is empty or too long.
            TargetError: the runtime fails, or gives NaN.
        """
        if self._decoder is None:
            raise DataError("this release answers rows and goes on with no text. Use Bundle.predict.")
        return self._decoder.generate(Locked(self._session, self._lock), prompt, sampling or Sampling())

    async def predict_async(self, rows: Sequence[Any], batch: int = 1) -> list[Answer]:
        """`predict` in a thread, so that an event loop goes on meanwhile."""
        return await asyncio.to_thread(self.predict, rows, batch)

    def infer(self, feeds: Feeds) -> dict[str, np.ndarray]:
        """The outputs by name, of arrays as the signature asks for them.

        Raises:
            SignatureError: the feeds do not fit it.
            TargetError: the runtime fails.
        """
        with self._lock:
            return self._session.infer(self.artifact.signature.select(feeds))

    def _answers(self, prepare: Prepares, rows: Sequence[Any]) -> list[Answer]:
        if isinstance(prepare, WordRows):
            feeds, words = prepare.read(rows)
            outputs = self._outputs(feeds)
            return [one.answer(row, self.labels) for one, row in zip(words, outputs, strict=True)]
        if isinstance(prepare, MaskedPictures):
            feeds, sizes = prepare.read(rows)
            return [mask_answer(row, size, self.labels) for row, size in zip(self._outputs(feeds), sizes, strict=True)]
        if isinstance(prepare, Questions):  # a row has one window or more, fed as many at a time as there are rows
            return [prepare.answer(row, self._outputs, len(rows)) for row in rows]
        return self._reading.answers(self._outputs(prepare.feeds(rows)))

    def _outputs(self, feeds: Feeds) -> np.ndarray:
        outputs = next(iter(self.infer(feeds).values()))
        if not np.isfinite(outputs).all():
            raise TargetError("the model gives NaN or infinite outputs. Use another target or precision.")
        return np.asarray(outputs, np.float64)

    def close(self) -> None:
        """Free the session. Calls afterwards fail."""
        with self._lock:
            self._stack.close()

    def __enter__(self) -> Bundle:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def opened_bundle(folder: Path, target: str | None, threads: int, stand_in: bool) -> Bundle:
    """See `targets.open_bundle`."""
    sealed = (folder / SUMS).exists()
    if sealed:
        check_sums(folder)
    found = {artifact.target: (path, artifact) for path, artifact in _artifacts(folder)}
    if not found:
        raise ArtifactError(f"{folder} holds no artifact. Give a release, or the folder of one target in it.")
    if target is not None and target not in found:
        raise ArtifactError(f"{folder} has no artifact of {target}; it has {', '.join(found)}.")
    place, artifact = found[target or _first_here(found)]
    if not sealed:  # else every file was compared already, and none is too many
        check_folder(artifact, place)
    return Bundle(place, artifact, threads, stand_in)


def check_folder(artifact: Artifact, folder: Path) -> None:
    """Raises ArtifactError where a file is missing, damaged or not of the artifact."""
    artifact.check_files(folder)
    if unknown := artifact.unknown_files(folder):
        raise ArtifactError(f"{folder} holds {unknown[0]!r:.80}, which is not of the artifact. It was not opened.")


def _artifacts(folder: Path) -> Iterator[tuple[Path, Artifact]]:
    places = [folder, *sorted(path for path in folder.glob("*") if path.is_dir() and not path.is_symlink())]
    for place in places:
        if (place / Artifact.FILE_NAME).is_file():
            yield place, Artifact.read(place / Artifact.FILE_NAME)


def _first_here(found: Iterable[str]) -> str:
    there = set(found)
    states = {name: targets.load(name).probe() for name in PREFERRED if name in there}
    if here := next((name for name, state in states.items() if state.state == "available"), None):
        return here
    reasons = "; ".join(f"{name}: {state.reason}" for name, state in states.items())
    raise TargetUnavailable(
        f"no artifact of this release runs here ({reasons}). Name one with target=..., and stand_in=True to have its "
        f"numbers on this CPU."
    )
