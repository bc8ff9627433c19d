"""`edgepress serve` as a process: answers, and an end that loses nothing that was taken."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgepress.targets import open_bundle
from tests.end_to_end.recipes import command, edgepress, environment

pytestmark = pytest.mark.slow
pytest.importorskip("fastapi", reason="the extra serve is not installed")
TEXTS = ["the film is good", "a bad plot", "not a very good actor"]


@pytest.fixture
def service(text_run: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A running service of the text release, and its address."""
    release = str(text_run / "runs/text/release")
    process = subprocess.Popen(
        command("serve", release, "--port", "0"), env=environment(), stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    found = re.search(r"http://127.0.0.1:\d+", process.stderr.readline())
    assert found is not None
    yield process, found[0]
    process.kill()
    process.communicate()


def ask(url: str, text: str) -> dict[str, Any]:
    body = json.dumps({"rows": [text]}).encode()
    with urllib.request.urlopen(urllib.request.Request(f"{url}/predict", body), timeout=30) as answer:
        return json.loads(answer.read())["answers"][0]  # type: ignore[no-any-return]


def test_answers_are_the_releases_and_the_end_answers_what_was_taken(
    service: tuple[subprocess.Popen[str], str], text_run: Path
) -> None:
    process, url = service
    with open_bundle(text_run / "runs/text/release") as bundle:
        wanted = {text: bundle(text) for text in TEXTS}
    got, refused = [], []

    def client(number: int) -> None:
        text = TEXTS[number % len(TEXTS)]
        for _ in range(20):
            try:
                got.append((text, ask(url, text)))
            except (urllib.error.URLError, ConnectionError) as fault:
                refused.append(fault)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(8)]
    for one in threads:
        one.start()
    while len(got) < 40:
        threads[0].join(0.01)
    process.send_signal(signal.SIGTERM)
    for one in threads:
        one.join()
    assert process.wait(30) == 0
    assert len(got) >= 40 and len(got) + len(refused) == 160
    for text, answer in got:
        assert answer["scores"] == pytest.approx(dict(wanted[text].scores), abs=1e-6)
    # A request that had been taken is answered: what is refused never had a connection.
    assert all("refused" in str(fault) or "reset" in str(fault).lower() for fault in refused), refused[:1]


def test_what_cannot_be_served_is_one_line(workdir: Path) -> None:
    done = edgepress(workdir, "serve", "nowhere")
    assert done.returncode == 1
    assert "nowhere holds no artifact. Give a release, or the folder of one target in it." in done.stderr
