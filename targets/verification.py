"""Nothing is believed that was not compared: an exported artifact against the torch model, before it is accepted."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from targets.base import (
    Artifact,
    Candidate,
    Comparison,
    Exportable,
    Feeds,
    FileEntry,
    Precision,
    Session,
    Signature,
)
from targets.comparison import compare
from targets.errors import ArtifactError, TargetError
from targets.graph_export import check_weights, failing_module, resized, sizes_of
from targets.isolation import one_line

# Least SQNR in dB. A faithful fp32 export lies above 100, fp16 near 60, bf16 near 40, a wrong graph below 10. int8 has
# to be better than noise only: validation accuracy decides about it.
LEAST_DB = {"fp32": 60.0, "fp16": 30.0, "bf16": 15.0, "int8": 0.0}
LARGEST_BATCH = 8  # samples of a batch are independent, so larger ones show nothing new


@dataclass(frozen=True)
class Reference:
    """What the torch model gives: for the calibration batches, and at the corners of the signature's bounds."""

    batches: Sequence[Feeds]
    logits: tuple[np.ndarray, ...]
    corners: Sequence[Feeds]
    corner_logits: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, model: Exportable, calibration: Sequence[Feeds]) -> Reference:
        """Raises TargetError when there are no batches, or weights or outputs hold NaN or infinity."""
        if not calibration:
            raise TargetError("nothing to compare the export with: give at least one calibration batch")
        check_weights(model.module)
        corners = corner_feeds(model.signature, calibration[0])
        return cls(calibration, run_torch(model, calibration), corners, run_torch(model, corners))


def run_torch(model: Exportable, batches: Sequence[Feeds]) -> tuple[np.ndarray, ...]:
    """Logits `[batch, classes]` of the torch module for each batch."""
    module, outputs = model.module, []
    for feeds in batches:
        model.signature.check(feeds)
        inputs = [torch.from_numpy(np.ascontiguousarray(feeds[spec.name])) for spec in model.signature.inputs]
        try:
            with torch.inference_mode():
                outputs.append(module(*inputs).numpy())
        except Exception as fault:
            sizes = _shape_text(sizes_of(feeds, model.signature))
            raise TargetError(
                f"the torch model fails at {sizes}{failing_module(fault, module)}: {one_line(fault)}. "
                f"Change the bounds of its signature, or the model."
            ) from fault
        check_finite(outputs[-1], "the torch model", sizes_of(feeds, model.signature))
    return tuple(outputs)


def corner_feeds(signature: Signature, example: Feeds) -> tuple[Feeds, ...]:
    """The smallest input within the bounds, and one with each named dimension at its largest (batches up to 8)."""
    lows = {name: signature.bounds[name][0] for name in sizes_of(example, signature)}
    batch = signature.inputs[0].shape[0]
    highs = {name: signature.bounds[name][1] for name in lows}
    if batch in highs:
        highs[str(batch)] = max(lows[str(batch)], min(highs[str(batch)], LARGEST_BATCH))
    corners = [lows, *(lows | {name: high} for name, high in highs.items() if high > lows[name])]
    return tuple(resized(example, signature, sizes) for sizes in corners)


def accept(
    session: Session,
    reference: Reference,
    signature: Signature,
    precision: Precision,
    ready: Callable[[Feeds], Feeds] = lambda feeds: feeds,
) -> Comparison:
    """Compare `session` with the torch model: `LEAST_DB` of the precision is demanded, of fp32 also at the corners.

    `ready` makes calibration batches into what a runtime that compiles for each shape has few programs for; rows that
    it adds at the end are not compared.

    Raises:
        TargetError: a size within the bounds fails, outputs are not finite, or too far from the torch model's.
    """
    pairs = _pairs(reference.batches, reference.logits)
    compared = [_infer(session, ready(feeds), want, signature) for feeds, want in pairs]
    comparison = compare(reference.logits, compared)
    _check_close(comparison, LEAST_DB[precision], "calibration data")
    for feeds, want in _pairs(reference.corners, reference.corner_logits):
        logits = _infer(session, feeds, want, signature)
        if precision == "fp32":
            _check_close(compare([want], [logits]), LEAST_DB[precision], _shape_text(sizes_of(feeds, signature)))
    return comparison


