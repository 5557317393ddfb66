"""Every request on its way in: ``HEAD``, the bearer token, and metrics."""

from __future__ import annotations

import secrets
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from recbole_tinynews.serving.service.metrics import Metrics
from recbole_tinynews.serving.service.mistakes import AsciiResponse

OPEN = ("/livez", "/readyz")  # paths without a token
CHALLENGE = {"WWW-Authenticate": "Bearer"}
UNKNOWN = "Authorization: Bearer TOKEN is expected, with the token of this service."


class Gate:
    """Answers ``HEAD`` as ``GET`` without a body, 401 without the token, and measures requests."""

    def __init__(self, app: ASGIApp, metrics: Metrics, token: str | None) -> None:
        self._app, self._metrics = app, metrics
        self._expected = None if token is None else f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status, is_head = time.perf_counter(), 500, scope["method"] == "HEAD"
        if is_head:
            scope = {**scope, "method": "GET"}

        async def sent(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            if is_head and "body" in message:
                message = {**message, "body": b""}
            await send(message)

        try:
            app = self._app
            if not self._may_pass(scope):
                app = AsciiResponse({"detail": UNKNOWN}, 401, CHALLENGE)
            await app(scope, receive, sent)
        finally:
            seconds = time.perf_counter() - began
            self._metrics.requests.labels(_route(scope), status).observe(seconds)

    def _may_pass(self, scope: Scope) -> bool:
        if self._expected is None or scope["path"] in OPEN:
            return True
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        return len(given) == 1 and secrets.compare_digest(given[0], self._expected)


def _route(scope: Scope) -> str:
    """The route that matched, never the path: clients would choose the number of time series."""
    route = scope.get("route")
    methods = sorted(getattr(route, "methods", None) or [])
    return f"{methods[0]} {route.path}" if route and methods else "none"
