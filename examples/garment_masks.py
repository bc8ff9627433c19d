"""Scenes of garments with masks, derived from Fashion-MNIST: grey pictures, and for each a PNG of class numbers.

Nobody drew these masks. Up to four garments of Fashion-MNIST stand in a picture of 64 x 64 pixels; a pixel of a garment
brighter than `BRIGHT` is of its class, black ones are background, and what lies between is judged by nobody (255).

    python examples/garment_masks.py ../shared/data/vision/fashion_mnist.npz garments
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

SIDE, TILE = 64, 32
BRIGHT, DARK = 48, 8
UNJUDGED = 255
ROWS = {"train": 2500, "test": 500}


def scene(garments: np.ndarray, classes: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A picture and its mask, uint8 `[64, 64]` each: one garment a quarter, some quarters empty.

    Args:
        garments: four pictures, uint8 `[4, 28, 28]`.
        classes: of them, 0 to 9; in the mask 1 to 10, since 0 is the background.
        random: places them.
    """
    picture, mask = np.zeros((2, SIDE, SIDE), np.uint8)
    for number, (garment, kind) in enumerate(zip(garments, classes, strict=True)):
        if random.random() < 0.25:
            continue
        top, left = np.array(divmod(number, 2)) * TILE + random.integers(0, TILE - len(garment) + 1, 2)
        place = np.s_[top : top + garment.shape[0], left : left + garment.shape[1]]
        picture[place] = garment
        mask[place] = np.where(garment > BRIGHT, kind + 1, np.where(garment > DARK, UNJUDGED, 0))
    return picture, mask


def write(source: Path, folder: Path, rows: dict[str, int]) -> None:
    """`train.jsonl` and `test.jsonl`, and the files that they name.

    Args:
        source: fashion_mnist.npz.
        folder: is made.
        rows: scenes of each split.
    """
    with np.load(source, allow_pickle=False) as arrays:
        for split, count in rows.items():
            random = np.random.default_rng(len(split))
            images, labels = arrays[f"x_{split}"], arrays[f"y_{split}"]
            (folder / split).mkdir(parents=True, exist_ok=True)
            lines = []
            for row in range(count):
                chosen = random.integers(0, len(images), 4)
                both = zip(("image", "mask"), scene(images[chosen], labels[chosen], random), strict=True)
                names = {kind: f"{split}/{row:05d}-{kind}.png" for kind in ("image", "mask")}
                for kind, pixels in both:
                    Image.fromarray(pixels).save(folder / names[kind])
                lines.append(json.dumps(names) + "\n")
            (folder / f"{split}.jsonl").write_text("".join(lines))


def main(arguments: Sequence[str]) -> None:
    """The folder of the second argument from the file of the first."""
    source, folder = map(Path, arguments)
    write(source, folder, ROWS)


if __name__ == "__main__":
    main(sys.argv[1:])
