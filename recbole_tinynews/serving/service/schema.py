"""What the service is asked and what it answers, with the limits of a request."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Discriminator, Field, StringConstraints, Tag

MOST_CLICKS = 1_000
MOST_CANDIDATES = 1_000
MOST_ARTICLES = 10_000  # of one PUT
MOST_FOUND = 100  # of one search
FARTHEST = 10**9  # offset of a search
HIGHEST_K = 1_000
LONGEST_ID = 200  # letters, as all that follow
LONGEST_TITLE = 1_000
LONGEST_ABSTRACT = 10_000
LONGEST_BODY = 100_000
LONGEST_CATEGORY = 200
LONGEST_QUERY = 200

NewsId = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_ID)]
Title = Annotated[str, StringConstraints(max_length=LONGEST_TITLE)]
Abstract = Annotated[str, StringConstraints(max_length=LONGEST_ABSTRACT)]
Body = Annotated[str, StringConstraints(max_length=LONGEST_BODY)]
Category = Annotated[str, StringConstraints(max_length=LONGEST_CATEGORY)]


class Asked(BaseModel):
    """A request or a part of one: nothing is converted, and no unknown name is accepted."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Fields(Asked):
    """What there is to read of an article; each recommender reads what it was trained on."""

    title: Title
    abstract: Abstract = Field("", description="Counts if the recommender reads abstracts.")
    body: Body = Field("", description="Counts if the recommender reads bodies.")
    category: Category = Field(
        "", description="Counts if the recommender reads categories, and training has seen it."
    )
    subcategory: Category = Field("", description="Likewise.")

    def fields(self) -> dict[str, str]:
        """The fields by their names."""
        return {name: getattr(self, name) for name in Fields.model_fields}


class Text(Fields):
    """An article by its text, which the service need not know."""

    id: NewsId | None = Field(None, description="Is sent back with the score.")


ID, TEXT = "id", "text"  # the kinds of an article


def _kind(article: Any) -> str | None:
    if isinstance(article, str):
        return ID
    return TEXT if isinstance(article, (dict, Text)) else None


Article = Annotated[
    Annotated[NewsId, Tag(ID)] | Annotated[Text, Tag(TEXT)],
    Discriminator(
        _kind,
        custom_error_type="article",
        custom_error_message="Expected the id of an article, or an object with its title",
    ),
    Field(description="The id of an article that the service knows, or an article by its text."),
]


class Question(Asked):
    """One reader, and which recommender is asked."""

    history: list[Article] = Field(
        max_length=MOST_CLICKS,
        description="What the reader clicked, oldest first; the newest `history_length` (see "
        "`GET /health`) count. Empty for a new reader.",
    )
    recommender: Annotated[str, StringConstraints(max_length=LONGEST_ID)] | None = Field(
        None, description="Its name in `GET /health`. By default the first one there."
    )
    click_weights: bool = Field(False, description="Whether to say how much each click counts.")


class RankQuestion(Question):
    """In which order do these candidates suit the reader?"""

    candidates: list[Article] = Field(min_length=1, max_length=MOST_CANDIDATES)


class TopQuestion(Question):
    """Which of all articles that the service knows suit the reader best?"""

    k: int = Field(10, ge=1, le=HIGHEST_K, description="How many.")


class NewsArticle(Fields):
    """An article that the service is to know by its id."""

    id: NewsId


class News(Asked):
    """Articles to add, or to change where the id is known."""

    news: list[NewsArticle] = Field(min_length=1, max_length=MOST_ARTICLES)


class RankedCandidate(BaseModel):
    """A candidate's score."""

    place: int = Field(description="Among the candidates given, from 0.")
    id: str | None = Field(description="As given; null where only a title was.")
    score: float


class RankAnswer(BaseModel):
    """The candidates, best first; equal scores stay in the order given."""

    recommender: str
    ranked: list[RankedCandidate]
    click_weights: list[float] | None = Field(
        description="For each click of the history, if asked for; they sum to 1, and clicks that "
        "are too old have 0. Null as well where the recommender has no such weights."
    )


class TopArticle(BaseModel):
    """One of the best articles."""

    id: str
    title: str
    score: float


class TopAnswer(BaseModel):
    """The best articles, best first, without those of the history."""

    recommender: str
    ranked: list[TopArticle]
    click_weights: list[float] | None = Field(description="As for `POST /rank`.")


class NewsChanged(BaseModel):
    """What a PUT did."""

    added: int
    changed: int = Field(description="Articles whose id was known.")
    total: int = Field(description="Articles that the service knows now.")


class FoundArticle(BaseModel):
    """An article that the service knows."""

    id: str
    title: str


class NewsFound(BaseModel):
    """Articles whose title has all words of the query, or whose id it is."""

    total: int = Field(description="How many there are, of which `limit` are sent.")
    news: list[FoundArticle]


class RecommenderHealth(BaseModel):
    """A recommender that can be asked."""

    name: str
    model: str
    layers: int | None = Field(description="Of its language model; null: all that there are.")
    history_length: int = Field(description="How many of the newest clicks count.")
    news: int = Field(description="Articles that it knows by id.")


class Health(BaseModel):
    """That the service is up, and what it serves."""

    status: str
    version: str
    recommenders: list[RecommenderHealth] = Field(description="The first is the default.")


class Mistake(BaseModel):
    """What is wrong with a field of a request."""

    loc: list[str | int] = Field(description="Where: body, query or path, then names and places.")
    msg: str
    type: str


class Mistakes(BaseModel):
    """All that is wrong with a request."""

    detail: list[Mistake]


class Problem(BaseModel):
    """Why a request could not be answered."""

    detail: str
