"""Runs the service on a socket until stopped."""

from __future__ import annotations

import gc
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import uvicorn
from fastapi import FastAPI

SECONDS_TO_FINISH = 10  # for open requests when it is stopped


@contextmanager
def bound(host: str, port: int) -> Iterator[socket.socket]:
    """A bound socket that does not listen yet; ``OSError`` if the address is unavailable."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        place = socket.socket(family, kind, protocol)
    except OSError as problem:
        raise OSError(f"--host={host} --port={port} is no address: {problem}") from problem
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


class _Server(uvicorn.Server):
    """Prints its address once it answers."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and sockets:
            print(f"serving   {address_of(sockets[0])}  (/docs: the API; Ctrl-C stops)", flush=True)


def run(app: FastAPI, place: socket.socket, access_log: bool) -> None:
    """Serve until Ctrl-C or SIGTERM, then finish open requests."""
    config = uvicorn.Config(
        app,
        log_level="info" if access_log else "warning",
        access_log=access_log,
        server_header=False,
        timeout_graceful_shutdown=SECONDS_TO_FINISH,
    )
    # Requests create many small objects; without a freeze, each garbage collection would scan
    # everything that is loaded, which took longer than ranking.
    gc.collect()
    gc.freeze()
    with suppress(KeyboardInterrupt):  # uvicorn raises it again after its shutdown
        _Server(config).run(sockets=[place])
