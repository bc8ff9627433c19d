"""From a plan to the model that trains, and from the trained one to plain weights and ranges that targets take."""

from __future__ import annotations

from dataclasses import replace

from edgepress.benchmarks.metrics import metric
from edgepress.compress.methods.base import Applied
from edgepress.compress.methods.data import Data, Run
from edgepress.compress.methods.qat.hooks import Quantizing
from edgepress.compress.methods.qat.options import Observed
from edgepress.compress.methods.qat.plan import QatPlan, prepared
from edgepress.compress.model.fake_layers import FAKE_KINDS, ranges_of, unfake
from edgepress.compress.model.model import Model
from edgepress.compress.tasks.inference import metric_of
from edgepress.targets.records import Record


class Judgement(Record):
    """The primary metric on validation rows, in torch: of the float model before, of the same fake-quantized with
    calibrated ranges (post-training quantization), and fake-quantized after the training."""

    metric: str
    float_before: float
    post_training: float
    trained: float

    def describe(self) -> str:
        """The three figures in a line."""
        return (
            f"fake-quantized {metric(self.metric).name} {self.trained:.4f}, with calibrated ranges alone "
            f"{self.post_training:.4f}, float before {self.float_before:.4f}"
        )

    def complaints(self, max_drop: float) -> tuple[str, ...]:
        """What the training promised and did not keep.

        Args:
            max_drop: by how much the metric may be worse than the float model's, in its own unit.
        """
        kind = metric(self.metric)
        sign = 1 if kind.higher_is_better else -1
        found = []
        if sign * (self.trained - self.post_training) < 0:
            found.append(
                f"fake-quantized {kind.name} after the training is {self.trained:.4f}, worse than the "
                f"{self.post_training:.4f} of calibrated ranges without it"
            )
        drop = sign * (self.float_before - self.trained)
        if drop > max_drop + 1e-9:
            found.append(
                f"fake-quantized {kind.name} is {self.trained:.4f}, {drop:.4f} worse than the float model's "
                f"{self.float_before:.4f}; allowed is {max_drop:g}"
            )
        return tuple(found)


def apply_qat(model: Model, plan: QatPlan, data: Data, run: Run) -> Applied:
    """The model as it trains, with what happens while it does, and what is made of it afterwards.

    Args:
        model: the float one.
        plan: of this very model.
        data: calibration rows, and validation rows for the promise.
        run: progress.
    """
    key, options = data.metrics[0], plan.options
    start = prepared(model, plan, data.calibration_batches(model))
    with run.progress.task(run.title("post-training quantization")):
        before, post_training = (metric_of(one, data.validation, key) for one in (model, start))
    asked = (options.freeze, options.momentum) if isinstance(options, Observed) else (0.0, 0.0)
    hook = Quantizing(plan.folded, *asked)

    def finish(trained: Model) -> Applied:
        reached = metric_of(trained, data.validation, key)
        judged = Judgement(metric=key, float_before=before, post_training=post_training, trained=reached)
        details = {"fake_quantized": judged.model_dump()}
        done = plain(trained, f"{plan.summary}; {judged.describe()}")
        return Applied(done, details, complaints=judged.complaints(options.max_drop))

    return Applied(start, hooks=(hook,), finish=finish)


def plain(trained: Model, summary: str) -> Model:
    """The trained model with the layers it had before, rounded weights in them, and the ranges beside them.

    Args:
        trained: under fake quantization; it stays as it is.
        summary: of the step, for its lineage.
    """
    ranges = ranges_of(trained.network)
    copied = trained.copy()
    unfake(copied.network)
    edits = tuple(edit for edit in trained.edits if edit.kind not in FAKE_KINDS)
    return replace(replace(copied, edits=edits).after("qat", summary), ranges=ranges)
