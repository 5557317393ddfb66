"""The service as an ASGI application, and its routes."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from fastapi_offline import FastAPIOffline
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from recbole_tinynews import __version__
from recbole_tinynews.evaluation.rerank import RerankError
from recbole_tinynews.serving.article_index import UnknownArticleError
from recbole_tinynews.serving.service.schema import Events, News, RankQuestion, TopQuestion
from recbole_tinynews.serving.service.state import RefusedError, ServiceState, find
from recbole_tinynews.serving.store import StoreError

LOG = logging.getLogger("uvicorn.error")
MAX_BODY = 4 * 1024 * 1024  # bytes of a request
POLL = 0.25  # seconds between two looks at the store
STALE = 5  # seconds without the store, after which a service is not ready
OPEN = ("/livez", "/readyz")  # paths without a token
CHALLENGE = {"WWW-Authenticate": "Bearer"}
UNKNOWN = {"detail": "Authorization: Bearer TOKEN is expected, with the token of this service."}
TOO_LARGE = "A body of at most {:,} bytes is expected. Send several smaller ones."
PAGE = Path(__file__).parent / "page"
PAGE_FILES = {"index.html": "text/html", "page.css": "text/css", "page.js": "text/javascript"}
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cache-Control": "no-cache",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
UNREADABLE = "The body can't be read as JSON. Send UTF-8 and Content-Type: application/json."
NO_STORE = "The store does not answer: nothing is known to be committed. Send it again."
FAILED = "The request failed; the service's log says why."
DESCRIPTION = """Ranks news for readers by what they clicked. An article is given by the id of one
that the service knows, or by its text: `{"title": "Rain again", "id": "optional"}`."""


class AsciiResponse(JSONResponse):
    """JSON in ASCII: requests may contain lone surrogates, which UTF-8 cannot encode."""

    def render(self, content: Any) -> bytes:
        """Serialise the content."""
        return json.dumps(content).encode()


router = APIRouter()


def make_app(service: ServiceState, max_body: int = MAX_BODY, token: str | None = None) -> FastAPI:
    """The service as an ASGI application, whose ``state.service`` may be replaced.

    ``max_body``: bytes; ``token``: expected of all requests but ``/livez`` and ``/readyz``.
    """
    app = FastAPIOffline(  # serves Swagger UI itself instead of linking to a CDN
        title="recbole_tinynews",
        version=__version__,
        description=DESCRIPTION,
        redoc_url=None,
        lifespan=_following,
    )
    app.state.service = service
    app.state.metrics = Metrics()
    app.include_router(router)
    app.add_middleware(RequestMiddleware, metrics=app.state.metrics, token=token, max_body=max_body)
    _add_handlers(app)
    return app


@asynccontextmanager
async def _following(app: FastAPI) -> AsyncIterator[None]:
    """Takes over what other processes change in the store, while the service runs."""
    follow = ServiceState.follow_events, ServiceState.follow_articles
    tasks = [asyncio.create_task(_repeat(app, method)) for method in follow]
    yield
    for task in tasks:
        task.cancel()


async def _repeat(app: FastAPI, follow: Callable[[ServiceState], None]) -> None:
    last = None
    while True:
        await asyncio.sleep(POLL)
        try:
            await asyncio.to_thread(follow, app.state.service)
            last = None
        except Exception as problem:  # the service ranks with what it has
            if str(problem) != last:
                unknown = not isinstance(problem, StoreError)
                LOG.error("The store is not read; trying again: %s", problem, exc_info=unknown)
            last = str(problem)


def _service(request: Request) -> ServiceState:
    return request.app.state.service


Service = Annotated[ServiceState, Depends(_service)]


@router.post("/rank", tags=["ranking"])
async def rank(question: RankQuestion, service: Service) -> Response:
    """Rank candidates for a reader."""
    answer = await service.recommender(question.recommender).answer(question)
    ids = [each if isinstance(each, str) else each.id for each in question.candidates]
    ranked = [{"place": r.place, "id": ids[r.place], "score": r.score} for r in answer["ranked"]]
    # as a whole: FastAPI's way of making JSON took longer than ranking
    return AsciiResponse({**answer, "ranked": ranked})


@router.post("/top", tags=["ranking"])
async def top(question: TopQuestion, service: Service) -> Response:
    """Find the best of all articles for a reader, excluding those clicked."""
    answer = await service.recommender(question.recommender).answer(question)
    titles = service.titles  # which lack an article that was just removed
    ranked = [
        {"id": r.candidate, "title": titles.get(r.candidate, ("",))[0], "score": r.score}
        for r in answer["ranked"]
    ]
    return AsciiResponse({**answer, "ranked": ranked})


@router.post("/events", tags=["events"])
async def post_events(events: Events, service: Service, request: Request) -> Response:
    """Count exposures and clicks. The answer means that they are committed."""
    added = await service.count(events.events)
    refused = [event._asdict() for event in added.refused]
    for outcome, number in {**added._asdict(), "refused": len(refused)}.items():
        request.app.state.metrics.events.labels(outcome).inc(number)
    return AsciiResponse({**added._asdict(), "refused": refused})


@router.put("/news", tags=["news"])
async def put_news(news: News, service: Service) -> Response:
    """Add articles, or update those with known ids. The answer means that they are committed."""
    return AsciiResponse(await service.put(news.news))


@router.get("/news", tags=["news"])
def find_news(
    service: Service,
    query: Annotated[str, Query(max_length=200)] = "",
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
) -> Response:
    """Articles whose title has all words of the query, or whose id is the query."""
    return AsciiResponse(find(service.titles, query.strip(), offset, limit))


@router.delete("/news/{news_id:path}", status_code=204, tags=["news"])
async def forget_news(news_id: str, service: Service) -> Response:
    """Remove an article."""
    if not await service.forget(news_id):
        raise HTTPException(404, f"No article has the id {news_id[:100]!r}.")
    return Response(status_code=204)


@router.get("/health", tags=["health"])
async def health(service: Service) -> Response:
    """Service status and recommenders; the first is the default."""
    status = {"status": "ok", "version": __version__}
    return AsciiResponse({**status, "recommenders": service.health()})


@router.get("/livez", tags=["health"])
async def live() -> Response:
    """Whether the process answers."""
    return AsciiResponse({"status": "ok"})


@router.get("/readyz", tags=["health"])
async def ready(service: Service) -> Response:
    """Whether the process answers with what is in its store, and what is wrong with a clock."""
    if time.monotonic() - service.read_at > STALE:
        raise HTTPException(503, "The store does not answer.")
    return AsciiResponse({"status": "ok", "warning": service.warning()})


@router.get("/metrics", tags=["health"], response_class=PlainTextResponse)
def metrics(request: Request, service: Service) -> Response:
    """Metrics for Prometheus."""
    return Response(request.app.state.metrics.text(service), media_type=CONTENT_TYPE_LATEST)


@router.get("/", include_in_schema=False)
@router.get("/page/{name}", include_in_schema=False)
def page(name: str = "index.html") -> FileResponse:
    """The HTML page, or another file of it."""
    if name not in PAGE_FILES:
        raise HTTPException(404)
    return FileResponse(PAGE / name, media_type=PAGE_FILES[name], headers=PAGE_HEADERS)


class Metrics:
    """Requests and events, counted as they arrive, and the articles that a service has."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        of_all: dict[str, Any] = {"namespace": "recbole_tinynews", "registry": self._registry}
        requests, events = "Requests and the time until an answer.", "Events that were posted."
        labels = ["recommender", "model", "version"]
        self.requests = Histogram("request_seconds", requests, ["route", "status"], **of_all)
        self.events = Counter("events", events, ["outcome"], **of_all)
        self._articles = Gauge("articles", "Articles in the index.", labels, **of_all)

    def text(self, service: ServiceState) -> bytes:
        """All metrics in Prometheus's text format."""
        self._articles.clear()
        for each in service.health():
            self._articles.labels(each["name"], each["model"], each["version"]).set(each["news"])
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


