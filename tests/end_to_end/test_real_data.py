"""The real teacher on real sentences, through export and runtime. Skipped with the reason where the data is missing."""

from pathlib import Path

import numpy as np
import pytest

from edgepress.benchmarks.judge.fidelity import judge, predict
from edgepress.compress.cli.console import Console
from edgepress.compress.model.loading import load_network
from edgepress.compress.model.model import Model
from edgepress.compress.recipe.recipe import Recipe
from edgepress.compress.tasks.base import batches
from edgepress.compress.tasks.inference import logits_of
from edgepress.compress.tasks.workspace import Workspace
from edgepress.targets import load
from edgepress.targets.records import Artifact, Candidate


@pytest.mark.slow
def test_the_real_teacher_keeps_its_accuracy_through_fp32_and_int8_exports(
    shared_data: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATA", str(shared_data))
    workspace = Workspace(Recipe.load(root / "examples" / "sst2.yaml"), Console("silent"))
    recipe, task, test = workspace.recipe, workspace.task, workspace.test()
    network = load_network(str(recipe.teacher.model), "text-classification", trust_remote_code=False)
    signature = task.signature(network, workspace.processor, recipe.data)
    teacher = Model(network, "text-classification", signature)
    reference = logits_of(teacher, test)
    assert (reference.argmax(-1) == test.labels).mean() == pytest.approx(0.8911, abs=2e-4)

    target = load("onnxruntime-cpu")
    calibration = [feeds for _, feeds in batches(workspace.calibration, 8)]
    wanted = [Candidate(name="fp32", precision="fp32"), target.candidates(teacher, "int8")[0]]
    fp32, int8 = target.export_all(teacher, calibration, wanted, tmp_path)
    assert isinstance(fp32, Artifact) and isinstance(int8, Artifact)
    assert fp32.comparison.sqnr_db is not None and fp32.comparison.sqnr_db > 100
    assert fp32.bytes / int8.bytes > 3.8 and int8.int8_mac_share > 0.9
    for artifact, drop in ((fp32, 0.0), (int8, 0.015)):
        logits = np.empty_like(reference)
        with target.open(artifact, tmp_path / artifact.name, threads=2) as session:
            for index, feeds in batches(test, 1):
                logits[index] = predict(session, [feeds])
        accuracy, agreement = judge(["accuracy", "agreement"], test.labels, reference, logits)
        assert accuracy.value >= 0.8911 - drop - 2e-4
        assert agreement.value >= (1.0 if artifact is fp32 else 0.96)
