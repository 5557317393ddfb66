"""Requests to the service, and their limits."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from recbole_tinynews.data.popularity import LATEST
from recbole_tinynews.evaluation.rerank import EXAMPLE
from recbole_tinynews.serving.events import LONGEST

MOST_ARTICLES = 1_000  # clicks or candidates of a request

NewsId = Annotated[
    str, StringConstraints(min_length=1, max_length=LONGEST, pattern="^[^\\x00\\n]*$")
]  # PostgreSQL stores no NUL, and no path has a line end
Name = Annotated[str, StringConstraints(max_length=LONGEST)]  # may be empty
Seconds = Annotated[float, Field(ge=0, le=LATEST, description="UTC seconds.")]


class Asked(BaseModel):
    """A part of a request, strict: no conversion, no unknown fields."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Fields(Asked):
    """The fields of an article; a recommender reads those it was trained on."""

    title: str = Field(max_length=1_000)
    abstract: str = Field(
        "", max_length=10_000, description="Counts if the recommender reads abstracts."
    )
    body: str = Field("", max_length=100_000, description="Counts if the recommender reads bodies.")
    category: Name = Field("", description="Counts if the recommender reads categories.")
    subcategory: Name = Field("", description="Likewise.")
    source: Name = Field("", description="The publisher, for `rerank`.")


class Text(Fields):
    """An article given by its text, known to the service or not."""

    id: NewsId | None = Field(None, description="Returned with the score.")


AnyArticle = Annotated[
    NewsId | Text, Field(description="The id of a known article, or an article by its text.")
]


class Question(Asked):
    """A reader and a recommender."""

    history: list[AnyArticle] = Field(
        [],
        max_length=MOST_ARTICLES,
        description="The reader's clicks, oldest first; the newest `history_length` (see "
        "`GET /health`) count. Empty for a new reader, or one whose clicks the store has, for "
        "recommenders with `history_from: log`.",
    )
    recommender: Name | None = Field(
        None, description="Its name in `GET /health`. By default the first one there."
    )
    click_weights: bool = Field(
        False,
        description="Whether to say how much each click of the history counts; those that the "
        "store adds have the rest to 1.",
    )
    at: Seconds | None = Field(
        None,
        description="For recommenders with popularity: clicks and exposures before then count; "
        "refused if these are summed up already. By default now.",
    )
    user: Name = Field(
        "",
        description="Whose own clicks and exposures are left out, or for recommenders with "
        "`reader` stand apart. Empty: unknown.",
    )
    page: Name = Field(
        "",
        description="For recommenders with `context`: id of the article that the reader is "
        "reading. Empty or unknown: none.",
    )
    device: Name = Field("", description="Its kind, as in training. Empty: unknown.")
    subscriber: bool | None = Field(None, description="Whether the reader subscribes.")
    contributions: bool = Field(
        False,
        description="Whether to say what text, popularity, freshness and the reader's part add to "
        "each score.",
    )
    rerank: list[str | dict[str, Any]] = Field(
        [],
        max_length=20,
        description=f"Applied in this order, some of {EXAMPLE}, in JSON. Removed candidates are "
        "not returned.",
    )


class RankQuestion(Question):
    """Rank candidates."""

    candidates: list[AnyArticle] = Field(min_length=1, max_length=MOST_ARTICLES)


class TopQuestion(Question):
    """Find the best of all articles."""

    k: int = Field(10, ge=1, le=1_000, description="How many.")


class NewsArticle(Fields):
    """An article with an id."""

    id: NewsId
    published: Seconds | None = Field(
        None, description="By default its age counts from its first exposure."
    )


class News(Asked):
    """Articles to add or change."""

    news: list[NewsArticle] = Field(min_length=1, max_length=10_000)


class Events(Asked):
    """Events to count. A bad one is refused alone."""

    events: list[Any] = Field(
        min_length=1,
        max_length=10_000,
        description="Each has an `id` (unique: one that is sent again counts once), `kind` "
        "(`exposure` or `click`), `article` (a known id), `user` (empty: unknown) and `time` (UTC "
        "seconds).",
    )
