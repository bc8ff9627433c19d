"""Your own torch module with two inputs, taught by a larger one, pruned and made int8 for two targets."""

import torch
from sklearn.datasets import load_digits
from torch import nn

from edgepress import Recipe, Splits, run


class Digits(nn.Module):
    """Pictures `pixels` [batch, 1, 8, 8] and the share of `ink` [batch, 1] -> logits [batch, 10], and features."""

    def __init__(self, width):
        super().__init__()
        self.stem, self.deep = nn.Conv2d(1, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
        self.head = nn.Linear(4 * width + 1, 10)

    def forward(self, pixels, ink):
        stem = torch.relu(self.stem(pixels))
        deep = torch.relu(stem + self.deep(stem))
        pooled = nn.functional.avg_pool2d(deep, 4).flatten(1)
        return self.head(torch.cat([pooled, ink], 1)), deep


def rows():
    images, labels = load_digits(return_X_y=True)
    pixels = torch.tensor(images / 16, dtype=torch.float32).reshape(-1, 1, 8, 8)
    return [({"pixels": one, "ink": one.mean((1, 2))}, label) for one, label in zip(pixels, labels, strict=True)]


recipe = Recipe.model_validate({
    "name": "own", "task": "array-classification", "data": {"train": "python", "validation_fraction": 0.1},
    "teacher": {"code": "python", "states": ["stem", "deep"], "training": {"epochs": 10, "learning_rate": 0.01}},
    "student": {"code": "python", "states": ["stem", "deep"]},
    "stages": [{"distill": {"hidden": 1.0, "training": {"epochs": 10, "learning_rate": 0.01}}},
               {"prune": {"channels": 0.25, "recover": {"epochs": 4, "learning_rate": 0.003}}}, {"quantize": {}}],
    "targets": ["onnxruntime-cpu", "tflite-mobile"],
})  # fmt: skip
result = run(recipe, teacher=Digits(64), student=Digits(16), data=Splits(rows()))
print(result.release_folder, {row.target: row.primary.value for row in result.report.candidates if row.chosen})
