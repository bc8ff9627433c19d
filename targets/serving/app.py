"""The service: /predict, /health and /metrics."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from time import perf_counter
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST

from edgepress.targets.errors import DataError, EdgepressError
from edgepress.targets.inference.answers import Answer
from edgepress.targets.inference.bundle import Bundle
from edgepress.targets.inference.masks import png_of
from edgepress.targets.serving.batcher import Batcher, Overloaded, Stopping
from edgepress.targets.serving.figures import Figures
from edgepress.targets.serving.limits import ServiceLimits
from edgepress.targets.serving.rows import rows_of

PREDICT = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["rows"],
                    "properties": {"rows": {"type": "array", "items": {}}},
                }
            },
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
"""What FastAPI cannot see of /predict, since its body is read here, no further than the limit."""
CODES: tuple[tuple[type[Exception], int], ...] = (
    (DataError, 422),
    (Overloaded, 429),
    (Stopping, 503),
    (TimeoutError, 504),
    (EdgepressError, 500),
)


class TooLarge(DataError):
    """The body has more bytes than the service takes."""


def make_app(bundle: Bundle, limits: ServiceLimits) -> FastAPI:
    """An ASGI application that answers with an opened release, and closes it at its end.

    Args:
        bundle: the release.
        limits: what it takes at most.
    """
    service = Service(bundle, limits)
    # The interactive pages would load scripts from elsewhere.
    app = FastAPI(
        title=f"edgepress: {bundle.artifact.target}", docs_url=None, redoc_url=None, lifespan=service.lifespan
    )
    app.add_api_route("/predict", service.predict, methods=["POST"], response_model=None, openapi_extra=PREDICT)
    app.add_api_route("/health", service.health, methods=["GET"], response_model=None)
    app.add_api_route("/metrics", service.metrics, methods=["GET"], response_model=None)
    return app


class Service:
    """The routes and what they share."""

    def __init__(self, bundle: Bundle, limits: ServiceLimits) -> None:
        self._bundle = bundle
        self._limits = limits
        self._figures = Figures(lambda: self._batcher.waiting)
        self._batcher = Batcher(lambda rows: bundle.predict(rows, batch=len(rows)), limits, self._figures.call)

    @asynccontextmanager
    async def lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        """Answers while the application lives, and what it took when it ends."""
        self._batcher.start()
        yield
        await self._batcher.stop()
        self._bundle.close()

    async def predict(self, request: Request) -> Response:
        """`{"rows": [...]}` → `{"answers": [{"label", "labels", "scores"}, ...]}`, of pixels also `mask`, a PNG in
        base64; a fault is `{"error": "..."}`."""
        said: dict[str, Any]
        code, start = 200, perf_counter()
        try:
            self._batcher.check_room(1)  # a full queue refuses before anything is read
            body = await self._body(request)
            start = perf_counter()
            rows = rows_of(body, _media_type(request), self._bundle, self._limits.rows)
            said = {"answers": [_fields_of(answer) for answer in await self._batcher.ask(rows)]}
        except (EdgepressError, TimeoutError) as fault:
            code = 413 if isinstance(fault, TooLarge) else next(code for kind, code in CODES if isinstance(fault, kind))
            said = {"error": str(fault) or f"no answer within {self._limits.seconds:g} s. Ask again later."}
        self._figures.request(code, perf_counter() - start)
        return JSONResponse(said, code, {"Retry-After": "1"} if code in (429, 503) else None)

    async def health(self) -> dict[str, Any]:
        """What is served, and how many rows wait for it."""
        artifact = self._bundle.artifact
        return {
            "status": "ok",
            "target": artifact.target,
            "artifact": artifact.name,
            "precision": artifact.precision,
            "labels": list(self._bundle.labels),
            "row": self._bundle.content,
            "waiting": self._batcher.waiting,
        }

    async def metrics(self) -> Response:
        """Prometheus' text format."""
        return Response(self._figures.text(), media_type=CONTENT_TYPE_LATEST)

    async def _body(self, request: Request) -> bytes:
        """What the client sends, read no further than the limit whatever it says of its length."""
        parts, read = [], 0
        async for part in request.stream():
            read += len(part)
            if read > self._limits.body_bytes:
                raise TooLarge(f"the body has more than {self._limits.body_bytes} bytes, the limit of this service.")
            parts.append(part)
        return b"".join(parts)


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _fields_of(answer: Answer) -> dict[str, Any]:
    if answer.vector:
        return {"vector": list(answer.vector)}
    fields = {"label": answer.label, "labels": list(answer.labels), "scores": dict(answer.scores)}
    if answer.mask is not None:
        fields["mask"] = png_of(answer.mask)
    return fields if answer.spans is None else fields | {"spans": [asdict(span) for span in answer.spans]}
