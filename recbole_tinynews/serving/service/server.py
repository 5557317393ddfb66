"""What every request passes: limits of time, the token, the size of its body, metrics."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import secrets
import signal
import socket
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import h11
import uvicorn
from fastapi import FastAPI
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from starlette.datastructures import Headers, State
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    from recbole_tinynews.serving.live_counters import Added
    from recbole_tinynews.serving.service.state import ServiceState

SECONDS_TO_FINISH = 10  # for open requests when it is stopped
OPEN = ("/livez", "/readyz")  # paths without a token
CHALLENGE = {"WWW-Authenticate": "Bearer"}
UNKNOWN = {"detail": "Authorization: Bearer TOKEN is expected, with the token of this service."}
TOO_LARGE = "A body of at most {:,} bytes is expected. Send several smaller ones."
NAME = "recbole_tinynews_"
NAMES = ("name", "model", "version")  # of a recommender's health
REQUESTS = "Requests and the time until they were answered."


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


class Metrics:
    """Requests and events, counted as they arrive, and the articles that ``app.service`` has."""

    def __init__(self, app: State) -> None:
        self._app = app
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        labels = ["route", "status"]
        self.requests = Histogram(f"{NAME}request_seconds", REQUESTS, labels, registry=registry)
        events, articles = "Events that were posted.", "Articles in the index."
        self._events = Counter(f"{NAME}events", events, ["outcome"], registry=registry)
        self._articles = Gauge(
            f"{NAME}articles", articles, ["recommender", *NAMES[1:]], registry=registry
        )

    def count(self, added: Added) -> None:
        """Count posted events by their outcome."""
        for outcome, number in {**added._asdict(), "refused": len(added.refused)}.items():
            self._events.labels(outcome).inc(number)

    def text(self) -> bytes:
        """All metrics in Prometheus's text format."""
        service: ServiceState = self._app.service
        self._articles.clear()
        for recommender in service.recommenders.values():
            health = recommender.health()
            self._articles.labels(*(health[name] for name in NAMES)).set(health["news"])
        return generate_latest(self._registry)


class RequestMiddleware:
    """Answers ``HEAD`` as ``GET``, whose body uvicorn leaves out, and measures requests.

    Without the token they are a 401, and with a body over the limit a 413, which FastAPI knows from
    Python 3.11 on.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, token: str | None, max_body: int) -> None:
        self._app, self._metrics, self._max_body = app, metrics, max_body
        self._expected = None if token is None else f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status, arrived = time.perf_counter(), 500, 0
        if scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}

        async def received() -> Message:
            nonlocal arrived
            message = await receive()
            arrived += len(message.get("body", b""))
            if arrived > self._max_body:
                raise HTTPException(413, TOO_LARGE.format(self._max_body))
            return message

        async def sent(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            app = self._app if self._is_allowed(scope) else JSONResponse(UNKNOWN, 401, CHALLENGE)
            await app(scope, received, sent)
        finally:
            seconds, route = time.perf_counter() - began, scope.get("route")
            methods = sorted(getattr(route, "methods", None) or [])
            # never the path: clients would choose the number of time series
            name = f"{methods[0]} {route.path}" if route and methods else "none"
            self._metrics.requests.labels(name, status).observe(seconds)

    def _is_allowed(self, scope: Scope) -> bool:
        if self._expected is None or scope["path"] in OPEN:
            return True
        tokens = Headers(scope=scope).getlist("authorization")
        sent = tokens[0].encode("latin-1") if len(tokens) == 1 else b""
        return secrets.compare_digest(sent, self._expected)
