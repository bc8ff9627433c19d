"""Loads a served release with locust and compares each answer with the release's own, opened here.

    edgepress serve runs/sst2/release &
    pip install locust
    RELEASE=runs/sst2/release ROWS=rows.jsonl REQUESTS=50000 \
        locust -f examples/load.py --headless --users 16 --spawn-rate 16 --host http://127.0.0.1:8000

A row of ROWS is `{"text": ...}` and, of pairs, `"text_pair"`. It ends after REQUESTS answers; a wrong one, or one that
is none, is a failure, and then the exit code is 1.
"""

from __future__ import annotations

import itertools
import json
import os
import random
from typing import Any

import gevent
from locust import FastHttpUser, constant, events, task
from locust.exception import StopUser

MOST = int(os.environ.get("REQUESTS", "50000"))
TOLERANCE = float(os.environ.get("TOLERANCE", "1e-6"))
COUNT = itertools.count(1)


@events.init.add_listener
def read_wanted(environment: Any, **_: object) -> None:
    """The release's answers to the rows, in a process without gevent: its threads are not the runtime's."""
    import subprocess
    import sys

    code = (
        "import json, sys; from edgepress.targets import open_bundle; "
        "rows = [json.loads(line) for line in open(sys.argv[2])][:500]; "
        "rows = [[row['text'], row['text_pair']] if 'text_pair' in row else row['text'] for row in rows]; "
        "answers = open_bundle(sys.argv[1]).predict(rows); "
        "print(json.dumps([[row, dict(answer.scores)] for row, answer in zip(rows, answers)]))"
    )
    python = os.environ.get("EDGEPRESS_PYTHON", sys.executable)
    made = subprocess.run(
        [python, "-c", code, os.environ["RELEASE"], os.environ["ROWS"]], capture_output=True, check=True
    )
    Client.wanted = json.loads(made.stdout)
    gevent.spawn(end, environment)


def end(environment: Any) -> None:
    """Ends locust when all users have stopped, which it does not by itself."""
    while environment.stats.total.num_requests < MOST:
        gevent.sleep(0.1)
    environment.runner.quit()


class Client(FastHttpUser):
    """Asks one row after another."""

    wait_time = constant(0)
    wanted: list[tuple[object, dict[str, float]]] = []

    @task
    def predict(self) -> None:
        """One request, its answer compared."""
        if next(COUNT) > MOST:
            raise StopUser
        row, wanted = random.choice(self.wanted)
        with self.client.post("/predict", json={"rows": [row]}, catch_response=True) as response:
            if response.status_code != 200:
                response.failure(f"code {response.status_code}")
                return
            scores = response.json()["answers"][0]["scores"]
            if any(abs(scores[name] - wanted[name]) > TOLERANCE for name in wanted):
                response.failure("a wrong answer")
