"""Every family that the tool promises goes from torch to a checked fp32 and int8 artifact."""

from pathlib import Path

import numpy as np
import pytest

from edgepress.targets import load
from edgepress.targets.records import Artifact, Candidate
from tests.compress.tiny_models import feeds_of, tiny


@pytest.mark.parametrize("family", ["bert", "distilbert", "electra", "resnet", "mobilenet_v2", "vit"])
def test_a_family_exports_to_fp32_and_int8_and_both_answer_like_torch(family: str, tmp_path: Path) -> None:
    model = tiny(family)
    feeds = feeds_of(model)
    target = load("onnxruntime-cpu")
    wanted = (Candidate(name="fp32", precision="fp32"), target.candidates(model, "int8")[0])
    made = list(target.export_all(model, feeds, wanted, tmp_path))
    artifacts = [artifact for artifact in made if isinstance(artifact, Artifact)]
    assert [artifact.precision for artifact in artifacts] == ["fp32", "int8"], made
    fp32, int8 = artifacts
    assert fp32.comparison.sqnr_db is None or fp32.comparison.sqnr_db > 80
    assert int8.comparison.sqnr_db is not None and int8.comparison.sqnr_db > 10
    assert int8.int8_mac_share > 0.5 > fp32.int8_mac_share == 0
    with target.open(int8, tmp_path / int8.name) as session:
        assert np.isfinite(session.infer(feeds[0])["logits"]).all()
