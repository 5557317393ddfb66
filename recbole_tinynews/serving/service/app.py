"""The service as an ASGI application, and its routes."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from fastapi_offline import FastAPIOffline
from prometheus_client import CONTENT_TYPE_LATEST
from sqlalchemy.exc import DBAPIError
from starlette.convertors import PathConvertor, register_url_convertor
from starlette.exceptions import HTTPException

from recbole_tinynews import __version__
from recbole_tinynews.evaluation.rerank import RerankError
from recbole_tinynews.serving.service import MAX_BODY
from recbole_tinynews.serving.service.schema import (
    Events,
    EventsAdded,
    Health,
    News,
    NewsChanged,
    NewsFound,
    Problem,
    RankAnswer,
    RankQuestion,
    Readiness,
    Status,
    TopAnswer,
    TopQuestion,
)
from recbole_tinynews.serving.service.server import Metrics, RequestMiddleware
from recbole_tinynews.serving.service.state import Answer, BusyError, RefusedError, ServiceState

LOG = logging.getLogger("uvicorn.error")
POLL = 0.25  # seconds between two looks at the store
STALE = 5  # seconds without the store, after which a service is not ready
PAGE = Path(__file__).parent / "page"
PAGE_FILES = {"page.css": "text/css", "page.js": "text/javascript"}
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cache-Control": "no-cache",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
UNREADABLE = "The body can't be read as JSON. Send UTF-8 and Content-Type: application/json."
LONGEST_NAME = 100  # characters of a field's name that are sent back
BUSY = "Too many requests wait already. Try again in a second."
NO_STORE = "The store does not answer: nothing is known to be committed. Send it again."
FAILED = "The request failed; the service's log says why."
Location = Sequence[str | int]
DESCRIPTION = """Ranks news for readers by what they clicked. An article is given by the id of one
that the service knows, or by its text: `{"title": "Rain again", "id": "optional"}`."""


class AsciiResponse(JSONResponse):
    """JSON in ASCII: requests may contain lone surrogates, which UTF-8 cannot encode."""

    def render(self, content: Any) -> bytes:
        """Serialise the content."""
        return json.dumps(content).encode()


class AnyText(PathConvertor):
    """A path parameter with any characters, including line breaks."""

    regex = "(?s:.*)"


register_url_convertor("any", AnyText())
router = APIRouter()
FAILURES: dict[int | str, dict[str, Any]] = {
    413: {"description": "The body is too large."},
    503: {"description": "Too many wait, or the store does not answer.", "model": Problem},
}
UNKNOWN: dict[int | str, dict[str, Any]] = {
    404: {"description": "No such article.", "model": Problem}
}


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
    app.state.metrics = Metrics(app.state)
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
        except Exception as problem:  # the service ranks with what it has
            if str(problem) != last:
                LOG.exception("The store is not read; trying again.")
            last = str(problem)
        else:
            last = None


def _service(request: Request) -> ServiceState:
    return request.app.state.service


Service = Annotated[ServiceState, Depends(_service)]


@router.post("/rank", response_model=RankAnswer, responses=FAILURES, tags=["ranking"])
async def rank(question: RankQuestion, service: Service) -> Response:
    """Rank candidates for a reader."""
    recommender = service.recommender(question.recommender)
    answer = await recommender.answer(question)
    ids = [each if isinstance(each, str) else each.id for each in question.candidates]
    ranked = [{"place": r.place, "id": ids[r.place], "score": r.score} for r in answer.ranked]
    return _response(recommender.name, ranked, answer)


@router.post("/top", response_model=TopAnswer, responses=FAILURES, tags=["ranking"])
async def top(question: TopQuestion, service: Service) -> Response:
    """Find the best of all articles for a reader, excluding those clicked."""
    recommender = service.recommender(question.recommender)
    answer = await recommender.answer(question)
    ranked = [
        {"id": r.candidate, "title": service.titles.title(r.candidate), "score": r.score}
        for r in answer.ranked
    ]
    return _response(recommender.name, ranked, answer)


def _response(name: str, ranked: list[dict[str, Any]], answer: Answer) -> Response:
    # bypasses FastAPI's validation of every field, which took longer than ranking
    parts = answer.contributions
    named = (
        None
        if parts is None
        else [
            {name: value for name, value in part._asdict().items() if value is not None}
            for part in parts
        ]
    )
    explained = {**answer._asdict(), "ranked": ranked, "contributions": named}
    return AsciiResponse({"recommender": name, **explained})


@router.post("/events", response_model=EventsAdded, responses=FAILURES, tags=["events"])
async def post_events(events: Events, service: Service, request: Request) -> Response:
    """Count exposures and clicks. The answer means that they are committed."""
    added = await service.count(events.events)
    request.app.state.metrics.count(added)
    refused = [event._asdict() for event in added.refused]
    return AsciiResponse({**added._asdict(), "refused": refused})


@router.put("/news", responses=FAILURES, tags=["news"])
async def put_news(news: News, service: Service) -> NewsChanged:
    """Add articles, or update those with known ids. The answer means that they are committed."""
    return await service.put(news.news)


@router.get("/news", response_model=NewsFound, tags=["news"])
def find_news(
    service: Service,
    query: Annotated[str, Query(max_length=200)] = "",
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
) -> Response:
    """Articles whose title has all words of the query, or whose id is the query."""
    found = service.titles.find(query.strip(), offset, limit)
    news = [{"id": name, "title": title} for name, title in found.articles]
    return AsciiResponse({"total": found.total, "news": news})


@router.delete("/news/{news_id:any}", status_code=204, responses=UNKNOWN, tags=["news"])
async def forget_news(news_id: str, service: Service) -> Response:
    """Remove an article."""
    if not await service.forget(news_id):
        raise HTTPException(404, f"No article has the id {news_id[:100]!r}.")
    return Response(status_code=204)


@router.get("/health", tags=["health"])
async def health(service: Service) -> Health:
    """Service status and recommenders."""
    recommenders = [recommender.health() for recommender in service.recommenders.values()]
    return Health(status="ok", version=__version__, recommenders=recommenders)


@router.get("/livez", tags=["health"])
async def live() -> Status:
    """Whether the process answers."""
    return Status(status="ok")


@router.get("/readyz", responses={503: FAILURES[503]}, tags=["health"])
async def ready(service: Service) -> Readiness:
    """Whether the process answers with what is in its store."""
    if time.monotonic() - service.read_at > STALE:
        raise HTTPException(503, "The store does not answer.")
    return Readiness(status="ok", warning=service.warning())


@router.get("/metrics", tags=["health"], response_class=PlainTextResponse)
def metrics(request: Request) -> Response:
    """Metrics for Prometheus."""
    return Response(request.app.state.metrics.text(), media_type=CONTENT_TYPE_LATEST)


@router.get("/", include_in_schema=False)
def page() -> FileResponse:
    """The HTML page."""
    return FileResponse(PAGE / "index.html", media_type="text/html", headers=PAGE_HEADERS)


@router.get("/page/{name}", include_in_schema=False)
def page_file(name: str) -> FileResponse:
    """A file of the page."""
    if name not in PAGE_FILES:
        raise HTTPException(404)
    return FileResponse(PAGE / name, media_type=PAGE_FILES[name], headers=PAGE_HEADERS)


def _add_handlers(app: FastAPI) -> None:
    """Register JSON responses for errors."""
    for kind in (RequestValidationError, RefusedError, RerankError, HTTPException):
        app.add_exception_handler(kind, _wrong)
    for failure in (BusyError, DBAPIError, Exception):
        app.add_exception_handler(failure, _failed)


def _wrong(request: Request, problem: Exception) -> AsciiResponse:
    """What the client can correct."""
    if isinstance(problem, RequestValidationError):
        errors = problem.errors()
        return _refusal([(_without_kind(e["loc"]), _message(e), e["type"]) for e in errors])
    if isinstance(problem, RefusedError):
        return _refusal([(problem.where, str(problem), "refused")])
    if isinstance(problem, RerankError):
        return _refusal([(("body", "rerank"), str(problem), "refused")])
    assert isinstance(problem, HTTPException)
    if problem.status_code == 400:  # FastAPI's response to a body that is not JSON
        return _refusal([(("body",), UNREADABLE, "json_invalid")])
    return AsciiResponse({"detail": problem.detail}, problem.status_code, problem.headers)


def _failed(request: Request, problem: Exception) -> AsciiResponse:
    """What the client cannot correct."""
    if isinstance(problem, (BusyError, DBAPIError)):
        detail = BUSY if isinstance(problem, BusyError) else NO_STORE
        return AsciiResponse({"detail": detail}, 503, {"Retry-After": "1"})
    return AsciiResponse({"detail": FAILED}, 500)


def _refusal(errors: Sequence[tuple[Location, str, str]]) -> AsciiResponse:
    """A 422 without the rejected values, which may be long or not representable in JSON."""
    detail = [
        {
            "loc": [part[:LONGEST_NAME] if isinstance(part, str) else part for part in where],
            "msg": message,
            "type": kind,
        }
        for where, message, kind in errors
    ]
    return AsciiResponse({"detail": detail}, 422)


def _message(error: Mapping[str, Any]) -> str:
    detail = f": {error['ctx']['error']}" if error["type"] == "json_invalid" else ""
    return f"{error['msg']}{detail}"


def _without_kind(where: Location) -> Location:
    """The location without the kind of an article, which pydantic inserts after its number."""
    article = where[1:2] in (("history",), ("candidates",)) and len(where) > 3
    return [*where[:3], *where[4:]] if article else where
