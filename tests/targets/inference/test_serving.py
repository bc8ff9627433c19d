"""The service: rows gathered into calls, limits that hold, faults that stay with whose they are."""

from __future__ import annotations

import asyncio
import base64
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgepress.targets.errors import DataError, TargetError
from edgepress.targets.inference.answers import Answer
from edgepress.targets.inference.prepare import Pictures
from edgepress.targets.preprocess.pixels import Preprocessing
from edgepress.targets.serving.batcher import Batcher, Overloaded, Stopping
from edgepress.targets.serving.limits import ServiceLimits, batch_of
from edgepress.targets.serving.rows import rows_of
from edgepress.targets.serving.server import listen


def said(row: object) -> Answer:
    return Answer((str(row),), {str(row): 1.0})


class Model:
    """Answers each row with itself; refuses "bad", fails on "broken", and notes what it was asked together."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.calls: list[list[Any]] = []
        self.seconds = seconds
        self.at_once = 0

    def predict(self, rows: Sequence[Any]) -> list[Answer]:
        self.at_once += 1
        assert self.at_once == 1
        time.sleep(self.seconds)
        self.calls.append(list(rows))
        self.at_once -= 1
        if "broken" in rows:
            raise ZeroDivisionError("inside\nthe runtime")
        if "bad" in rows:
            raise DataError("'bad' is none.")
        return [said(row) for row in rows]


def served(model: Model, work: Callable[[Batcher], Awaitable[Any]], **limits: Any) -> Any:
    """What `work` gives, with a batcher of this model."""

    async def run() -> Any:
        batcher = Batcher(model.predict, ServiceLimits(**limits))
        batcher.start()
        try:
            return await work(batcher)
        finally:
            await batcher.stop()

    return asyncio.run(run())


def test_rows_that_come_together_are_asked_together_and_answered_in_order() -> None:
    async def work(batcher: Batcher) -> list[list[Answer]]:
        return await asyncio.gather(*(batcher.ask([number]) for number in range(10)))

    found = served(model := Model(), work, batch=4, wait_ms=50)
    assert [answers[0].label for answers in found] == [str(number) for number in range(10)]
    assert [len(call) for call in model.calls] == [4, 4, 2]


def test_a_row_waits_no_longer_than_the_bound() -> None:
    async def work(batcher: Batcher) -> float:
        start = time.perf_counter()
        await batcher.ask(["alone"])
        return time.perf_counter() - start

    assert 0.05 <= served(Model(), work, batch=8, wait_ms=50) < 30


def test_a_request_larger_than_a_call_is_split() -> None:
    found = served(model := Model(), lambda batcher: batcher.ask(list(range(7))), batch=3)
    assert [answer.label for answer in found] == list("0123456") and [len(call) for call in model.calls] == [3, 3, 1]


def test_a_bad_row_is_the_fault_of_its_own_request() -> None:
    async def work(batcher: Batcher) -> list[Any]:
        rows = ["a", "bad", "b"]
        return await asyncio.gather(*(batcher.ask([row]) for row in rows), return_exceptions=True)

    first, second, third = served(Model(), work, batch=3, wait_ms=50)
    assert (first, third) == ([said("a")], [said("b")]) and isinstance(second, DataError)


def test_a_failing_model_is_one_line_and_the_next_call_goes_on() -> None:
    async def work(batcher: Batcher) -> list[Answer]:
        with pytest.raises(TargetError, match="the model fails: ZeroDivisionError: inside"):
            await batcher.ask(["broken"])
        return await batcher.ask(["fine"])

    assert served(Model(), work) == [said("fine")]


def test_what_is_beyond_the_queue_is_refused_at_once_and_the_rest_is_answered() -> None:
    async def work(batcher: Batcher) -> list[Any]:
        asked = [asyncio.create_task(batcher.ask([number])) for number in range(8)]
        return await asyncio.gather(*asked, return_exceptions=True)

    found = served(Model(0.01), work, waiting=5)
    assert [isinstance(one, Overloaded) for one in found] == [False] * 5 + [True] * 3
    assert str(found[-1]) == "5 rows wait already, and 5 may. Ask again later."


def test_an_answer_that_takes_too_long_is_given_up_and_not_computed() -> None:
    async def work(batcher: Batcher) -> int:
        first = asyncio.create_task(batcher.ask(["slow"]))
        await asyncio.sleep(0.05)
        with pytest.raises(TimeoutError):
            await batcher.ask(["late"])
        with pytest.raises(TimeoutError):
            await first
        await asyncio.sleep(0.5)
        return batcher.waiting

    assert served(model := Model(0.4), work, seconds=0.1) == 0
    assert model.calls == [["slow"]]


def test_what_was_taken_is_answered_before_the_end_and_no_more_is_taken() -> None:
    async def run() -> list[Any]:
        batcher = Batcher(Model(0.02).predict, ServiceLimits())
        batcher.start()
        asked = [asyncio.create_task(batcher.ask([number])) for number in range(6)]
        await asyncio.sleep(0)
        await batcher.stop()
        with pytest.raises(Stopping, match="this service is stopping"):
            await batcher.ask([7])
        return await asyncio.gather(*asked)

    assert asyncio.run(run()) == [[said(number)] for number in range(6)]


def bundle(options: dict[str, Any], most: int = 64, preparer: Any = None) -> Any:
    artifact = SimpleNamespace(
        candidate=SimpleNamespace(options=options), target="onnxruntime-cpu", name="int8", precision="int8"
    )
    return SimpleNamespace(
        artifact=artifact, most_rows=most, preparer=preparer, labels=("a",), content="a text", close=lambda: None
    )


def test_scales_of_the_whole_batch_are_not_taken_of_strangers_rows() -> None:
    assert batch_of(bundle({"scales": "run-time"}), None) == 1
    assert batch_of(bundle({"scales": "fixed"}), None) == batch_of(bundle({}), None) == 8
    assert batch_of(bundle({}, most=4), None) == 4 and batch_of(bundle({"scales": "run-time"}), 2) == 2
    with pytest.raises(TargetError, match=r"batch is 65, and this model takes 1 to 64 rows"):
        batch_of(bundle({}), 65)


def test_a_client_names_no_file_of_the_server() -> None:
    pictures = bundle({}, preparer=Pictures(Preprocessing(), "pixel_values"))
    assert rows_of(b"PNG", "image/png", pictures, 4) == [b"PNG"]
    encoded = base64.b64encode(b"PNG").decode()
    assert rows_of(f'{{"rows": ["{encoded}"]}}'.encode(), "application/json", pictures, 4) == [b"PNG"]
    for row in ('"/etc/passwd"', "7", "null", '["a"]'):
        with pytest.raises(DataError, match="a row must be a file in base64, or send the file itself"):
            rows_of(f'{{"rows": [{row}]}}'.encode(), "application/json", pictures, 4)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"\xff", r"the body is no JSON \("),
        (b"[" * 100_000, r"the body is no JSON \("),
        (b"[1]", r'the body must be {"rows": \[...\]}'),
        (b'{"rows": "a"}', r'the body must be {"rows": \[...\]}'),
        (b'{"rows": []}', "a request has 1 to 4 rows, got 0"),
        (b'{"rows": [1, 2, 3, 4, 5]}', "a request has 1 to 4 rows, got 5"),
    ],
)
def test_a_body_that_is_no_request_is_told(body: bytes, words: str) -> None:
    with pytest.raises(DataError, match=words):
        rows_of(body, "application/json", bundle({}), 4)


@pytest.fixture
def client() -> Any:
    """Of a service whose model answers rows with themselves."""
    pytest.importorskip("fastapi", reason="the extra serve is not installed")
    from fastapi.testclient import TestClient

    from edgepress.targets.serving.app import make_app

    opened = bundle({})
    opened.predict = lambda rows, batch: Model().predict(rows)
    with TestClient(make_app(opened, ServiceLimits(batch=8, rows=3, body_bytes=200))) as found:
        yield found


def test_the_routes_answer_and_count(client: Any) -> None:
    asked = client.post("/predict", json={"rows": ["a", "b"]})
    assert asked.status_code == 200
    assert asked.json()["answers"][1] == {"label": "b", "labels": ["b"], "scores": {"b": 1.0}}
    assert client.get("/health").json() == {
        "status": "ok", "target": "onnxruntime-cpu", "artifact": "int8", "precision": "int8", "labels": ["a"],
        "row": "a text", "waiting": 0,
    }  # fmt: skip
    assert client.post("/predict", json={"rows": ["bad"]}).json() == {"error": "'bad' is none."}
    told = client.get("/metrics").text
    assert 'edgepress_requests_total{code="200"} 1.0' in told and 'edgepress_requests_total{code="422"} 1.0' in told
    assert "edgepress_batch_rows_sum 2.0" in told and "edgepress_waiting_rows 0.0" in told


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        (b"{}", 422, "the body must be"),
        (b"x" * 201, 413, "the body has more than 200 bytes, the limit of this service."),
        (b'{"rows": [1, 2, 3, 4]}', 422, "a request has 1 to 3 rows, got 4"),
        (b'{"rows": ["broken"]}', 500, "the model fails"),
    ],
)
def test_faults_have_codes_and_one_line(client: Any, body: bytes, code: int, words: str) -> None:
    answer = client.post("/predict", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == code and words in answer.json()["error"]
    assert "\n" not in answer.json()["error"]


def test_answers_do_not_wait_for_the_clients_acknowledgement() -> None:
    """asyncio asks for the protocol before it turns Nagle's algorithm off, which costs 40 ms an answer."""
    with listen("127.0.0.1", 0) as place:
        assert place.proto == socket.IPPROTO_TCP


