"""What a service tells Prometheus of itself."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
ROWS = (1, 2, 4, 8, 16, 32, 64)


class Figures:
    """Counters and histograms, in a registry of their own.

    Args:
        waiting: how many rows wait now.
    """

    def __init__(self, waiting: Callable[[], int]) -> None:
        self._registry = own = CollectorRegistry()
        self._requests = Counter("edgepress_requests", "requests to /predict", ["code"], registry=own)
        said = "from a request's last byte to its answer, s"
        self._seconds = Histogram("edgepress_request_seconds", said, buckets=SECONDS, registry=own)
        self._model = Histogram("edgepress_model_seconds", "one call of the model, s", buckets=SECONDS, registry=own)
        self._rows = Histogram("edgepress_batch_rows", "rows of one call of the model", buckets=ROWS, registry=own)
        gauge = Gauge("edgepress_waiting_rows", "rows taken and not answered", registry=own)
        gauge.set_function(waiting)

    def request(self, code: int, seconds: float) -> None:
        """A request was answered."""
        self._requests.labels(str(code)).inc()
        self._seconds.observe(seconds)

    def call(self, rows: int, seconds: float) -> None:
        """The model was called."""
        self._rows.observe(rows)
        self._model.observe(seconds)

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self._registry)
