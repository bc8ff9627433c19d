"""The teacher's outputs on the training rows: computed once, kept in safetensors shards, read row by row.

Memory stays bounded whatever the dataset's size: a shard is written as soon as it is full, and read through the page
cache. The folder's name is a digest of the teacher's weights, the rows and what is kept, so a stale cache is never
read. A kill loses at most the shard in progress.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from safetensors import safe_open
from safetensors.numpy import save_file
from torch import nn

from edgepress.benchmarks.metrics.base import IGNORED
from edgepress.compress.model.model import Model, unique_state
from edgepress.compress.network.hidden_states import Grid, at_grid, attention_maps, hidden_states, state_of
from edgepress.compress.tasks import load_task
from edgepress.targets.errors import StageError
from edgepress.targets.records import Record

if TYPE_CHECKING:
    from edgepress.compress.tasks.base import Features
    from edgepress.targets.progress import Progress

# The last file that is written: it means "whole".
CARD = "cache.json"
# Rows a shard and rows a forward pass: a shard of short texts with three hidden states of 384 is about 60 MB.
SHARD_ROWS = 2048
BATCH = 64
TOKEN_LOGITS, ANSWER_STARTS = "token_logits", "answer_starts"


class Wanted(Record):
    """What is kept besides the logits: hidden states and (head-averaged) attention maps of these teacher layers,
    counted as in transformers' `hidden_states` (0 is the embedding); the grids that hidden states are averaged to, one
    a layer, None keeps all positions; and the precision the teacher computes in. Of tasks with too many outputs to keep
    them all (`Outputs.kept`) also how many are kept of each place, and the temperature that softened them."""

    hidden: tuple[int, ...] = ()
    grids: tuple[Grid | None, ...] = ()
    attention: tuple[int, ...] = ()
    precision: Literal["fp32", "bf16"] = "fp32"
    likeliest: int | None = None
    temperature: float = 1.0


class CacheCard(Record):
    """The JSON beside the shards; written last, so that it means "whole"."""

    rows: int
    bytes: int
    rows_per_second: float
    wanted: Wanted


@dataclass
class TeacherCache:
    """Opened shards. `rows(indices)` gives what the objective reads."""

    folder: Path
    card: CacheCard
    positions: np.ndarray  # row -> place in the length-sorted order in which the teacher saw it
    tokens: np.ndarray  # row -> number of tokens of its hidden states (without padding); 0 where no row has padding
    _shards: dict[int, Any]

    @classmethod
    def open(cls, folder: Path, teacher: Model, features: Features, wanted: Wanted, progress: Progress) -> TeacherCache:
        """The cache of this teacher on these rows, computed first where it is not whole.

        Args:
            folder: holds a folder for each digest of all that follows.
            teacher: whose outputs they are.
            features: the rows.
            wanted: what is kept besides the logits.
            progress: of the computing.

        Raises:
            StageError: the teacher's outputs are not finite.
        """
        path = folder.resolve() / digest_of(teacher, features, wanted)
        if not (path / CARD).is_file():
            compute(path, teacher, features, wanted, progress)
        return cls.opened(path, features)

    @classmethod
    def opened(cls, path: Path, features: Features) -> TeacherCache:
        """A whole cache of these rows."""
        order = _order(features)
        positions = np.empty(len(order), np.int64)
        positions[order] = np.arange(len(order))
        return cls(path, CacheCard.read(path / CARD), positions, np.load(path / "tokens.npy"), {})

    def __getstate__(self) -> dict[str, Any]:
        """Sent to another process, it opens the shards itself."""
        return {**self.__dict__, "_shards": {}}

    def rows(self, indices: np.ndarray) -> dict[str, Any]:
        """Logits `[batch, classes]` or, of tokens, `[batch, tokens, classes]`; hidden `[batch, tokens, width]` a layer
        and attention `[batch, tokens, tokens]` a layer, those of texts zero-padded to the longest row of the batch."""
        longest = int(self.tokens[indices].max()) if self.tokens.size else 0
        found = [self._row(int(index)) for index in indices]
        wanted, logits = self.card.wanted, [row["logits"] for row in found]
        return {
            "logits": _pad(logits, max(map(len, logits)) if self._by_token else 0, 1),
            "hidden": [_pad([row[f"hidden.{i}"] for row in found], longest, 1) for i in range(len(wanted.hidden))],
            "attention": [
                _pad([row[f"attention.{i}"] for row in found], longest, 2) for i in range(len(wanted.attention))
            ],
        }

    def _row(self, index: int) -> dict[str, np.ndarray]:
        shard, place = divmod(int(self.positions[index]), SHARD_ROWS)
        found: dict[str, np.ndarray] = self._shard(shard).row(place)
        return found

    def _shard(self, number: int) -> _Shard:
        if number not in self._shards:
            self._shards[number] = _Shard(_shard_path(self.folder, number))
        found: _Shard = self._shards[number]
        return found

    @property
    def _by_token(self) -> bool:
        """Whether the teacher gives logits for each token."""
        return self._shard(0).by_token


class _Shard:
    """One open file: `logits [rows, classes]`, or `token_logits` of all tokens, and of texts flat pieces
    `start[row]:start[row + 1]` of all that is ragged; rows of images are alike, and each layer of them
    has its own number of positions. Targets that are made of sources have other lengths than these, and starts of
    their own."""

    def __init__(self, path: Path) -> None:
        self.file = safe_open(path, framework="numpy")
        names = list(self.file.keys())
        self.starts = self.file.get_tensor("starts") if "starts" in names else None
        self.answers = self.file.get_tensor(ANSWER_STARTS) if ANSWER_STARTS in names else self.starts
        self.by_token = TOKEN_LOGITS in names
        self.logits = self.file.get_tensor(TOKEN_LOGITS if self.by_token else "logits")
        self.hidden = {name: self.file.get_slice(name) for name in names if name.startswith("hidden.")}
        self.attention = {name: self.file.get_slice(name) for name in names if name.startswith("attention.")}
        self.squares = np.concatenate([[0], np.cumsum(np.diff(self.starts) ** 2)]) if self.starts is not None else None

    def row(self, place: int) -> dict[str, np.ndarray]:
        if self.starts is None or self.squares is None or self.answers is None:
            pieces = self.hidden | self.attention
            return {"logits": self.logits[place]} | {
                name: piece[place : place + 1][0] for name, piece in pieces.items()
            }
        start, end = int(self.starts[place]), int(self.starts[place + 1])
        low, high = int(self.squares[place]), int(self.squares[place + 1])
        first, behind = int(self.answers[place]), int(self.answers[place + 1])
        found = {"logits": self.logits[first:behind] if self.by_token else self.logits[place]}
        found |= {name: piece[start:end] for name, piece in self.hidden.items()}
        found |= {name: piece[low:high].reshape(end - start, -1) for name, piece in self.attention.items()}
        return found


def _pad(pieces: list[np.ndarray], longest: int, axes: int) -> torch.Tensor:
    if not longest:
        return torch.from_numpy(np.stack(pieces))
    shape = (len(pieces), longest, longest if axes == 2 else pieces[0].shape[-1])
    padded = np.zeros(shape, pieces[0].dtype)
    for row, piece in enumerate(pieces):
        padded[row, : piece.shape[0], : piece.shape[1]] = piece
    return torch.from_numpy(padded)


def digest_of(teacher: Model, features: Features, wanted: Wanted) -> str:
    """Of all that the outputs depend on: weights, rows, and what is kept.

    Args:
        teacher: its weights count.
        features: the rows, by their digest.
        wanted: which outputs are kept, in which precision.
    """
    digest = hashlib.sha256(f"{features.digest}|{wanted.model_dump_json()}|{SHARD_ROWS}".encode())
    for name, value in sorted(unique_state(teacher.network).items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:24]


def _order(features: Features) -> np.ndarray:
    """Rows from short to long: batches of one length need no padding."""
    if features.lengths is None:
        return np.arange(len(features))
    return np.argsort(features.lengths, kind="stable")


def _shard_path(folder: Path, shard: int) -> Path:
    return folder / f"shard-{shard:05d}.safetensors"


def compute(folder: Path, teacher: Model, features: Features, wanted: Wanted, progress: Progress) -> None:
    """Fill `folder` with the outputs of `teacher` on the rows of `features`, shard by shard.

    Args:
        wanted: which outputs are kept, in which precision.
        progress: counts the rows.
    """
    folder.mkdir(parents=True, exist_ok=True)
    order = _order(features)
    # Only a shard that was cut off is computed again; those before it stand.
    tokens = np.zeros(len(order), np.int32)
    computed, seconds = 0, 0.0
    with progress.task("Teacher's outputs", total=len(order)) as advance, _on_gpu(teacher.network):
        for start in range(0, len(order), SHARD_ROWS):
            rows = order[start : start + SHARD_ROWS]
            path = _shard_path(folder, start // SHARD_ROWS)
            if not path.is_file():
                began = time.monotonic()
                _write_shard(path, _outputs(teacher, features, rows, wanted))
                computed, seconds = computed + len(rows), seconds + time.monotonic() - began
            with safe_open(path, framework="numpy") as file:
                if "starts" in file.keys():  # noqa: SIM118  # the file itself cannot be searched
                    tokens[rows] = np.diff(file.get_tensor("starts"))
            advance(len(rows))
    np.save(folder / "tokens.npy", tokens)
    size = sum(path.stat().st_size for path in folder.glob("shard-*.safetensors"))
    speed = computed / seconds if seconds else 0.0
    card = CacheCard(rows=len(order), bytes=size, rows_per_second=speed, wanted=wanted)
    write_card(folder, card.model_dump(mode="json"))


def write_card(folder: Path, content: Mapping[str, Any]) -> None:
    """The last file of an entry, which says that all others are whole."""
    temporary = folder / f"{CARD}.tmp"
    temporary.write_text(json.dumps(content))
    temporary.replace(folder / CARD)


@contextmanager
def _on_gpu(network: nn.Module) -> Iterator[None]:
    """`network` on this process's GPU, where there is one, and back again: everything else expects it on the CPU."""
    if torch.cuda.is_available():
        network.to("cuda")
    try:
        yield
    finally:
        network.to("cpu")