def _pairs(batches: Sequence[Feeds], logits: Sequence[np.ndarray]) -> Iterator[tuple[Feeds, np.ndarray]]:
    return zip(batches, logits, strict=True)


def _infer(session: Session, feeds: Feeds, want: np.ndarray, signature: Signature) -> np.ndarray:
    sizes = sizes_of(feeds, signature)
    try:
        logits = session.infer(feeds)["logits"]
    except Exception as fault:
        raise TargetError(f"the exported model fails at {_shape_text(sizes)}: {fault}") from fault
    expected = (len(next(iter(feeds.values()))), *want.shape[1:])
    if logits.shape != expected:
        raise TargetError(f"the exported model gives logits {logits.shape}, the torch model {expected}")
    check_finite(logits, "the exported model", sizes)
    return logits[: len(want)]


def _check_close(comparison: Comparison, least_db: float, where: str) -> None:
    if comparison.sqnr_db is not None and comparison.sqnr_db < least_db:
        raise TargetError(
            f"the exported model differs from the torch model on {where}: SQNR {comparison.sqnr_db:.1f} dB, wanted at "
            f"least {least_db:.0f} dB; largest difference {comparison.max_abs_diff:.3g}. The artifact was refused."
        )


def check_finite(logits: np.ndarray, whose: str, sizes: dict[str, int]) -> None:
    """Raises TargetError for NaN or infinity."""
    if not np.isfinite(logits).all():
        raise TargetError(f"{whose} gives NaN or infinity for inputs of {_shape_text(sizes)}. Nothing was accepted.")


def _shape_text(sizes: dict[str, int]) -> str:
    return ", ".join(f"{name} {size}" for name, size in sizes.items()) or "the fixed shape"


def seal(
    target: str,
    model: Exportable,
    candidate: Candidate,
    folder: Path,
    comparison: Comparison,
    reference: Reference,
    companions: Collection[str] = (),
    **own: Any,
) -> Artifact:
    """The record of everything that lies in `folder`, written there too; `own` are the fields that only the target
    knows.

    `companions` are the files that other tools want and the device does not need, by their path in `folder`.
    """
    paths = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    names = [path for path in paths if path != Artifact.FILE_NAME]
    facts: dict[str, Any] = {
        "name": candidate.name,
        "target": target,
        "candidate": candidate,
        "precision": candidate.precision,
        "files": tuple(FileEntry.of(folder, name, shipped=name not in companions) for name in names),
        "signature": model.signature,
        "parameters": sum(parameter.numel() for parameter in model.module.parameters()),
        "int8_mac_share": 0.0,
        "comparison": comparison,
        "calibration_digest": calibration_digest(reference.batches),
    }
    artifact = Artifact(**(facts | own))
    artifact.write(folder / Artifact.FILE_NAME)
    return artifact


def refuse_filled(folder: Path) -> None:
    """Raises ArtifactError for a folder with files: those of an older export must not get into the new artifact."""
    if old := sorted(folder.iterdir()) if folder.is_dir() else []:
        raise ArtifactError(f"{folder} is not empty (it holds {old[0].name}). Export into a new folder.")


def calibration_digest(batches: Sequence[Feeds]) -> str:
    """Hex sha256 over names, dtypes, shapes and values."""
    digest = hashlib.sha256()
    for feeds in batches:
        for name, value in sorted(feeds.items()):
            digest.update(f"{name} {value.dtype} {value.shape} ".encode())
            digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()


def versions_of(*packages: str) -> dict[str, str]:
    """Installed versions of the toolchain, by distribution name."""
    return {package: version(package) for package in packages}
