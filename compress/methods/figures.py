"""The figures that are taken before and after every stage, from fp32 exports that are made once for each model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from safetensors.numpy import load_file

from edgepress.benchmarks.judge.fidelity import judge
from edgepress.benchmarks.judge.latency import latency_rows
from edgepress.benchmarks.measure.cases import write_cases
from edgepress.benchmarks.measure.jobs import Case
from edgepress.benchmarks.measure.settings import choose_settings, time_all
from edgepress.benchmarks.records.figures import Figure
from edgepress.benchmarks.records.report import Figures, LatencyRow
from edgepress.compress.methods.desk import desk_of
from edgepress.compress.methods.measuring import Measuring
from edgepress.compress.methods.quantize.choice import CandidateResult
from edgepress.compress.methods.quantize.export import export_fp32
from edgepress.compress.methods.verdict import fingerprint
from edgepress.compress.methods.zeros import with_zeros
from edgepress.compress.model.model import Model
from edgepress.compress.tasks.inference import logits_of
from edgepress.targets.errors import BenchmarkError, TargetError
from edgepress.targets.records import Artifact


@dataclass(frozen=True)
class FigureTaker:
    """Takes figures for one stage. Exports lie in the cache of the run under the digest of what was exported; `refused`
    keeps the errors of those that there are not, by folder."""

    measuring: Measuring
    refused: dict[Path, TargetError] = field(default_factory=dict)

    def cases(self, model: Model) -> list[Case]:
        # Other rows or bounds make other inputs: a changed recipe must not be timed on those of the last one.
        key = hashlib.sha256(f"{self.measuring.data.calibration.digest} {model.signature.model_dump_json()}".encode())
        folder = self.measuring.cache_folder / "cases" / key.hexdigest()[:24]
        self.measuring.run.used.add(folder)
        return write_cases(desk_of(self.measuring), model.signature, folder)

    def take(self, before: Model, after: Model) -> tuple[Figures, Figures]:
        """Figures of both models on validation data and the recipe's first target that runs here, timed interleaved."""
        folders = {"before": self.export(before), "after": self.export(after)}
        latency = self._latency(folders, before)
        pair = (
            self._figures(before, folders["before"], latency["before"]),
            self._figures(after, folders["after"], latency["after"]),
        )
        if not (before.sparse_modules or after.sparse_modules):
            return pair
        return with_zeros(pair[0], before, folders["before"]), with_zeros(pair[1], after, folders["after"])

    def of_candidates(
        self, model: Model, folder: Path, before: CandidateResult, after: CandidateResult
    ) -> tuple[Figures, Figures]:
        """The same figures for two artifacts of one model in `folder`: metrics are what each showed on its own rows."""
        folders = {"before": folder / before.name, "after": folder / after.name}
        latency = self._latency(folders, model)
        return self._candidate_figures(model, folders["before"], latency["before"], before), self._candidate_figures(
            model, folders["after"], latency["after"], after
        )

    def export(self, model: Model, target: str | None = None) -> Path:
        """The folder of the model's fp32 artifact with the settings of its sessions chosen.

        Raises:
            TargetError: the target refused the model.
        """
        target = target or self.measuring.clock_target
        folder = self._export_folder(model, target)
        self._make_missing(model, {target: folder})
        if folder in self.refused:
            raise self.refused[folder]
        cases = self.cases(model)
        # Settings are the fastest for these shapes; for others they are chosen again.
        shapes = " ".join(case.shape.model_dump_json() for case in cases)
        mark = folder / "settled"
        if not mark.is_file() or mark.read_text(encoding="utf-8") != shapes:
            if self.measuring.target(target).probe().state == "available":
                choose_settings({"fp32": folder}, cases, desk_of(self.measuring))
            mark.write_text(shapes, encoding="utf-8")
        return folder

    def export_for(self, model: Model, targets: Sequence[str]) -> None:
        """Make the fp32 artifacts of several targets that are not there yet, side by side."""
        self._make_missing(model, {target: self._export_folder(model, target) for target in targets})

    def _make_missing(self, model: Model, folders: Mapping[str, Path]) -> None:
        missing = {
            target: folder
            for target, folder in folders.items()
            if folder not in self.refused and not (folder / Artifact.FILE_NAME).is_file()
        }
        for target, fault in export_fp32(model, missing, self.measuring).items():
            self.refused[folders[target]] = fault

    def _export_folder(self, model: Model, target: str) -> Path:
        folder = self.measuring.cache_folder / "exports" / f"{self._export_key(model, target)}-{target}"
        self.measuring.run.used.add(folder)
        return folder

    def _export_key(self, model: Model, target: str) -> str:
        """Digest of all that an exported folder holds: weights, configuration, bounds, processor, target's options."""
        settings = model.network.config.to_dict()  # type: ignore[operator,union-attr]
        # Where the model was read from, which differs between a stage that made it and one that reads it.
        settings.pop("_name_or_path", None)
        config = json.dumps(settings, sort_keys=True, default=str)
        options = json.dumps(self.measuring.recipe.target_options.get(target, {}), sort_keys=True)
        parts = (
            fingerprint(model),
            config,
            options,
            model.signature.model_dump_json(),
            self.measuring.data.calibration.digest,
        )
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]

    def macs(self, model: Model) -> int:
        """Multiply-accumulates of one forward at the last shape that is timed, batch 1."""
        from edgepress.targets.pytorch import count_macs

        feeds = model.signature.select(load_file(self.cases(model)[-1].feeds))
        return count_macs(model, {name: value[:1] for name, value in feeds.items()})

    def _latency(self, folders: dict[str, Path], model: Model) -> dict[str, tuple[LatencyRow, ...]]:
        title = f"{self.measuring.run.stage}: timing before and after"
        # The samples that the recipe asks for tell whether a stage pays; the report's own rows get more.
        results = time_all(folders, self.cases(model), desk_of(self.measuring), title, enough_s=0.0)
        for name, result in results.items():
            if result.failure:
                raise BenchmarkError(
                    f"{self.measuring.run.stage}: the model {name} the stage cannot be timed: {result.failure}"
                )
        reference = results["before"].measurements
        return {name: latency_rows(result.measurements, reference) for name, result in results.items()}

    def _figures(self, model: Model, folder: Path, latency: tuple[LatencyRow, ...]) -> Figures:
        teacher, logits = self.measuring.data.teacher_logits, logits_of(model, self.measuring.data.validation)
        labels = self.measuring.data.validation.labels
        return self._record(
            model, folder, latency, judge(self.measuring.data.metrics, labels, teacher, logits, intervals=False)
        )

    def _candidate_figures(
        self, model: Model, folder: Path, latency: tuple[LatencyRow, ...], result: CandidateResult
    ) -> Figures:
        assert result.metrics, "a candidate that failed is never chosen"
        return self._record(model, folder, latency, result.metrics)

    def _record(
        self, model: Model, folder: Path, latency: tuple[LatencyRow, ...], metrics: tuple[Figure, ...]
    ) -> Figures:
        return Figures(
            metrics=metrics,
            parameters=model.parameters,
            macs=self.macs(model),
            bytes=Artifact.read(folder / Artifact.FILE_NAME).bytes,
            latency=latency,
        )
