"""Hidden states of networks that work at falling resolutions: which are compared, at which size, and that it trains."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig

from edgepress.compress.cli.console import Console
from edgepress.compress.methods.data import Data, Run
from edgepress.compress.methods.distill.distill import distill, plan_distillation
from edgepress.compress.methods.distill.objective import DistillationObjective
from edgepress.compress.methods.distill.options import Distill
from edgepress.compress.methods.distill.pairing import pairs_of
from edgepress.compress.model.model import Model, network_from_config
from edgepress.compress.network.hidden_states import (
    Pair,
    State,
    at_grid,
    by_stage,
    pair,
    shared_grid,
    stage_ends,
    state_of,
)
from edgepress.compress.recipe.sections import Training
from edgepress.compress.tasks import load_task
from edgepress.compress.tasks.inference import metric_of
from edgepress.compress.training.fit import TrainingJob, fit
from edgepress.compress.training.output_store import OutputStore
from edgepress.targets.errors import StageError
from tests.compress.fakes import TokenFeatures
from tests.compress.tiny_models import image_signature, text_signature

TWO = {"hidden_sizes": [8, 16], "depths": [1, 1]}
SWIN = {"image_size": 32, "patch_size": 4, "embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "window_size": 4}
VIT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16, "image_size": 32}
SILENT = Console("silent")
ONCE = Training(epochs=1, batch_size=4)
HIDDEN = Distill(hidden=1.0, training=ONCE)
NETWORKS: dict[str, dict[str, Any]] = {
    "resnet-basic": {"embedding_size": 8, "layer_type": "basic", **TWO},
    "resnet-bottleneck": {"embedding_size": 8, "layer_type": "bottleneck", **TWO},
    "mobilenet_v1": {"depth_multiplier": 0.25, "min_depth": 4, "image_size": 32},
    "mobilenet_v2": {"depth_multiplier": 0.25, "min_depth": 4, "image_size": 32},
    "regnet": {"embedding_size": 8, "groups_width": 4, **TWO},
    "convnext": {"num_stages": 2, "patch_size": 2, **TWO},
    "convnextv2": {"num_stages": 2, "patch_size": 2, **TWO},
    "mobilevit": {
        "hidden_sizes": [8, 8, 8], "neck_hidden_sizes": [8, 8, 8, 8, 8, 8, 16], "num_attention_heads": 2,
        "image_size": 64,
    },
    "swin": SWIN,
    "swinv2": SWIN,
    "beit": {**VIT, "patch_size": 8, "use_relative_position_bias": True},
    "vit": {**VIT, "patch_size": 8},
}  # fmt: skip


class Pictures:
    """Random images `[rows, 3, size, size]`, brighter for label 1."""

    lengths: np.ndarray | None = None

    def __init__(self, rows: int, size: int) -> None:
        self.labels = (np.arange(rows) % 3).astype(np.int64)
        self.images = np.random.default_rng(0).standard_normal((rows, 3, size, size)).astype(np.float32)
        self.images += self.labels[:, None, None, None]
        self.digest = f"{rows} {size}"

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: Any, length: int | None = None) -> dict[str, np.ndarray]:
        return {"pixel_values": self.images[np.asarray(indices)]}


def network(name: str, size: int = 32, **changes: Any) -> Model:
    torch.manual_seed(0)
    config = AutoConfig.for_model(name.partition("-")[0], num_labels=3, **(NETWORKS[name] | changes))
    return Model(
        network_from_config(config, "image-classification").eval(), "image-classification", image_signature(3, size)
    )


def data_of(teacher: Model, folder: Path, rows: Any = None) -> Data:
    rows = rows if rows is not None else Pictures(8, 32)
    workspace: Any = SimpleNamespace(
        train=rows, validation=rows, progress=SILENT, metrics=("accuracy",), task=load_task(teacher.task)
    )
    teacher.save(folder / "teacher")
    return Data(workspace, folder / "teacher", OutputStore(folder / "cache", None, SILENT))


def distilled(student: Model, data: Data, folder: Path) -> tuple[Model, dict[str, Any]]:
    return distill(student, plan_distillation(student, HIDDEN, data), data, Run("distill", 0, folder, SILENT))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_learns_from_its_own_kinds_hidden_states(name: str, tmp_path: Path) -> None:
    size = NETWORKS[name].get("image_size", 32)
    teacher, student = network(name, size), network(name, size)
    before = {key: value.clone() for key, value in student.network.state_dict().items()}
    trained, details = distilled(student, data_of(teacher, tmp_path, Pictures(8, size)), tmp_path)
    assert len(details["layer_map"]) >= 2 and details["steps"] == 2
    after = trained.network.state_dict()
    assert any(not torch.equal(after[key], value) for key, value in before.items())


def test_an_equal_student_of_a_hierarchical_network_has_no_hidden_loss(tmp_path: Path) -> None:
    teacher = network("resnet-basic")
    data = data_of(teacher, tmp_path)
    plan = plan_distillation(teacher, HIDDEN, data)
    assert plan.pairs and plan.wanted.grids == tuple(grid for _, grid in plan.places)
    with data.teacher_outputs(plan.wanted, Run("distill", 0, tmp_path, SILENT)) as cache:
        found = cache.rows(np.array([6, 1]))
    feeds = torch.from_numpy(data.train.batch([6, 1])["pixel_values"])
    objective = DistillationObjective(Distill(alpha=1.0, hidden=1.0), plan.compared)
    with torch.no_grad():
        output = teacher.network(feeds, output_hidden_states=True)
        loss = objective(output, torch.tensor([0, 1]), found, None)
    assert loss.item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(("student", "teacher"), [("mobilenet_v2", "resnet-basic"), ("resnet-basic", "vit")])
def test_networks_of_other_kinds_are_compared_where_their_resolutions_meet(
    student: str, teacher: str, tmp_path: Path
) -> None:
    data = data_of(network(teacher), tmp_path)
    pairs = pairs_of(network(student), HIDDEN, data)
    assert pairs
    for found in pairs:
        assert found.grid == found.own.grid == found.wanted.grid or found.grid is None
    _, details = distilled(network(student), data, tmp_path)
    assert details["steps"] == 2


def test_the_last_state_of_each_resolution_stands_for_its_stage() -> None:
    states = [State(n * n, 8, (n, n)) for n in (8, 8, 4, 4, 2)]
    assert stage_ends(states) == (1, 3, 4)
    assert by_stage(states, states) == [(1, 1), (3, 3), (4, 4)]
    other = [State(n * n, 8, (n, n)) for n in (7, 4)]
    assert by_stage(states, other) == [(3, 1)]
    assert by_stage(states, [State(49, 8, (7, 7)), State(9, 8, (3, 3))]) == [(4, 1)]


def test_maps_are_averaged_to_the_smaller_side_and_never_more_than_eight() -> None:
    large, small = State(3136, 8, (56, 56)), State(16, 8, (4, 4))
    assert shared_grid(large, small) == (4, 4) and shared_grid(large, large) == (7, 7)
    maps = torch.arange(16.0).view(1, 1, 4, 4)
    # Means of the four quarters: (0 + 1 + 4 + 5) / 4 = 2.5, and so on.
    assert at_grid(maps, small, (2, 2)).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    assert torch.equal(at_grid(maps, small, None), maps.flatten(2).transpose(1, 2))


def test_tokens_are_laid_out_like_the_image_behind_their_class_token() -> None:
    assert state_of(torch.zeros(1, 8 * 4 + 1, 3), (64, 32)) == State(33, 3, (8, 4), 1)
    assert state_of(torch.zeros(1, 33, 3), None) == State(33, 3)
    tokens = torch.cat([torch.full((1, 1, 1), 9.0), torch.arange(4.0).view(1, 4, 1)], 1)
    assert at_grid(tokens, State(5, 1, (2, 2), 1), (1, 1)).item() == 1.5  # the class token is no place


def test_states_without_a_grid_in_common_are_told() -> None:
    with pytest.raises(
        StageError, match=r"hidden state 0 of the student has 12 positions, state 0 of the teacher has 6"
    ):
        pair(0, 0, [State(12, 8)], [State(6, 8)])
    assert pair(0, 0, [State(4, 8, (2, 2))], [State(4, 6, (2, 2))]) == Pair(
        0, 0, State(4, 8, (2, 2)), State(4, 6, (2, 2))
    )


def test_a_text_network_that_pools_its_tokens_is_refused_in_one_line(tmp_path: Path) -> None:
    config = AutoConfig.for_model(
        "funnel", vocab_size=50, num_labels=2, block_sizes=[1, 1], d_model=16, n_head=2, d_head=8, d_inner=16
    )
    model = Model(network_from_config(config, "text-classification").eval(), "text-classification", text_signature())
    data = data_of(model, tmp_path, TokenFeatures(4))
    with pytest.raises(
        StageError, match=r"hidden state \d of FunnelFor\w+ has \d positions for \d+ tokens: its padding cannot be told"
    ):
        pairs_of(model, HIDDEN, data)


def test_attention_of_windows_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="SwinForImageClassification does not give every layer's attention"):
        pairs_of(network("swin"), Distill(attention=1.0), data_of(network("swin"), tmp_path))


def test_what_a_network_keeps_of_a_pass_without_gradients_does_not_break_the_next_training(tmp_path: Path) -> None:
    model, rows = network("beit"), Pictures(8, 32)
    metric_of(model, rows, "accuracy")
    _, history = fit(model, TrainingJob(ONCE, tmp_path), rows, rows, SILENT, "train")
    assert history.steps == 2


def test_a_text_network_without_a_mask_is_refused_in_one_line(tmp_path: Path) -> None:
    config = AutoConfig.for_model("fnet", vocab_size=50, num_labels=2, hidden_size=16, num_hidden_layers=1)
    signature = text_signature()
    signature = signature.model_copy(update={"inputs": signature.inputs[:1]})
    model = Model(network_from_config(config, "text-classification").eval(), "text-classification", signature)
    data = data_of(model, tmp_path, TokenFeatures(4))
    with pytest.raises(StageError, match="FNetForSequenceClassification takes no attention_mask, so what it makes"):
        pairs_of(model, HIDDEN, data)


def test_a_network_that_knows_no_hidden_states_is_refused_in_one_line(tmp_path: Path) -> None:
    model = network("resnet-basic")
    data = data_of(model, tmp_path)
    model.network.forward = lambda pixel_values: pixel_values
    with pytest.raises(StageError, match="ResNetForImageClassification cannot be asked for its hidden states; set"):
        pairs_of(model, HIDDEN, data)


def test_a_network_whose_weights_have_several_names_is_trained(tmp_path: Path) -> None:
    config = AutoConfig.for_model(
        "t5", vocab_size=50, num_labels=2, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, eos_token_id=5,
        decoder_start_token_id=0, pad_token_id=0,
    )  # fmt: skip
    model = Model(network_from_config(config, "text-classification").eval(), "text-classification", text_signature())
    rows = TokenFeatures(6)
    rows.ids = [np.append(ids[:-1], 5) for ids in rows.ids]  # each ends with the one end token
    for ids in rows.ids:
        ids[:-1][ids[:-1] == 5] = 6
    _, history = fit(model, TrainingJob(ONCE, tmp_path), rows, rows, SILENT, "train")
    assert history.steps == 2


PUBLISHED = Distill(
    alpha=0.5,
    terms=dict.fromkeys(("cosine", "token_relations", "distances", "angles", "target_class", "other_classes"), 0.5),
    training=ONCE,
)


@pytest.mark.parametrize("name", ["resnet-basic", "vit"])
def test_the_published_terms_train_together_and_keep_one_state_of_the_teacher(name: str, tmp_path: Path) -> None:
    data, student = data_of(network(name), tmp_path), network(name)
    plan = plan_distillation(student, PUBLISHED, data)
    assert len(plan.pairs) == len(plan.wanted.hidden) == 1
    trained, details = distill(student, plan, data, Run("distill", 0, tmp_path, SILENT))
    assert details["steps"] == 2 and "layers_first" not in details
    before = student.network.state_dict()
    assert any(not torch.equal(before[key], value) for key, value in trained.network.state_dict().items())


def test_layers_first_leaves_the_head_until_the_answers_are_learned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, student = data_of(network("vit"), tmp_path), network("vit")
    options = Distill(hidden=1.0, layers_first=2, training=ONCE)
    seen: list[tuple[float, dict[str, torch.Tensor], dict[str, bool]]] = []

    def watched(model: Model, job: TrainingJob, *rest: Any) -> Any:
        trained, history = fit(model, job, *rest)
        assert job.objective is not None
        seen.append((job.training.epochs, trained.network.state_dict(), dict(job.objective.outputs)))  # type: ignore[arg-type]
        return trained, history

    monkeypatch.setattr("edgepress.compress.methods.distill.distill.fit", watched)
    plan = plan_distillation(student, options, data)
    _, details = distill(student, plan, data, Run("distill", 0, tmp_path, SILENT))
    (first, layers, asked), (second, answers, asked_then) = seen
    assert (first, second) == (2, 1) and len(details["layers_first"]) == 2  # type: ignore[arg-type]
    assert asked == {"output_hidden_states": True} and asked_then == {}
    start = student.network.state_dict()
    assert torch.equal(layers["classifier.weight"], start["classifier.weight"])
    assert not torch.equal(answers["classifier.weight"], start["classifier.weight"])
    body = next(name for name in start if name.endswith(("query.weight", "q_proj.weight")))
    assert not torch.equal(layers[body], start[body])


def test_layers_first_without_layers_is_told(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="layers_first trains the terms that compare layers first, and none has a"):
        plan_distillation(network("vit"), Distill(layers_first=1.0), data_of(network("vit"), tmp_path))


def test_a_training_that_keeps_the_last_epoch_does_not_look_at_the_metric(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = iter([0.9, 0.1, 0.9, 0.1])  # two epochs of either training
    monkeypatch.setattr("edgepress.compress.training.epochs.metric_of", lambda *_: next(values))
    rows, training = Pictures(8, 32), Training(epochs=2, batch_size=4, schedule="constant", optimizer="sgd")
    model = network("vit")
    kept = {}
    for keep in ("best", "last"):
        job = TrainingJob(training, tmp_path / keep, keep=keep)  # type: ignore[arg-type]
        trained, _ = fit(model, job, rows, rows, SILENT, "t")  # type: ignore[arg-type]
        kept[keep] = trained.network.state_dict()["classifier.weight"]
    assert not torch.equal(kept["best"], kept["last"])


@pytest.mark.parametrize("optimizer", ["adamw", "adafactor", "rmsprop", "sgd"])
def test_each_optimizer_and_schedule_is_the_one_that_trains(optimizer: str, tmp_path: Path) -> None:
    from edgepress.compress.training.fit import _trainer

    rows = Pictures(8, 32)
    training = Training(epochs=2, batch_size=4, optimizer=optimizer, schedule="cosine", warmup=0.0, learning_rate=0.1)  # type: ignore[arg-type]
    trainer = _trainer(TrainingJob(training, tmp_path), network("vit"), rows)  # type: ignore[arg-type]
    trainer.create_optimizer_and_scheduler(num_training_steps=4)
    inner = trainer.optimizer
    assert type(inner).__name__.lower() == optimizer
    rates = []
    for _ in range(4):
        rates.append(inner.param_groups[0]["lr"])
        inner.step()
        trainer.lr_scheduler.step()
    # Half a cosine over four steps: (1 + cos(pi k / 4)) / 2.
    assert rates == pytest.approx([0.1, 0.0853553, 0.05, 0.0146447], rel=1e-4)
