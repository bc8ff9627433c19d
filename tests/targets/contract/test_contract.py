"""What every target must keep, whatever the backend. A new target gets all of this by its line in TARGETS."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from edgepress import targets
from edgepress.targets.errors import ArtifactError, SignatureError, TargetError, TargetUnavailable
from edgepress.targets.records import Artifact, Refusal
from tests.targets.tiny import Exported, make_calibration, make_feeds, make_model

opened = targets.open_numbers
Export = Callable[..., Exported]
EXPORTING = [name for name, state in targets.probe_all().items() if state.state != "missing"]


def _cases() -> list[tuple[str, str, str]]:
    """(target, model kind, precision) of everything that can be exported here."""
    kinds = {kind: make_model(kind) for kind in ("bert", "resnet")}
    return [
        (name, kind, precision)
        for name in EXPORTING
        for kind, model in kinds.items()
        for precision in ("fp32", "fp16", "bf16", "int8")
        if targets.load(name).candidates(model, precision)
    ]


@pytest.fixture(params=_cases(), ids="-".join)
def case(request: pytest.FixtureRequest, exported: Export) -> Exported:
    name, kind, precision = request.param
    return exported(name, kind, targets.load(name).candidates(make_model(kind), precision)[0])


@pytest.fixture(params=EXPORTING)
def text(request: pytest.FixtureRequest, exported: Export) -> Exported:
    return exported(request.param, "bert", targets.load(request.param).candidates(make_model("bert"), "fp32")[0])


def _torch_logits(case: Exported, feeds: dict[str, np.ndarray]) -> np.ndarray:
    with torch.inference_mode():
        logits: np.ndarray = case.model.module(*map(torch.from_numpy, feeds.values())).numpy()
    return logits


@pytest.mark.parametrize("name", targets.TARGETS)
def test_probing_never_raises_and_says_what_to_install(name: str) -> None:
    availability = targets.load(name).probe()
    assert availability.state == "available" or (availability.reason and availability.remedy)


@pytest.mark.parametrize("name", targets.TARGETS)
def test_every_target_offers_fp32_and_session_settings(name: str) -> None:
    target = targets.load(name)
    assert target.name == name
    assert [candidate.precision for candidate in target.candidates(make_model("bert"), "fp32")] == ["fp32"]
    assert len(target.session_settings()) >= 1


def test_an_export_was_compared_with_torch_on_all_calibration_samples(case: Exported) -> None:
    comparison = case.artifact.comparison
    assert comparison.samples == 8
    if case.artifact.precision == "fp32":
        assert comparison.agreement == 1
        assert comparison.sqnr_db is None or comparison.sqnr_db >= 60
    else:
        assert comparison.sqnr_db is not None and comparison.sqnr_db >= 15


def test_batch_and_sequence_vary_within_the_bounds(case: Exported) -> None:
    with opened(case.artifact, case.folder) as session:
        for batch in (1, 3, 6):
            for sequence in (2, 7, 24):
                feeds = make_feeds(case.model.signature, seed=batch, batch=batch, sequence=sequence)
                logits = session.infer(feeds)["logits"]
                assert logits.shape == (batch, 3)
                tolerance = 1e-4 if case.artifact.precision == "fp32" else 0.3
                reference = _torch_logits(case, feeds)
                assert np.abs(logits - reference).max() <= tolerance * max(1.0, float(np.abs(reference).max()))


def test_an_answer_depends_on_its_own_row_alone(text: Exported) -> None:
    feeds = make_feeds(text.model.signature, batch=4, sequence=9)
    with opened(text.artifact, text.folder) as session:
        together = session.infer(feeds)["logits"]
        alone = session.infer({name: value[2:3] for name, value in feeds.items()})["logits"]
    np.testing.assert_allclose(together[2:3], alone, atol=1e-5)


def test_threads_change_nothing_but_speed(text: Exported) -> None:
    feeds = make_feeds(text.model.signature, batch=2, sequence=8)
    before = torch.get_num_threads()
    with (
        opened(text.artifact, text.folder, threads=1) as one,
        opened(text.artifact, text.folder, threads=2) as two,
    ):
        np.testing.assert_allclose(one.infer(feeds)["logits"], two.infer(feeds)["logits"], atol=1e-5)
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda feeds: {**feeds, "mood": feeds["input_ids"]}, "unknown input 'mood'; the model takes attention_mask"),
        (lambda feeds: {"input_ids": feeds["input_ids"]}, "input 'attention_mask' is missing"),
        (
            lambda feeds: {k: v.astype(np.int32) for k, v in feeds.items()},
            r"must be int64\[batch, sequence\], got int32",
        ),
        (lambda feeds: {k: v[0] for k, v in feeds.items()}, r"must be int64\[batch, sequence\], got int64\[8\]"),
        (
            lambda feeds: {k: np.tile(v, (1, 4)) for k, v in feeds.items()},
            "sequence is 32, and this model takes 2 to 24",
        ),
        (lambda feeds: {k: np.tile(v, (4, 1)) for k, v in feeds.items()}, "batch is 8, and this model takes 1 to 6"),
        (lambda feeds: {k: v[:, :1] for k, v in feeds.items()}, "sequence is 1, and this model takes 2 to 24"),
        (lambda feeds: {**feeds, "input_ids": feeds["input_ids"][:, :5]}, "sequence is 8, another input has 5"),
    ],
)
def test_inputs_that_do_not_fit_are_named(
    text: Exported, change: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]], message: str
) -> None:
    feeds = make_feeds(text.model.signature, batch=2, sequence=8)
    with (
        opened(text.artifact, text.folder) as session,
        pytest.raises(SignatureError, match=message),
    ):
        session.infer(change(feeds))


def test_a_missing_file_is_named(case: Exported, tmp_path: Path) -> None:
    case.artifact.write(tmp_path / Artifact.FILE_NAME)
    with (
        pytest.raises(ArtifactError, match=f"{case.artifact.files[0].path} is missing from artifact"),
        opened(case.artifact, tmp_path),
    ):
        pass


@pytest.mark.parametrize(("damage", "message"), [("cut", "were exported"), ("flip", "sha256")])
def test_a_damaged_file_is_refused(case: Exported, tmp_path: Path, damage: str, message: str) -> None:
    shutil.copytree(case.folder, tmp_path, dirs_exist_ok=True)
    path = tmp_path / case.artifact.files[0].path
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data[:-100] if damage == "cut" else data)
    with pytest.raises(ArtifactError, match=message), opened(case.artifact, tmp_path):
        pass


def test_a_file_that_the_backend_cannot_read_is_an_artifact_error(case: Exported, tmp_path: Path) -> None:
    entries = []
    for file in case.artifact.files:
        (tmp_path / file.path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file.path).write_bytes(b"not a model")
        entries.append(type(file).of(tmp_path, file.path))
    artifact = case.artifact.model_copy(update={"files": tuple(entries)})
    with pytest.raises(ArtifactError, match="cannot be opened by"), opened(artifact, tmp_path):
        pass


def test_unknown_session_settings_are_refused(text: Exported) -> None:
    artifact = text.artifact.model_copy(update={"settings": {"warp": 9}})
    with pytest.raises(ArtifactError, match="warp"), opened(artifact, text.folder):
        pass


def test_all_offered_session_settings_open_and_agree(text: Exported) -> None:
    feeds = make_feeds(text.model.signature, batch=2, sequence=8)
    for settings in text.target.session_settings():
        artifact = text.artifact.model_copy(update={"settings": settings})
        with opened(artifact, text.folder) as session:
            np.testing.assert_allclose(session.infer(feeds)["logits"], _torch_logits(text, feeds), atol=1e-4)


def test_the_record_on_disk_is_the_record_returned(case: Exported) -> None:
    assert Artifact.read(case.folder / "artifact.json") == case.artifact


def test_the_listed_files_are_all_that_is_needed(case: Exported, tmp_path: Path) -> None:
    for name in ("artifact.json", *(file.path for file in case.artifact.files)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(case.folder / name, tmp_path / name)
    artifact = Artifact.read(tmp_path / "artifact.json")
    feeds = case.calibration[0]
    with opened(artifact, tmp_path) as there, opened(case.artifact, case.folder) as here:
        np.testing.assert_array_equal(there.infer(feeds)["logits"], here.infer(feeds)["logits"])


def test_the_artifact_says_where_it_comes_from(case: Exported) -> None:
    artifact = case.artifact
    assert (artifact.target, artifact.precision) == (case.target.name, artifact.candidate.precision)
    assert artifact.parameters == case.model.parameters
    assert artifact.versions["torch"] == torch.__version__
    assert artifact.calibration_digest is not None and len(artifact.calibration_digest) == 64
    assert artifact.bytes == sum(entry.bytes for entry in artifact.files if entry.shipped)
    there = {path.relative_to(case.folder).as_posix() for path in case.folder.rglob("*") if path.is_file()}
    assert there == {entry.path for entry in artifact.files} | {"artifact.json"}


def test_where_the_hardware_is_not_here_opening_says_so_and_what_stands_in(text: Exported) -> None:
    found = text.target.probe()
    if found.state == "available":
        assert text.target.stand_in == "" or found.reason
        return
    assert text.target.stand_in
    with (
        pytest.raises(TargetUnavailable, match="built, not run: no"),
        text.target.open(text.artifact, text.folder),
    ):
        pass


def test_no_file_tells_the_folders_of_this_machine(case: Exported) -> None:
    for file in case.artifact.files:
        assert str(Path.cwd()).encode() not in (case.folder / file.path).read_bytes()


def test_int8_multiplies_in_int8_and_is_smaller(case: Exported, exported: Export) -> None:
    if case.artifact.precision == "int8":
        kind = "resnet" if case.model.task == "image-classification" else "bert"
        plain = exported(case.target.name, kind, case.target.candidates(case.model, "fp32")[0])
        assert 0 < case.artifact.int8_mac_share <= 1
        # Of a tiny model an engine is nearly all kernels, and OpenVINO's XML nearly all quantizers: int8 has more.
        if case.target.name not in ("tensorrt-gpu", "openvino"):
            assert case.artifact.bytes < plain.artifact.bytes
    else:
        assert case.artifact.int8_mac_share == 0


@pytest.mark.parametrize("name", EXPORTING)
def test_weights_that_are_not_numbers_are_refused(name: str, tmp_path: Path) -> None:
    model, target = make_model("resnet"), targets.load(name)
    model.network.classifier[1].weight.data[0, 0] = float("nan")  # type: ignore[index, union-attr]
    calibration = make_calibration(model.signature)
    with pytest.raises(TargetError, match=r"classifier\.1\.weight' holds NaN"):
        target.export(model, calibration, target.candidates(model, "fp32")[0], tmp_path / "new")


@pytest.mark.parametrize("name", EXPORTING)
def test_an_export_needs_calibration_and_a_new_folder(name: str, tmp_path: Path) -> None:
    model, target = make_model("resnet"), targets.load(name)
    candidate = target.candidates(model, "fp32")[0]
    with pytest.raises(TargetError, match="at least one calibration batch"):
        target.export(model, [], candidate, tmp_path / "new")
    (tmp_path / "old.bin").touch()
    with pytest.raises(ArtifactError, match=r"not empty \(it holds old\.bin\)"):
        target.export(model, make_calibration(model.signature), candidate, tmp_path)


@pytest.mark.parametrize("name", EXPORTING)
def test_a_refused_candidate_does_not_stop_the_others(name: str, tmp_path: Path) -> None:
    model, target = make_model("resnet"), targets.load(name)
    good = target.candidates(model, "fp32")[0]
    foreign = next(precision for precision in ("bf16", "fp16") if not target.candidates(model, precision))
    bad = good.model_copy(update={"name": "bad", "precision": foreign})
    results = list(target.export_all(model, make_calibration(model.signature), [bad, good], tmp_path))
    assert [type(result) for result in results] == [Refusal, Artifact]
    assert (tmp_path / good.name / "artifact.json").is_file()


@pytest.mark.parametrize("name", EXPORTING)
def test_exporting_prints_nothing(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model, target = make_model("resnet"), targets.load(name)
    target.export(model, make_calibration(model.signature), target.candidates(model, "fp32")[0], tmp_path / "new")
    assert capfd.readouterr() == ("", "")


# Those of ONNX Runtime and XLA have tests of their own, with more families.
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["distilbert", "electra", "vit"])
@pytest.mark.parametrize("name", [name for name in EXPORTING if name not in ("pytorch", "onnxruntime-cpu", "xla-tpu")])
def test_other_families_are_exported_in_fp32_and_int8(name: str, kind: str, tmp_path: Path) -> None:
    model, target = make_model(kind), targets.load(name)
    candidates = [target.candidates(model, "fp32")[0], target.candidates(model, "int8")[0]]
    results = list(target.export_all(model, make_calibration(model.signature), candidates, tmp_path))
    assert [getattr(result, "reason", "") for result in results] == ["", ""]