def _write_shard(path: Path, pieces: Iterator[dict[str, np.ndarray]]) -> None:
    columns: dict[str, list[np.ndarray]] = {}
    for piece in pieces:
        for name, value in piece.items():
            columns.setdefault(name, []).append(value)
    # safetensors writes an array's memory as it lies; a feature map that was turned into tokens lies the other way.
    arrays = {name: np.ascontiguousarray(np.concatenate(values)) for name, values in columns.items()}
    for name, starts in (("tokens", "starts"), ("answers", ANSWER_STARTS)):
        if (counts := arrays.pop(name, None)) is not None:
            arrays[starts] = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    temporary = path.with_suffix(f".tmp-{os.getpid()}")
    save_file(arrays, temporary)
    temporary.replace(path)


@torch.no_grad()  # no inference mode: networks keep tensors of this pass (BEiT) and train with them later
def _outputs(teacher: Model, features: Features, rows: np.ndarray, wanted: Wanted) -> Iterator[dict[str, np.ndarray]]:
    """The teacher on `rows`, batch by batch: arrays without padding, hidden states and attention in fp16."""
    network = teacher.network.eval()
    device, outputs = next(network.parameters()).device, load_task(teacher.task).outputs
    options = {"output_hidden_states": bool(wanted.hidden), "output_attentions": bool(wanted.attention)}
    for start in range(0, len(rows), BATCH):
        part = rows[start : start + BATCH]
        feeds = teacher.signature.select(features.batch(part))
        inputs = {name: torch.from_numpy(value).to(device) for name, value in feeds.items()}
        with torch.autocast(device.type, torch.bfloat16, enabled=wanted.precision == "bf16"):
            output = network(**inputs, **{name: True for name, on in options.items() if on})
        if not torch.isfinite(output.logits).all():
            raise StageError("the teacher's logits are not finite on the training data; check the teacher's weights")
        kept = _kept(output, wanted, inputs)
        logits = outputs.kept(output.logits.float(), wanted.likeliest, wanted.temperature)
        if "decoder_input_ids" in inputs:
            yield _of_targets(logits, torch.from_numpy(features.labels[part]).to(device)) | kept
        else:
            yield _answers(logits, inputs.get("attention_mask")) | kept


