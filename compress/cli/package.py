"""`edgepress package`: a release that measures itself on a device."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgepress.compress.cli.common import JsonOption, errors_told
from edgepress.targets.errors import RecipeError


def package(
    run: Annotated[Path, typer.Argument(help="The finished run whose release is packaged: runs/<name>.")],
    recipe: Annotated[
        Path | None, typer.Option("--recipe", help="Instead of the recipe that the run holds: where its files moved.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="What the run changed in the recipe that --recipe gives."),
    ] = None,
    samples: Annotated[
        int, typer.Option(min=0, help="Test rows that travel with the release; 0: none, and no accuracy on devices.")
    ] = 256,
    json: JsonOption = False,
) -> None:
    """Add a runner to a run's release, and a sample of test rows, so that devices measure what they got.

    Copy the release folder to a device and run `python run_benchmark.py` there; it needs NumPy and the target's
    runtime. `edgepress report add` merges the records that it writes. `edgepress report RUN` writes the release anew,
    without runner and sample: package it again then.

    Privacy: the sample holds rows of the test split as the model takes them (token ids, pixels), their labels and the
    teacher's answers. They travel with the release. Give --samples 0 where your rows must not leave.
    """
    with errors_told(json) as console:
        from edgepress.compress.release.package import package_release

        loaded = None
        if overrides and recipe is None:
            raise RecipeError("--set changes the recipe that --recipe gives, and there is none. Leave it out.")
        if recipe is not None:
            from edgepress.compress.recipe.recipe import Recipe

            loaded = Recipe.load(recipe, tuple(overrides or ()))
        release, rows = package_release(run, loaded, samples, console)
        told = f"{rows} test rows travel with it" if rows else "no test rows, so devices measure no accuracy"
        console.line(f"Packaged: {release} ({told})")
        console.line("On the device, in that folder: python run_benchmark.py")
