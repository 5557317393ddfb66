"""Error responses, which never reveal internals."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DBAPIError
from starlette.exceptions import HTTPException

from recbole_tinynews.evaluation.rerank import RerankError
from recbole_tinynews.serving.service.batches import BusyError
from recbole_tinynews.serving.service.recommender import RefusedError

UNREADABLE = "The body can't be read as JSON. Send UTF-8 and Content-Type: application/json."
LONGEST_NAME = 100  # characters of a field's name that are sent back
TRY_AGAIN: dict[type[Exception], str] = {  # a 503, by the error
    BusyError: "Too many requests wait already. Try again in a second.",
    DBAPIError: "The store does not answer: nothing is known to be committed. Send it again.",
}


class AsciiResponse(JSONResponse):
    """JSON in ASCII: requests may contain lone surrogates, which UTF-8 cannot encode."""

    def render(self, content: Any) -> bytes:
        """Serialise the content."""
        return json.dumps(content).encode()


def add_handlers(app: FastAPI) -> None:
    """Register JSON responses for errors."""
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(RefusedError, _refused)
    app.add_exception_handler(RerankError, _refused)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _failed)
    for kind, detail in TRY_AGAIN.items():
        app.add_exception_handler(kind, partial(_unavailable, detail))


def _mistakes(mistakes: Sequence[tuple[Sequence[str | int], str, str]]) -> AsciiResponse:
    """A 422 without the rejected values, which may be long or not representable in JSON."""
    detail = [
        {
            "loc": [part[:LONGEST_NAME] if isinstance(part, str) else part for part in where],
            "msg": message,
            "type": kind,
        }
        for where, message, kind in mistakes
    ]
    return AsciiResponse({"detail": detail}, 422)


def _invalid(request: Request, problem: Exception) -> AsciiResponse:
    assert isinstance(problem, RequestValidationError)
    return _mistakes(
        [(_without_kind(each["loc"]), _message(each), each["type"]) for each in problem.errors()]
    )


def _message(mistake: Mapping[str, Any]) -> str:
    detail = f": {mistake['ctx']['error']}" if mistake["type"] == "json_invalid" else ""
    return f"{mistake['msg']}{detail}"


def _without_kind(where: Sequence[str | int]) -> Sequence[str | int]:
    """The location without the kind of an article, which pydantic inserts after its number."""
    article = where[1:2] in (("history",), ("candidates",)) and len(where) > 3
    return [*where[:3], *where[4:]] if article else where


def _refused(request: Request, problem: Exception) -> AsciiResponse:
    where = problem.where if isinstance(problem, RefusedError) else ("body", "rerank")
    return _mistakes([(where, str(problem), "refused")])


def _unavailable(detail: str, request: Request, problem: Exception) -> AsciiResponse:
    return AsciiResponse({"detail": detail}, 503, {"Retry-After": "1"})


def _http(request: Request, problem: Exception) -> AsciiResponse:
    assert isinstance(problem, HTTPException)
    if problem.status_code == 400:  # FastAPI's response to a body that is not JSON
        return _mistakes([(("body",), UNREADABLE, "json_invalid")])
    return AsciiResponse({"detail": problem.detail}, problem.status_code, problem.headers)


def _failed(request: Request, problem: Exception) -> AsciiResponse:
    return AsciiResponse({"detail": "The request failed; the service's log says why."}, 500)
