"""The frame of methods and stages: registries, what a recipe says of a method, plans, and what methods are given."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, Literal

import numpy as np
import pytest

from edgepress.compress.cli.console import Console
from edgepress.compress.methods.base import Applied, Promise, method_of
from edgepress.compress.methods.data import Data, Run
from edgepress.compress.methods.distill.options import Distill
from edgepress.compress.methods.factorize.options import Factorize
from edgepress.compress.methods.prune.options import Prune
from edgepress.compress.methods.transform import transform
from edgepress.compress.model.model import Model
from edgepress.compress.pipeline import stages as pipeline_stages
from edgepress.compress.pipeline.plan import plan
from edgepress.compress.recipe.methods import METHODS, find, tags_of
from edgepress.compress.recipe.recipe import Recipe, parse_recipe
from edgepress.compress.recipe.sections import StageOptions
from edgepress.compress.tasks import load_task
from edgepress.compress.training import teacher_cache
from edgepress.compress.training.output_store import OutputStore
from edgepress.compress.training.teacher_cache import Wanted
from edgepress.targets.errors import RecipeError
from edgepress.targets.records import Record
from tests.compress.fakes import TokenFeatures, tiny_bert


def recipe(*stages: dict[str, Any], **more: Any) -> Recipe:
    given = {"name": "r", "task": "text-classification", "data": {"train": "rows.jsonl"}, "teacher": {"model": "o/n"}}
    return parse_recipe(given | {"stages": list(stages)} | more, "r.yaml")


def test_each_method_has_options_of_its_family_and_tag() -> None:
    found = {(find(*name).options.kind, find(*name).options.model_fields["method"].default) for name in METHODS}
    assert found == set(METHODS)


def test_all_methods_options_are_read_without_torch() -> None:
    code = "import sys; from edgepress.compress.recipe.methods import METHODS, find; [find(*n) for n in METHODS]; "
    code += "from edgepress.compress.pipeline.plan import plan; print({'torch', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "set()\n"), done.stderr


def test_a_stage_without_a_method_means_the_familys_first_one() -> None:
    short = recipe({"prune": {"heads": 0.5}}, {"factorize": {"budget": 0.4}}, {"distill": {}})
    long = recipe(
        {"prune": {"method": "structured", "heads": 0.5}},
        {"factorize": {"method": "svd", "budget": 0.4}},
        {"distill": {"method": "offline"}},
    )
    assert short == long and short.digest == long.digest
    assert [stage.method for stage in short.stages] == ["structured", "svd", "offline"]


def test_an_unknown_method_is_named_with_those_of_its_family() -> None:
    with pytest.raises(RecipeError) as caught:
        recipe({"prune": {"method": "structred", "heads": 0.5}})
    known = ", ".join(tags_of("prune"))
    told = f"stages[0].prune.method: got \"structred\", allowed: one of {known}. Did you mean 'structured'?"
    assert str(caught.value).endswith(told)


def test_stages_keep_their_family_in_json() -> None:
    made = recipe({"prune": {"ffn": 0.5}}, {"factorize": {"rank": 4}}, {"quantize": {}})
    assert Recipe.model_validate_json(made.model_dump_json()) == made
    assert [list(stage) for stage in made.model_dump(mode="json")["stages"]] == [["prune"], ["factorize"], ["quantize"]]


def test_where_the_outputs_are_kept_changes_no_digest() -> None:
    assert recipe(cache={"folder": "shared", "limit_gb": 1.5}).digest == recipe().digest != recipe(seed=1).digest


def test_each_method_promises_what_it_is_there_for() -> None:
    for options in (Prune(ffn=0.5, max_drop=0.1), Factorize(rank=2, max_drop=0.1)):
        wanted = Promise(max_drop=0.1, falls=("macs", "parameters"), keeps_latency=True)
        assert method_of(options).promise(options) == wanted
    assert method_of(Distill()).promise(Distill()) == Promise(max_drop=None)


class Zeroed(StageOptions):
    """Options of a method from outside."""

    kind: ClassVar[str] = "prune"
    method: Literal["zeroed"] = "zeroed"
    share: float = 0.5


class ZeroPlan(Record):
    """How many of the classifier's weights become 0."""

    count: int

    @property
    def changes(self) -> bool:
        return self.count > 0

    def describe(self) -> str:
        return f"{self.count} weights become 0"


class Zeroing:
    """Sets the first weights of the classifier to 0: fewer bytes when packed, as many MACs as before."""

    options = Zeroed

    def plan(self, model: Model, options: Zeroed, data: Data) -> ZeroPlan:
        return ZeroPlan(count=int(options.share * model.network.classifier.weight.numel()))  # type: ignore[operator]

    def apply(self, model: Model, plan: ZeroPlan, data: Data, run: Run) -> Applied:
        made = model.copy()
        made.network.classifier.weight.data.view(-1)[: plan.count] = 0  # type: ignore[union-attr,index]
        return Applied(made.after("prune", plan.describe()), {"plan": plan.describe()})

    def promise(self, options: Zeroed) -> Promise:
        return Promise(max_drop=options.max_drop)


