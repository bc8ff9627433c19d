"""The application under uvicorn, until a signal: then it takes nothing more, answers what it took, and ends."""

from __future__ import annotations

import signal
import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING

from edgepress.targets.errors import TargetError, TargetUnavailable, told

if TYPE_CHECKING:
    from edgepress.targets.inference.bundle import Bundle
    from edgepress.targets.serving.limits import ServiceLimits

ABSENT = "serving needs FastAPI, uvicorn and prometheus-client. Run: pip install 'edgepress[serve]'"
BACKLOG = 2048
KEEP_ALIVE_S = 15


def listen(host: str, port: int) -> socket.socket:
    """A socket bound to an address; port 0 takes a free one.

    Raises:
        TargetError: the address is in use, or is none of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        # asyncio turns Nagle's algorithm off (else each answer waits 40 ms) only where a socket says that it is TCP.
        with ExitStack() as opened:
            place = opened.enter_context(socket.socket(family, kind, protocol))
            place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            place.bind(address)
            place.listen(BACKLOG)
            opened.pop_all()
            return place
    except OSError as fault:
        raise TargetError(
            f"{host}:{port} cannot be listened on ({told(fault)}). Give another --host or --port."
        ) from None


def serve(bundle: Bundle, limits: ServiceLimits, place: socket.socket) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        bundle: the opened release; closed at the end.
        limits: what it takes at most.
        place: where to listen.

    Raises:
        TargetUnavailable: a package is not installed.
    """
    try:
        import uvicorn

        from edgepress.targets.serving.app import make_app
    except ImportError as fault:
        raise TargetUnavailable(f"{ABSENT} ({told(fault)})") from None
    config = uvicorn.Config(
        make_app(bundle, limits),
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=int(limits.seconds) + 5,
    )
    # uvicorn raises the signal that ended it once more when all is answered: an end that was asked for is no failure.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    uvicorn.Server(config).run(sockets=[place])
