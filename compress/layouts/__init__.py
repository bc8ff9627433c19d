"""A release's artifact once more, in the folders that other tools expect: a layout is a file and a line here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path

from edgepress.targets.errors import EdgepressError
from edgepress.targets.files import remove
from edgepress.targets.records import Artifact

FOLDER = "layouts"
LAYOUTS = {
    "transformers-js": ("onnxruntime-cpu", "edgepress.compress.layouts.transformers_js"),
    "android": ("tflite-mobile", "edgepress.compress.layouts.android"),
    "tflite-micro": ("tflite-mobile", "edgepress.compress.layouts.tflite_micro"),
}
"""Name → the target whose artifact it holds, and the module whose `lay(artifact, source, place, name)` writes it."""


def check_layouts(names: Iterable[str], artifacts: Mapping[str, str]) -> None:
    """Raises EdgepressError for a layout that there is none of, or whose target the release lacks."""
    for name in names:
        if name not in LAYOUTS:
            raise EdgepressError(f"unknown layout {name!r}; there are {', '.join(LAYOUTS)}. Name one with --layout")
        target, _ = LAYOUTS[name]
        if target not in artifacts:
            raise EdgepressError(
                f"the layout {name} is made of {target}, and the release has {', '.join(artifacts) or 'no artifact'}. "
                f"Add {target} to the recipe's targets"
            )


def write_layouts(folder: Path, name: str, layouts: Sequence[str]) -> None:
    """Write `layouts/<layout>/` for each of `layouts` into the release in `folder`, which is not sealed yet.

    Args:
        folder: of the release.
        name: of the release, for comments.
        layouts: checked by `check_layouts`.

    Raises:
        EdgepressError: the artifact does not fit a layout.
    """
    remove(folder / FOLDER)
    for layout in dict.fromkeys(layouts):
        target, module = LAYOUTS[layout]
        place = folder / FOLDER / layout
        place.mkdir(parents=True)
        artifact = Artifact.read(folder / target / Artifact.FILE_NAME)
        import_module(module).lay(artifact, folder / target, place, name)


def is_of_others(path: str, targets: Iterable[str]) -> bool:
    """Whether a file of a release belongs to one of these targets: its artifact, or a layout of it.

    >>> is_of_others("layouts/android/model.tflite", ["tflite-mobile"]), is_of_others("report.json", ["xla-tpu"])
    (True, False)
    """
    top, _, rest = path.partition("/")
    target, _ = LAYOUTS.get(rest.partition("/")[0], (top, "")) if top == FOLDER else (top, "")
    return target in set(targets)
