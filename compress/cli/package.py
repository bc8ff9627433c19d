"""`edgepress package`: a release that measures itself on a device."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgepress.compress.cli.common import AllowCodeOption, JsonOption, errors_told
from edgepress.targets.errors import EdgepressError, RecipeError

if TYPE_CHECKING:
    from edgepress.compress.bundle.signature import Signer


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
    archive: Annotated[
        Path | None, typer.Option(help="Write the release as one file, too: NAME.tar.zst, the same bytes each time.")
    ] = None,
    target: Annotated[str | None, typer.Option(help="The only target that goes into the archive.")] = None,
    sign: Annotated[
        Path | None, typer.Option(metavar="KEY", help="Sign it with a private key of `edgepress keygen`.")
    ] = None,
    allow_failed_gates: Annotated[
        bool, typer.Option("--allow-failed-gates", help="Although a gate was missed; the manifest then says so.")
    ] = False,
    layouts: Annotated[
        list[str] | None,
        typer.Option("--layout", help="Once more as other tools expect it: transformers-js, android, tflite-micro."),
    ] = None,
    allow_code: AllowCodeOption = False,
    json: JsonOption = False,
) -> None:
    """Add a runner to a run's release, and a sample of test rows, so that devices measure what they got.

    Copy the release folder to a device and run `python run_benchmark.py` there; it needs NumPy and the target's
    runtime. `edgepress report add` merges the records that it writes. `edgepress report RUN` writes the release anew,
    without runner, sample and signature: package it again then. Who gets the release checks it with `edgepress verify`.

    Privacy: the sample holds rows of the test split as the model takes them (token ids, pixels), their labels and the
    teacher's answers. They travel with the release. Give --samples 0 where your rows must not leave.
    """
    with errors_told(json) as console:
        from edgepress.compress.release.package import Packing, package_release

        loaded = None
        if target is not None and archive is None:
            raise EdgepressError("--target says what goes into an archive, and there is none. Name it with --archive")
        if overrides and recipe is None:
            raise RecipeError("--set changes the recipe that --recipe gives, and there is none. Leave it out.")
        if recipe is not None:
            from edgepress.compress.recipe.recipe import Recipe

            loaded = Recipe.load(recipe, tuple(overrides or ()))
        signer, kinds = read_signer(sign), tuple(layouts or ())
        packing = Packing(allow_failed_gates, signer, archive, target, allow_code, kinds)
        release, rows = package_release(run, loaded, samples, console, packing)
        sample_text = f"{rows} test rows travel with it" if rows else "no test rows, so devices measure no accuracy"
        console.line(f"Packaged: {release} ({sample_text})")
        if archive is not None:
            console.line(f"Archive:  {archive} ({target or 'all targets'}, {archive.stat().st_size} bytes)")
        console.line("On the device, in that folder: python run_benchmark.py")


def read_signer(key: Path | None) -> Signer | None:
    """What signs with a private key; None where there is to be no signature."""
    if key is None:
        return None
    from edgepress.compress.bundle.keys import read_private
    from edgepress.compress.bundle.signature import Signer

    return Signer(read_private(key))
