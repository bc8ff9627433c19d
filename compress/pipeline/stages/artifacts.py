"""The artifacts: every target makes what it can of the model, and the best of it is chosen on validation data."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepress.compress.methods.quantize.options import Quantize
from edgepress.compress.pipeline.stages.base import Work, plain
from edgepress.targets.errors import RecipeError, StageError, TargetError

if TYPE_CHECKING:
    from edgepress.benchmarks.measure.jobs import Case
    from edgepress.compress.methods.figures import FigureTaker
    from edgepress.compress.methods.measuring import Measuring
    from edgepress.compress.methods.quantize.choice import Selection
    from edgepress.compress.methods.quantize.export import Exported, Order
    from edgepress.compress.methods.verdict import Verdict
    from edgepress.compress.model.model import Model
    from edgepress.compress.recipe.recipe import Recipe


@dataclass(frozen=True)
class ArtifactsStage:
    """Exports the model to the recipe's targets, in lower precision too where the recipe quantizes.

    Args:
        options: of the quantization; None: fp32 alone.
        targets: their names.
        target_options: by name, of those that have some.
    """

    options: Quantize | None
    targets: tuple[str, ...]
    target_options: Mapping[str, Mapping[str, Any]]

    @property
    def name(self) -> str:
        return "export" if self.options is None else "quantize"

    def covers(self) -> Mapping[str, object]:
        return plain(self.options) | {"targets": self.targets, "target_options": self.target_options}

    def run(self, work: Work, folder: Path) -> None:
        """Candidates for every target, the choice, and what quantization brought beside the fp32 export."""
        from edgepress.compress.methods.figures import FigureTaker

        began, model = time.monotonic(), work.model
        figures = FigureTaker(work.measuring)
        selections = _selections(self, model, figures, folder)
        model.save(folder)
        if all(selection.failure for selection in selections):
            raise StageError("; ".join(selection.failure for selection in selections))
        if self.options is not None:
            _write_row(self.options, selections, model, figures, folder, began)


def stages_of(recipe: Recipe) -> tuple[ArtifactsStage, ...]:
    """
    Raises:
        RecipeError: `quantize` is not the recipe's last stage.
    """
    if any(isinstance(options, Quantize) for options in recipe.stages[:-1]):
        raise RecipeError("stages: quantize makes the artifacts and must be the last stage")
    last = recipe.stages[-1] if recipe.stages else None
    options = last if isinstance(last, Quantize) else None
    return (ArtifactsStage(options, recipe.targets, recipe.target_options),)


def _selections(stage: ArtifactsStage, model: Model, figures: FigureTaker, folder: Path) -> list[Selection]:
    """The choice for each target, also written to `selection-<target>.json`."""
    from edgepress.compress.methods.quantize.export import export_candidates

    options, measuring = stage.options, figures.measuring
    failed, orders = _orders(model, options, measuring, folder)
    exported = export_candidates(model, orders, measuring)
    selections = []
    for name in stage.targets:
        selection = failed.get(name) or _select(name, exported[name], options, figures.cases(model), measuring)
        if options is not None and options.auto and not selection.holds:
            selection = replace_choice(selection, "fp32")
        selection.write(folder / f"selection-{name}.json")
        selections.append(selection)
    return selections


def _write_row(
    options: Quantize,
    selections: Sequence[Selection],
    model: Model,
    figures: FigureTaker,
    folder: Path,
    began: float,
) -> None:
    """What the pass brought, told for the first target that runs here; the framework itself makes no int8."""
    from edgepress.benchmarks.records.report import StageRow

    clocked = [selection for selection in selections if selection.target == figures.measuring.clock_target]
    if not clocked or clocked[0].failure:
        return
    (first,) = clocked
    place = folder / "artifacts" / first.target
    before, after = figures.of_candidates(model, place, first.result("fp32"), first.result(first.chosen))
    dropped = options.auto and not first.holds
    verdict: Verdict = "dropped" if dropped else "kept" if first.holds else "kept although it did not pay"
    StageRow(
        name=options.kind,
        kind=options.kind,
        verdict=verdict,
        reasons=first.reasons,
        before=before,
        after=after,
        seconds=round(time.monotonic() - began, 1),
        summary=f"{first.chosen} of {len(first.results) - 1} candidates on {first.target}",
        details={"selections": [selection.model_dump() for selection in selections]},
    ).write(folder / "row.json")


def _orders(
    model: Model, options: Quantize | None, measuring: Measuring, folder: Path
) -> tuple[dict[str, Selection], dict[str, Order]]:
    """Targets that can make nothing here, with the reason, and what the others are to make."""
    from edgepress.compress.methods.quantize.choice import candidates_of
    from edgepress.compress.methods.quantize.export import Order

    failed, orders = {}, {}
    for name in measuring.recipe.targets:
        try:
            backend = measuring.target(name)
            found = backend.probe()
            if found.state == "missing":
                reason = f"{name} {found.reason}. Fix: {found.remedy}"
                measuring.run.progress.warn(reason)
                failed[name] = _nothing(name, reason, unavailable=True)
                continue
            orders[name] = Order(candidates_of(backend, model, options), folder / "artifacts" / name)
        except (TargetError, StageError) as fault:
            failed[name] = _fallen(name, fault, measuring)
    return failed, orders


def _select(
    name: str,
    exported: list[Exported] | TargetError,
    options: Quantize | None,
    cases: Sequence[Case],
    measuring: Measuring,
) -> Selection:
    """The choice for one target; one that cannot make anything of the model does not stop the others."""
    from edgepress.compress.methods.quantize.choice import select_by_measurement

    if isinstance(exported, TargetError):
        return _fallen(name, exported, measuring)
    try:
        return select_by_measurement(name, exported, options, cases, measuring)
    except (TargetError, StageError) as fault:
        return _fallen(name, fault, measuring)


def _fallen(name: str, fault: TargetError | StageError, measuring: Measuring) -> Selection:
    if len(measuring.recipe.targets) == 1:
        raise fault
    reason = str(fault) if str(fault).startswith(name) else f"{name}: {fault}"
    measuring.run.progress.warn(reason)
    return _nothing(name, reason)


def _nothing(name: str, failure: str, unavailable: bool = False) -> Selection:
    from edgepress.compress.methods.quantize.choice import Selection

    return Selection(target=name, results=(), chosen="", holds=False, failure=failure, unavailable=unavailable)


def replace_choice(selection: Selection, name: str) -> Selection:
    """The same results with another one chosen."""
    results = tuple(result.model_copy(update={"chosen": result.name == name}) for result in selection.results)
    return selection.model_copy(update={"results": results, "chosen": name})