def _of_targets(logits: torch.Tensor, labels: torch.Tensor) -> dict[str, np.ndarray]:
    """Logits of the tokens of targets, one row behind the other, `[tokens, classes]`, and how many each has: a target
    has another length than the source whose mask the rows have.

    Args:
        logits: `[batch, positions, classes]`.
        labels: the targets' tokens, `[batch, most positions]`, -100 behind the last.
    """
    target = labels[:, : logits.shape[1]] != IGNORED  # no row of the batch has tokens beyond it
    kept = logits[:, : target.shape[1]][target]
    return {TOKEN_LOGITS: kept.cpu().numpy(), "answers": target.sum(1).int().cpu().numpy()}


def _answers(logits: torch.Tensor, mask: torch.Tensor | None) -> dict[str, np.ndarray]:
    """Logits `[batch, classes]`; those of tokens without padding, one row behind the other, `[tokens, classes]`."""
    if mask is not None and logits.ndim == 3 and logits.shape[:2] == mask.shape:
        return {TOKEN_LOGITS: logits[mask.bool()].cpu().numpy()}
    return {"logits": logits.cpu().numpy()}


def _kept(output: Any, wanted: Wanted, inputs: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """Hidden states and attention maps of one batch in fp16. Of texts the real tokens of all rows one after another,
    and how many each row has; of images `[batch, positions, width]` and `[batch, positions, positions]`."""
    states, maps = hidden_states(output) or (), attention_maps(output) or ()
    image = next((value.shape[-2:] for value in inputs.values() if value.ndim == 4), None)
    found = {}
    for i, layer in enumerate(wanted.hidden):
        grid = wanted.grids[i] if wanted.grids else None
        size = state_of(states[layer], None if image is None else (image[0], image[1]))
        found[f"hidden.{i}"] = at_grid(states[layer], size, grid)
    attention = {f"attention.{i}": maps[layer - 1].float().mean(1) for i, layer in enumerate(wanted.attention)}
    counts = {}
    if "attention_mask" in inputs:
        mask = inputs["attention_mask"].bool()
        found = {name: state[mask] for name, state in found.items()}
        attention = {name: values[mask[:, :, None] & mask[:, None, :]] for name, values in attention.items()}
        counts = {"tokens": mask.sum(1).int().cpu().numpy()}
    return counts | {name: value.half().cpu().numpy() for name, value in (found | attention).items()}
