"""Runs the service on a socket until it is told to stop."""

from __future__ import annotations

import gc
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import uvicorn
from fastapi import FastAPI

SECONDS_TO_FINISH = 10  # for requests that are being answered when it is told to stop


@contextmanager
def bound(host: str, port: int) -> Iterator[socket.socket]:
    """A socket at this address, which does not listen yet.

    Raises:
        OSError: the address is not of this machine, or taken.
    """
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
    """The address of a socket as a browser takes it."""
    host, port = place.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Server(uvicorn.Server):
    """Says where it is once it answers."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and sockets:
            print(f"serving   {address_of(sockets[0])}  (/docs: the API; Ctrl-C stops)", flush=True)


def run(app: FastAPI, place: socket.socket, access_log: bool) -> None:
    """Serve until Ctrl-C or SIGTERM; requests that are being answered get their answers."""
    config = uvicorn.Config(
        app,
        log_level="info" if access_log else "warning",
        access_log=access_log,
        server_header=False,
        timeout_graceful_shutdown=SECONDS_TO_FINISH,
    )
    # What is loaded by now stays: the garbage collector would look through all of it again and
    # again, as the many small objects of requests make it run, and took longer than ranking.
    gc.collect()
    gc.freeze()
    with suppress(KeyboardInterrupt):  # which uvicorn raises once more, when all is closed
        _Server(config).run(sockets=[place])
