"""Every request on its way in: ``HEAD``, the bearer token, the size of its body, and metrics."""

from __future__ import annotations

import secrets
import time

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from recbole_tinynews.serving.service.metrics import Metrics
from recbole_tinynews.serving.service.mistakes import AsciiResponse

OPEN = ("/livez", "/readyz")  # paths without a token
CHALLENGE = {"WWW-Authenticate": "Bearer"}
UNKNOWN = "Authorization: Bearer TOKEN is expected, with the token of this service."


class Gate:
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
            app = self._app
            if not self._may_pass(scope):
                app = AsciiResponse({"detail": UNKNOWN}, 401, CHALLENGE)
            elif _announced(scope) > self._max_body:
                app = AsciiResponse({"detail": self._too_large}, 413)
            await app(scope, received, sent)
        finally:
            seconds = time.perf_counter() - began
            self._metrics.requests.labels(_route(scope), status).observe(seconds)

    def _may_pass(self, scope: Scope) -> bool:
        if self._expected is None or scope["path"] in OPEN:
            return True
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        return len(given) == 1 and secrets.compare_digest(given[0], self._expected)


def _announced(scope: Scope) -> int:
    """The announced length of the body; 0 without one, as for chunked bodies."""
    lengths = [value for name, value in scope["headers"] if name == b"content-length"]
    return int(lengths[0]) if lengths and lengths[0].isdigit() else 0


def _route(scope: Scope) -> str:
    """The route that matched, never the path: clients would choose the number of time series."""
    route = scope.get("route")
    methods = sorted(getattr(route, "methods", None) or [])
    return f"{methods[0]} {route.path}" if route and methods else "none"
