"""The service as an ASGI application, and its routes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Query, Request
from fastapi.responses import FileResponse, PlainTextResponse, Response
from fastapi_offline import FastAPIOffline
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.convertors import PathConvertor, register_url_convertor

from recbole_tinynews import __version__
from recbole_tinynews.serving.service import MAX_BODY
from recbole_tinynews.serving.service.gate import Gate
from recbole_tinynews.serving.service.metrics import Metrics
from recbole_tinynews.serving.service.mistakes import AsciiResponse, add_handlers
from recbole_tinynews.serving.service.newsroom import Newsroom
from recbole_tinynews.serving.service.recommender import Answer
from recbole_tinynews.serving.service.schema import (
    FARTHEST,
    LONGEST_QUERY,
    MOST_FOUND,
    Events,
    EventsAdded,
    Health,
    Mistakes,
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
DESCRIPTION = """Ranks news for readers by what they clicked. An article is given by the id of one
that the service knows, or by its text: `{"title": "Rain again", "id": "optional"}`."""


class AnyText(PathConvertor):
    """A path parameter with any characters, including line breaks."""

    regex = "(?s:.*)"


register_url_convertor("any", AnyText())
router = APIRouter()
FAILURES: dict[int | str, dict[str, Any]] = {
    413: {"description": "The body is too large."},
    422: {"description": "A field is wrong.", "model": Mistakes},
    503: {"description": "Too many wait, or the store does not answer.", "model": Problem},
}
UNKNOWN: dict[int | str, dict[str, Any]] = {
    404: {"description": "No such article.", "model": Problem}
}


def make_app(newsroom: Newsroom, max_body: int = MAX_BODY, token: str | None = None) -> FastAPI:
    """The service as an ASGI application, whose ``state.newsroom`` may be replaced.

    ``max_body``: bytes; ``token``: expected of all requests but ``/livez`` and ``/readyz``.
    """
    app = FastAPIOffline(  # serves Swagger UI itself instead of linking to a CDN
        title="recbole_tinynews",
        version=__version__,
        description=DESCRIPTION,
        redoc_url=None,
        lifespan=_following,
    )
    app.state.newsroom = newsroom
    app.state.metrics = Metrics(app.state)
    app.include_router(router)
    app.add_middleware(Gate, metrics=app.state.metrics, token=token, max_body=max_body)
    add_handlers(app)
    return app


@asynccontextmanager
async def _following(app: FastAPI) -> AsyncIterator[None]:
    """Takes over what other processes change in the store, while the service runs."""
    tasks = [
        asyncio.create_task(_repeat(app, follow))
        for follow in (Newsroom.follow_events, Newsroom.follow_articles)
    ]
    yield
    for task in tasks:
        task.cancel()


async def _repeat(app: FastAPI, follow: Callable[[Newsroom], None]) -> None:
    last = None
    while True:
        await asyncio.sleep(POLL)
        try:
            await asyncio.to_thread(follow, app.state.newsroom)
        except Exception as problem:  # the service ranks with what it has
            if str(problem) != last:
                LOG.exception("The store is not read; trying again.")
            last = str(problem)
        else:
            last = None


def _newsroom(request: Request) -> Newsroom:
    newsroom: Newsroom = request.app.state.newsroom
    return newsroom


Room = Annotated[Newsroom, Depends(_newsroom)]


@router.post("/rank", response_model=RankAnswer, responses=FAILURES, tags=["ranking"])
async def rank(question: RankQuestion, newsroom: Room) -> Response:
    """Rank candidates for a reader."""
    recommender = newsroom.recommender(question.recommender)
    answer = await recommender.answer(question)
    ids = [each if isinstance(each, str) else each.id for each in question.candidates]
    ranked = [
        {"place": each.place, "id": ids[each.place], "score": each.score} for each in answer.ranked
    ]
    return _answer(recommender.name, ranked, answer)


@router.post("/top", response_model=TopAnswer, responses=FAILURES, tags=["ranking"])
async def top(question: TopQuestion, newsroom: Room) -> Response:
    """Find the best of all articles for a reader, excluding those clicked."""
    recommender = newsroom.recommender(question.recommender)
    answer = await recommender.answer(question)
    title = newsroom.titles.title
    ranked = [
        {"id": each.candidate, "title": title(each.candidate), "score": each.score}
        for each in answer.ranked
    ]
    return _answer(recommender.name, ranked, answer)


def _answer(name: str, ranked: list[dict[str, Any]], answer: Answer) -> Response:
    # bypasses FastAPI's validation of every field, which took longer than ranking
    content = {"recommender": name, "ranked": ranked, "click_weights": answer.click_weights}
    parts = answer.contributions
    content["contributions"] = None if parts is None else [each._asdict() for each in parts]
    content["warning"] = answer.warning
    return AsciiResponse(content)


@router.post("/events", response_model=EventsAdded, responses=FAILURES, tags=["events"])
async def post_events(events: Events, newsroom: Room, request: Request) -> Response:
    """Count exposures and clicks. The answer means that they are committed."""
    added = await newsroom.count(events.events)
    outcomes = {**added._asdict(), "refused": len(added.refused)}
    for outcome, number in outcomes.items():
        request.app.state.metrics.events.labels(outcome).inc(number)
    refused = [each._asdict() for each in added.refused]
    return AsciiResponse({**added._asdict(), "refused": refused})


@router.put("/news", responses=FAILURES, tags=["news"])
async def put_news(news: News, newsroom: Room) -> NewsChanged:
    """Add articles, or update those with known ids. The answer means that they are committed."""
    return await newsroom.put(news.news)


@router.get("/news", response_model=NewsFound, responses={422: FAILURES[422]}, tags=["news"])
def find_news(
    newsroom: Room,
    query: Annotated[str, Query(max_length=LONGEST_QUERY)] = "",
    limit: Annotated[int, Query(ge=1, le=MOST_FOUND)] = 20,
    offset: Annotated[int, Query(ge=0, le=FARTHEST)] = 0,
) -> Response:
    """Articles whose title has all words of the query, or whose id is the query."""
    found = newsroom.titles.find(query.strip(), offset, limit)
    news = [{"id": name, "title": title} for name, title in found.articles]
    return AsciiResponse({"total": found.total, "news": news})


@router.delete("/news/{news_id:any}", status_code=204, responses=UNKNOWN, tags=["news"])
async def forget_news(news_id: str, newsroom: Room) -> Response:
    """Remove an article."""
    if not await newsroom.forget(news_id):
        return AsciiResponse({"detail": f"No article has the id {news_id[:100]!r}."}, 404)
    return Response(status_code=204)


@router.get("/health", tags=["health"])
async def health(newsroom: Room) -> Health:
    """Service status and recommenders."""
    return Health(
        status="ok",
        version=__version__,
        recommenders=[each.health() for each in newsroom.recommenders.values()],
    )


@router.get("/livez", tags=["health"])
async def live() -> Status:
    """Whether the process answers."""
    return Status(status="ok")


@router.get("/readyz", responses={503: FAILURES[503]}, tags=["health"])
async def ready(newsroom: Room) -> Readiness:
    """Whether the process answers with what is in its store."""
    if time.monotonic() - newsroom.read_at > STALE:
        raise HTTPException(503, "The store does not answer.")
    return Readiness(status="ok", warning=newsroom.warning())


@router.get("/metrics", tags=["health"], response_class=PlainTextResponse)
def metrics(request: Request) -> Response:
    """Metrics for Prometheus."""
    return Response(request.app.state.metrics.text(), media_type=CONTENT_TYPE_LATEST)


@router.get("/", include_in_schema=False)
def page() -> FileResponse:
    """The HTML page."""
    return FileResponse(PAGE / "index.html", media_type="text/html", headers=PAGE_HEADERS)


@router.get("/page/{name}", include_in_schema=False, response_model=None)
def page_file(name: str) -> Response:
    """A file of the page."""
    if name not in PAGE_FILES:
        return AsciiResponse({"detail": "Not Found"}, 404)
    return FileResponse(PAGE / name, media_type=PAGE_FILES[name], headers=PAGE_HEADERS)
