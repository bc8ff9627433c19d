"""`edgepress serve`: a release as a service over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgepress.compress.cli.common import JsonOption, errors_told

MB = 1 << 20


def serve(
    bundle: Annotated[Path, typer.Argument(help="A release, or the folder of one target in it.")],
    target: Annotated[
        str | None, typer.Option(help="Which of its artifacts; the first whose hardware is here.")
    ] = None,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port to listen on.")] = 8000,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the runtime.")] = 1,
    batch: Annotated[
        int | None,
        typer.Option(min=1, help="Rows of one call; left out, 8, or 1 where int8 takes its scales from the batch."),
    ] = None,
    wait_ms: Annotated[float, typer.Option(min=0, help="How long a row waits for others, ms.")] = 2.0,
    waiting: Annotated[int, typer.Option(min=1, help="Rows that may wait; beyond them a request gets 429.")] = 256,
    rows: Annotated[int, typer.Option(min=1, help="Rows of a request.")] = 64,
    body_mb: Annotated[float, typer.Option(min=0.001, help="Size of a request, MB.")] = 4.0,
    seconds: Annotated[float, typer.Option(min=0.1, help="Time for an answer, s; then 504.")] = 10.0,
    json: JsonOption = False,
) -> None:
    """Serve a release: POST /predict, GET /health, GET /metrics. SIGTERM and Ctrl-C end it when all is answered."""
    with errors_told(json) as console:
        from edgepress.targets import open_bundle
        from edgepress.targets.errors import DataError
        from edgepress.targets.serving import server
        from edgepress.targets.serving.limits import ServiceLimits, batch_of

        opened = open_bundle(bundle, target, threads)
        if opened.decodes:
            opened.close()
            raise DataError(
                f"{bundle} goes on with a text; rows alone are served. Use: edgepress generate {bundle} TEXT"
            )
        limits = ServiceLimits(batch_of(opened, batch), wait_ms, waiting, rows, int(body_mb * MB), seconds)
        place = server.listen(host, port)
        url = f"http://{host}:{place.getsockname()[1]}"
        console.event("serving", url=url, target=opened.artifact.target, batch=limits.batch)
        server.serve(opened, limits, place)