def test_an_address_in_use_is_one_line() -> None:
    with listen("127.0.0.1", 0) as place, pytest.raises(TargetError, match=r"127.0.0.1:\d+ cannot be listened on \("):
        listen("127.0.0.1", place.getsockname()[1])


def test_many_threads_share_one_session() -> None:
    """`Bundle.infer` waits for its turn; the fake fails where two are inside at once."""
    from edgepress.targets.inference.bundle import Bundle

    opened, model = Bundle.__new__(Bundle), Model(0.001)
    opened._lock = threading.Lock()
    opened.artifact = SimpleNamespace(signature=SimpleNamespace(select=lambda feeds: feeds))  # type: ignore[assignment]
    opened._session = SimpleNamespace(infer=lambda feeds: {"x": np.zeros(len(model.predict(["a"])))})  # type: ignore[assignment]
    threads = [threading.Thread(target=opened.infer, args=({},)) for _ in range(16)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(model.calls) == 16


def test_a_vector_is_told_as_its_numbers_alone() -> None:
    from edgepress.targets.serving.app import _fields_of

    assert _fields_of(Answer((), {}, (0.6, 0.8))) == {"vector": [0.6, 0.8]}
    assert _fields_of(said("a")) == {"label": "a", "labels": ["a"], "scores": {"a": 1.0}}