def _add_handlers(app: FastAPI) -> None:
    """Register JSON responses for errors, without rejected values: long, or impossible in JSON."""

    @app.exception_handler(RequestValidationError)
    def _invalid(_: Request, problem: RequestValidationError) -> AsciiResponse:
        detail = [
            {"loc": _location(error["loc"]), "msg": error["msg"], "type": error["type"]}
            for error in problem.errors()
        ]
        return AsciiResponse({"detail": detail}, 422)

    @app.exception_handler(RerankError)
    @app.exception_handler(UnknownArticleError)
    def _not_ranked(request: Request, problem: Exception) -> AsciiResponse:
        where = problem.where if isinstance(problem, UnknownArticleError) else ["rerank"]
        return _refused(request, RefusedError(where, str(problem)))

    @app.exception_handler(HTTPException)
    def _refused(_: Request, problem: HTTPException) -> AsciiResponse:
        if problem.status_code == 400:  # FastAPI's response to a body that is not JSON
            problem = RefusedError([], UNREADABLE)
        return AsciiResponse({"detail": problem.detail}, problem.status_code, problem.headers)

    @app.exception_handler(StoreError)
    def _without_store(_: Request, problem: StoreError) -> AsciiResponse:
        return AsciiResponse({"detail": NO_STORE}, 503, {"Retry-After": "1"})

    @app.exception_handler(Exception)
    def _failed(_: Request, problem: Exception) -> AsciiResponse:
        return AsciiResponse({"detail": FAILED}, 500)


def _location(where: Sequence[str | int]) -> Sequence[str | int]:
    """Cut to 100 characters, without the kind of an article, which follows its number."""
    cut = [part[:100] if isinstance(part, str) else part for part in where]
    article = cut[1:2] in (["history"], ["candidates"]) and len(cut) > 3
    return [*cut[:3], *cut[4:]] if article else cut
