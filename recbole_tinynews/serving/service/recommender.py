"""A recommender of the service: many requests are answered at once, each independently."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from recbole_tinynews.serving.ranking import Ranked, Ranker
from recbole_tinynews.serving.requests import Given, User
from recbole_tinynews.serving.service.batches import Batches
from recbole_tinynews.serving.service.schema import (
    Article,
    Question,
    RankQuestion,
    RecommenderHealth,
    TopQuestion,
)


class RefusedError(Exception):
    """A request that cannot be answered: the location of the wrong field, and the reason."""

    def __init__(self, where: tuple[str | int, ...], why: str) -> None:
        super().__init__(why)
        self.where, self.why = where, why


class Answer(NamedTuple):
    """A reader's articles, best first, and the weights of the clicks if requested."""

    ranked: list[Ranked]
    click_weights: list[float] | None


class _Asked(NamedTuple):
    """A request in the terms of ``Ranker``: ids, and (id, fields) pairs."""

    user: User
    k: int
    click_weights: bool

    def unknown(self, ranker: Ranker) -> RefusedError | None:
        """The refusal of the first unknown id, if there is one."""
        for field, articles in self.user._asdict().items():
            for place, article in enumerate(articles):
                if isinstance(article, str) and article not in ranker:
                    return RefusedError(
                        ("body", field, place),
                        f"No article has the id {article[:100]!r}. Add it with PUT /news, or send "
                        'its text: {"title": ...}.',
                    )
        return None


_AnswerAll = Callable[[Sequence[_Asked]], Sequence[Answer]]
_Lanes = tuple[Batches[_Asked, Answer], Batches[_Asked, Answer]]


class Recommender:
    """A named ``Ranker`` that answers waiting requests together.

    Requests that consist of ids alone have their own lane: they never wait for the encoding of
    another request's text.
    """

    def __init__(self, name: str, ranker: Ranker) -> None:
        self.name, self.ranker = name, ranker
        self._rank, self._top = self._lanes(self._rank_all), self._lanes(self._top_all)

    def _lanes(self, answer: _AnswerAll) -> _Lanes:
        each = partial(self._answers, answer)
        return Batches(each), Batches(each)

    async def rank(self, question: RankQuestion) -> Answer:
        """The candidates, best first.

        Raises:
            RefusedError: an id is unknown.
            BusyError: too many requests wait.
        """
        return await self._ask(self._rank, question, question.candidates, 0)

    async def top(self, question: TopQuestion) -> Answer:
        """The best of all articles.

        Raises:
            RefusedError: an id is unknown, or there are no articles.
            BusyError: too many requests wait.
        """
        return await self._ask(self._top, question, [], question.k)

    async def _ask(
        self, lanes: _Lanes, question: Question, candidates: Sequence[Article], k: int
    ) -> Answer:
        user = User(_given(question.history), _given(candidates))
        has_text = not all(isinstance(each, str) for part in user for each in part)
        return await lanes[has_text].ask(_Asked(user, k, question.click_weights))

    def health(self) -> RecommenderHealth:
        """Its model, its limits and the number of its articles."""
        settings = self.ranker.settings
        return RecommenderHealth(
            name=self.name,
            model=settings["model_class"].rpartition(".")[2],
            layers=settings["num_hidden_layers"],
            history_length=settings["history_length"],
            news=len(self.ranker.news_ids),
        )

    # ------------------------------------------------------------------------ in a worker thread

    def _answers(self, answer: _AnswerAll, asked: Sequence[_Asked]) -> Sequence[Answer | Exception]:
        """An answer to each request, or its error, which affects no other request."""
        answers: dict[int, Answer | Exception] = {}
        for place, each in enumerate(asked):
            if refused := each.unknown(self.ranker):
                answers[place] = refused
        good = [place for place in range(len(asked)) if place not in answers]
        try:
            if good:
                answers.update(zip(good, answer([asked[place] for place in good]), strict=True))
        except Exception as problem:  # an article was just removed, or a text can't be encoded
            if len(asked) == 1:
                return [asked[0].unknown(self.ranker) or problem]
            return [self._answers(answer, [each])[0] for each in asked]
        return [answers[place] for place in range(len(asked))]

    def _rank_all(self, asked: Sequence[_Asked]) -> list[Answer]:
        ranked = self.ranker.rank_users([each.user for each in asked], ids=True)
        return self._with_weights(asked, ranked)

    def _top_all(self, asked: Sequence[_Asked]) -> list[Answer]:
        if not self.ranker.news_ids:
            raise RefusedError(
                ("body",), "There are no articles to choose from. Add some with PUT /news."
            )
        histories = [each.user.history for each in asked]
        found = self.ranker.top_rows(histories, max(each.k for each in asked), ids=True)
        ranked = [
            [Ranked(*row) for row in zip(best.ids, best.scores.tolist(), best.rows, strict=True)]
            for best in found
        ]
        return self._with_weights(
            asked, [best[: each.k] for each, best in zip(asked, ranked, strict=True)]
        )

    def _with_weights(
        self, asked: Sequence[_Asked], ranked: Sequence[list[Ranked]]
    ) -> list[Answer]:
        weights = self.ranker.click_weights
        return [
            Answer(best, weights(each.user.history, ids=True) if each.click_weights else None)
            for each, best in zip(asked, ranked, strict=True)
        ]


def _given(articles: Sequence[Article]) -> list[Given]:
    return [each if isinstance(each, str) else (each.id or "", each.fields()) for each in articles]