def test_a_method_from_outside_is_one_file_and_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, ("prune", "zeroed"), f"{__name__}:Zeroing")
    made = recipe({"prune": {"method": "zeroed", "share": 0.25}}, {"prune": {"heads": 0.5}})
    assert [type(stage) for stage in made.stages] == [Zeroed, Prune]
    assert Recipe.model_validate_json(made.model_dump_json()) == made
    model, nothing = tiny_bert(), SimpleNamespace()
    applied = transform(model, made.stages[0], Distill(), nothing, nothing)  # type: ignore[arg-type]
    # Two classes of 32 features: a quarter of 64 weights.
    assert int((applied.model.network.classifier.weight == 0).sum()) == 16  # type: ignore[union-attr]
    assert int((model.network.classifier.weight == 0).sum()) == 0  # type: ignore[union-attr]
    assert dict(applied.details) == {"plan": "16 weights become 0"}
    with pytest.raises(RecipeError, match=r'method: got "zeros", allowed: one of structured, .*, zeroed'):
        recipe({"prune": {"method": "zeros"}})


class Rows:
    """A workspace of made-up rows."""

    def __init__(self) -> None:
        self.train, self.progress = TokenFeatures(20), Console("silent")
        self.task = load_task("text-classification")


def data(folder: Path, outputs: Path, layers: tuple[int, ...] | None = None) -> Data:
    teacher = tiny_bert(layers=3)
    teacher.save(folder)
    rows: Any = Rows()
    return Data(rows, folder, OutputStore(outputs, None, rows.progress), layers)


def run(folder: Path) -> Run:
    return Run("distill", 0, folder, Console("silent"))


def test_a_distillation_is_planned_in_lines_before_it_trains(tmp_path: Path) -> None:
    options = Distill(hidden=1.0, attention=0.5)
    plan = method_of(options).plan(tiny_bert(layers=1, hidden=16), options, data(tmp_path / "t", tmp_path, (1,)))
    assert plan.changes and plan.describe().splitlines() == [
        "T=2, alpha=0.9: 1 * soft_targets, 1 * hidden, 0.5 * attention",
        "state 0 follows 0 (width 16 -> 32)",
        "state 1 follows 2 (width 16 -> 32)",
    ]


def test_what_one_run_computed_of_a_teacher_another_one_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, shared = data(tmp_path / "a", tmp_path / "c"), data(tmp_path / "b", tmp_path / "c"), run(tmp_path)
    with first.teacher_outputs(Wanted(), shared) as cache:
        logits = cache.rows(np.arange(20))["logits"]
    monkeypatch.setattr(teacher_cache, "_outputs", lambda *_: pytest.fail("computed again"))
    with second.teacher_outputs(Wanted(), shared) as cache:
        assert (cache.rows(np.arange(20))["logits"] == logits).all()
    assert shared.used == {cache.folder}


@dataclass(frozen=True)
class Audit:
    """A stage from outside."""

    options: None = None
    name: str = "audit"

    def covers(self) -> Mapping[str, object]:
        return {"format": 1}

    def run(self, work: Any, folder: Path) -> None:
        (folder / "audit.txt").write_text(", ".join(work.names_before))


def test_a_stage_is_one_class_and_one_line(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (workdir / "rows.jsonl").write_text('{"text": "good", "label": 1}\n')
    monkeypatch.setitem(pipeline_stages.STAGES, "audit", lambda recipe: (Audit(),))
    planned = plan(recipe({"prune": {"ffn": 0.5}}))
    assert [stage.name for stage in planned] == ["teacher", "student", "prune", "export", "benchmark", "audit"]
    assert len({stage.key.digest for stage in planned}) == 6
    planned[-1].stage.run(SimpleNamespace(names_before=("a", "b")), workdir)  # type: ignore[arg-type]
    assert (workdir / "audit.txt").read_text() == "a, b"


def test_a_recovery_depends_on_the_distillation_that_trains_it(workdir: Path) -> None:
    (workdir / "rows.jsonl").write_text('{"text": "good", "label": 1}\n')
    pruned = {"prune": {"ffn": 0.5, "recover": {"epochs": 1}}}
    keys = [
        [stage.key for stage in plan(recipe(pruned, {"distill": {"temperature": temperature}}))]
        for temperature in (2.0, 3.0)
    ]
    assert [one == other for one, other in zip(*keys, strict=True)] == [True, True, False, False, False, False]
