"""Runs the service on a socket until stopped."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, NamedTuple

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

SECONDS_TO_FINISH = 10  # for open requests when it is stopped


class Limits(NamedTuple):
    """Number of open connections, and seconds in which a whole request has to arrive."""

    connections: int
    seconds: float


@contextmanager
def bound(host: str, port: int) -> Iterator[socket.socket]:
    """A bound socket that does not listen yet; ``OSError`` if the address is unavailable."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        place = socket.socket(family, kind, protocol)
    except OSError as problem:
        raise OSError(f"--host={host} --port={port} is not an address: {problem}") from problem
    with place:
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            place.bind(address)
        except OSError as problem:
            raise OSError(
                f"--host={host} --port={port} can't be served: {problem.strerror}. Choose another "
                "port, or 0 for a free one."
            ) from problem
        yield place


def address_of(place: socket.socket) -> str:
    """The URL of a socket."""
    host, port = place.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Protocol(H11Protocol):
    """HTTP/1.1 within ``Limits``; uvicorn alone waits forever for the rest of a request."""

    def __init__(self, limits: Limits, **given: Any) -> None:
        super().__init__(**given)
        self._limits = limits
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self._limits.connections:
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
            wait = self._limits.seconds
            self._deadline = self.loop.call_later(wait, self._end, b"408 Request Timeout")
        elif not more and self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _end(self, status: bytes) -> None:
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):  # no response has begun
            head = b"\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
            self.transport.write(b"HTTP/1.1 " + status + head)
        self.transport.close()


class _Server(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and sockets:
            print(f"serving   {address_of(sockets[0])}  (/docs: the API; Ctrl-C stops)", flush=True)


def server_of(app: FastAPI, limits: Limits, access_log: bool = False) -> uvicorn.Server:
    """A server whose ``run`` takes bound sockets."""
    config = uvicorn.Config(
        app,
        http=partial(_Protocol, limits),  # type: ignore[arg-type]  # called like a class
        log_level="info" if access_log else "warning",
        access_log=access_log,
        server_header=False,
        timeout_graceful_shutdown=SECONDS_TO_FINISH,
    )
    return _Server(config)


def freeze() -> None:
    """Exempt what is loaded from garbage collection: scanning it took longer than ranking."""
    gc.unfreeze()  # what an earlier call excluded may be garbage now
    gc.collect()
    gc.freeze()


def run(
    app: FastAPI,
    place: socket.socket,
    limits: Limits,
    access_log: bool,
    reload: Callable[[], None],
) -> None:
    """Serve until Ctrl-C or SIGTERM, then finish open requests; SIGHUP reloads in a thread."""
    freeze()
    if hasattr(signal, "SIGHUP"):
        signal.signal(
            signal.SIGHUP, lambda *_: threading.Thread(target=reload, daemon=True).start()
        )
    # uvicorn raises a signal again after its shutdown: SIGTERM then ends with status 0 too
    signal.signal(signal.SIGTERM, lambda *_: None)
    with suppress(KeyboardInterrupt):
        server_of(app, limits, access_log).run(sockets=[place])
