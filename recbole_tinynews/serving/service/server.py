"""The service as a process: its socket, its limits on connections, its memory, its end."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import signal
import socket
from contextlib import suppress
from functools import partial
from typing import Any

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

SECONDS_TO_FINISH = 10  # for open requests when it is stopped


def bound(host: str, port: int) -> socket.socket:
    """A bound socket that does not listen yet; ``OSError`` if the address is unavailable."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # without a protocol, asyncio leaves out TCP_NODELAY, and an answer waits 40 ms for the client
    place = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        place.bind((host, port))
    except OSError as problem:
        place.close()
        raise OSError(
            f"--host={host} --port={port} can't be served: {problem.strerror}. Choose another "
            "port, or 0 for a free one."
        ) from problem
    return place


class _Protocol(H11Protocol):
    """HTTP/1.1 within limits; uvicorn alone waits forever for the rest of a request."""

    def __init__(self, connections: int, seconds: float, **given: Any) -> None:
        super().__init__(**given)
        self._most, self._seconds = connections, seconds
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self._most:
            self._end(b"503 Service Unavailable")
        else:
            self._expect(True)

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect(False)
        super().connection_lost(exc)

    def handle_events(self) -> None:
        super().handle_events()
        state = self.conn.their_state
        has_begun = state is h11.IDLE and bool(self.conn.trailing_data[0])
        self._expect(has_begun or state is h11.SEND_BODY)

    def _expect(self, more: bool) -> None:
        """Limit the time until the rest of a request arrives, if more of it is expected."""
        if more and self._deadline is None:
            late = b"408 Request Timeout"
            self._deadline = self.loop.call_later(self._seconds, self._end, late)
        elif not more and self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _end(self, status: bytes) -> None:
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):  # no response has begun
            head = b"\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
            self.transport.write(b"HTTP/1.1 " + status + head)
        self.transport.close()


def server_of(
    app: FastAPI, access_log: bool = False, connections: int = 500, seconds: float = 8
) -> uvicorn.Server:
    """A server whose ``run`` takes bound sockets.

    ``connections``: open ones at most; ``seconds``: in which a whole request has to arrive.
    """
    config = uvicorn.Config(
        app,
        http=partial(_Protocol, connections, seconds),  # type: ignore[arg-type]  # called like a class
        log_level="info" if access_log else "warning",
        access_log=access_log,
        server_header=False,
        timeout_graceful_shutdown=SECONDS_TO_FINISH,
    )
    return uvicorn.Server(config)


def freeze() -> None:
    """Exempt what is loaded from garbage collection: scanning it took longer than ranking.

    What was replaced is let go first, and its memory given back, which glibc alone would keep.
    """
    gc.unfreeze()  # what an earlier call excluded may be garbage now
    gc.collect()
    with suppress(AttributeError, OSError, TypeError):  # another system's library
        ctypes.CDLL(None).malloc_trim(0)
    gc.freeze()


def run(app: FastAPI, place: socket.socket, access_log: bool) -> None:
    """Serve until Ctrl-C or SIGTERM, then finish open requests."""
    freeze()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # uvicorn raises both when it is done
    with suppress(KeyboardInterrupt):
        place.listen()
        host, port = place.getsockname()[:2]
        url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        print(f"serving   {url}  (/docs: the API; Ctrl-C stops)", flush=True)
        server_of(app, access_log).run(sockets=[place])
