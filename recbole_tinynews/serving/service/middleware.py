"""Every request on its way in: ``HEAD``, the bearer token, the size of its body, and metrics."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from starlette.datastructures import Headers, State
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from recbole_tinynews import __version__
from recbole_tinynews.serving.live_counters import Added
from recbole_tinynews.serving.service.state import ServiceState

OPEN = ("/livez", "/readyz")  # paths without a token
CHALLENGE = {"WWW-Authenticate": "Bearer"}
UNKNOWN = "Authorization: Bearer TOKEN is expected, with the token of this service."
NAME = "recbole_tinynews_"
REQUESTS = "Requests and the time until they were answered."


class Metrics:
    """Requests and events, counted as they arrive, and what ``app.service`` has now."""

    def __init__(self, app: State) -> None:
        self._app = app
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        labels = ["route", "status"]
        self.requests = Histogram(f"{NAME}request_seconds", REQUESTS, labels, registry=registry)
        events = "Events that were posted."
        self._events = Counter(f"{NAME}events", events, ["outcome"], registry=registry)
        registry.register(self)

    def count(self, added: Added) -> None:
        """Count posted events by their outcome."""
        for outcome, number in {**added._asdict(), "refused": len(added.refused)}.items():
            self._events.labels(outcome).inc(number)

    def text(self) -> bytes:
        """All metrics in Prometheus's text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Gauges of the service's current state."""
        service: ServiceState = self._app.service
        labels = ["recommender", "model", "version"]
        articles = GaugeMetricFamily(f"{NAME}articles", "Articles in the index.", labels=labels[:1])
        models = GaugeMetricFamily(f"{NAME}model", "Recommenders, always 1.", labels=labels)
        for recommender in service.recommenders.values():
            health = recommender.health()
            articles.add_metric([health.name], health.news)
            models.add_metric([health.name, health.model, health.version], 1)
        about = GaugeMetricFamily(f"{NAME}package", "Always 1.", labels=["version"])
        about.add_metric([__version__], 1)
        yield from (articles, models, about)
        age, read = time.monotonic() - service.read_at, "Seconds since the store was last read."
        yield GaugeMetricFamily(f"{NAME}store_age_seconds", read, value=age)
        if service.counters is not None and service.counters.newest:
            age, newest = time.time() - service.counters.newest, "Seconds since the newest event."
            yield GaugeMetricFamily(f"{NAME}counters_age_seconds", newest, value=age)


class RequestMiddleware:
    """Answers ``HEAD`` as ``GET`` without a body, 401 without the token, and measures requests.

    Bodies over the limit are a 413 before they are read; FastAPI's own limit needs Python 3.11.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, token: str | None, max_body: int) -> None:
        self._app, self._metrics, self._max_body = app, metrics, max_body
        self._expected = None if token is None else f"Bearer {token}".encode()
        self._too_large = (
            f"A body of at most {max_body:,} bytes is expected. Send several smaller ones."
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status, arrived, is_head = time.perf_counter(), 500, 0, scope["method"] == "HEAD"
        if is_head:
            scope = {**scope, "method": "GET"}

        async def received() -> Message:
            nonlocal arrived
            message = await receive()
            arrived += len(message.get("body", b""))
            if arrived > self._max_body:
                raise HTTPException(413, self._too_large)
            return message

        async def sent(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            if is_head and "body" in message:
                message = {**message, "body": b""}
            await send(message)

        try:
            await (self._refusal(scope) or self._app)(scope, received, sent)
        finally:
            seconds = time.perf_counter() - began
            self._metrics.requests.labels(_route(scope), status).observe(seconds)

    def _refusal(self, scope: Scope) -> ASGIApp | None:
        headers = Headers(scope=scope)
        if self._expected is not None and scope["path"] not in OPEN:
            tokens = headers.getlist("authorization")
            sent = tokens[0].encode("latin-1") if len(tokens) == 1 else b""
            if not secrets.compare_digest(sent, self._expected):
                return JSONResponse({"detail": UNKNOWN}, 401, CHALLENGE)
        length = headers.get("content-length", "")  # none for chunked bodies
        if length.isdecimal() and int(length) > self._max_body:
            return JSONResponse({"detail": self._too_large}, 413)
        return None


def _route(scope: Scope) -> str:
    """The route that matched, never the path: clients would choose the number of time series."""
    route = scope.get("route")
    methods = sorted(getattr(route, "methods", None) or [])
    return f"{methods[0]} {route.path}" if route and methods else "none"
