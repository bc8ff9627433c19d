"""`edgepress generate`: the text that a released decoder makes of a prompt, as it is made."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgepress.compress.cli.common import JsonOption, errors_told

if TYPE_CHECKING:
    from edgepress.targets.inference.decoder import Text


def generate(
    bundle: Annotated[Path, typer.Argument(help="A run, a release, or the folder of one target in it.")],
    prompt: Annotated[str, typer.Argument(help="What is gone on with.")],
    target: Annotated[
        str | None, typer.Option(help="Which of its artifacts; the first whose hardware is here.")
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(help="Tokens to make, at most.")] = 128,
    temperature: Annotated[float, typer.Option(help="0 takes the likeliest token; above it tokens are drawn.")] = 0.0,
    top_k: Annotated[int | None, typer.Option(help="Draw from so many likeliest tokens.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Draw from the fewest with this probability together.")] = None,
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the runtime.")] = 1,
    json: JsonOption = False,
) -> None:
    """Go on with a text, by the artifact itself; then how long it took."""
    with errors_told(json) as console:
        from edgepress.targets import open_bundle
        from edgepress.targets.inference.generation import Sampling

        sampling = Sampling(max_new_tokens, temperature, top_k, top_p, seed)
        release = bundle / "release"
        with open_bundle(release if release.is_dir() else bundle, target, threads) as opened:
            text = opened.generate(prompt, sampling)
            if json:
                whole = str(text)
                console.event("generated", text=whole, target=opened.artifact.target, **_figures(text))
                return
            for piece in text:
                typer.echo(piece, nl=False)
            typer.echo()
            typer.echo(_line(text), err=True)


def _figures(text: Text) -> dict[str, float | int | None]:
    timing = text.timing
    return {
        "prompt_tokens": timing.prompt_tokens,
        "new_tokens": timing.new_tokens,
        "first_ms": round(timing.first_ms, 3),
        "tokens_per_second": timing.tokens_per_second,
    }


def _line(text: Text) -> str:
    timing = text.timing
    speed = timing.tokens_per_second
    rest = "" if speed is None else f", then {speed:.1f} tokens/s"
    made = f"{timing.new_tokens} token{'s' * (timing.new_tokens != 1)} after {timing.prompt_tokens} of the prompt"
    return f"{made}: the first after {timing.first_ms:.1f} ms{rest}"
