"""A recommender of the service, which answers concurrent requests together."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from recbole_tinynews.rerank import ReRanking
from recbole_tinynews.serving.live_counters import EARLIER, Moment
from recbole_tinynews.serving.news_index import Shelf
from recbole_tinynews.serving.ranking import Contributions, Ranked, Ranker
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
    """A request that cannot be answered: location of the wrong field, and reason."""

    def __init__(self, where: tuple[str | int, ...], why: str) -> None:
        super().__init__(why)
        self.where, self.why = where, why


class Answer(NamedTuple):
    """Articles, best first, and if requested click weights and parts of the scores."""

    ranked: list[Ranked]
    click_weights: list[float] | None
    contributions: list[Contributions] | None


class _Asked(NamedTuple):
    user: User
    moment: Moment | None
    k: int
    click_weights: bool
    contributions: bool
    rerank: ReRanking

    def unknown(self, ranker: Ranker) -> RefusedError | None:
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
    """Answers waiting requests together; those of ids alone never wait for texts to be encoded."""

    def __init__(self, name: str, ranker: Ranker) -> None:
        self.name, self.ranker = name, ranker
        self._rank, self._top = self._lanes(self._rank_all), self._lanes(self._top_all)

    def _lanes(self, answer: _AnswerAll) -> _Lanes:
        each = partial(self._answers, answer)
        return Batches(each), Batches(each)

    async def rank(self, question: RankQuestion) -> Answer:
        """The candidates, best first; ``RefusedError``, ``RerankError`` or ``BusyError``."""
        return await self._ask(self._rank, question, question.candidates, 0)

    async def top(self, question: TopQuestion) -> Answer:
        """The best of all articles; ``RefusedError``, ``RerankError`` or ``BusyError``."""
        return await self._ask(self._top, question, [], question.k)

    async def _ask(
        self, lanes: _Lanes, question: Question, candidates: Sequence[Article], k: int
    ) -> Answer:
        user = User(_given(question.history), _given(candidates))
        has_text = not all(isinstance(each, str) for part in user for each in part)
        rerank = ReRanking.parse(question.rerank)
        of_answer = k, question.click_weights, question.contributions, rerank
        return await lanes[has_text].ask(_Asked(user, self._moment(question), *of_answer))

    def _moment(self, question: Question) -> Moment | None:
        counters, counting = self.ranker.counters, self.ranker.engine.counting
        if counters is None or counting is None:
            if question.at is not None:
                raise RefusedError(("body", "at"), "This recommender ranks by text alone.")
            return None
        moment = Moment.of(time.time() if question.at is None else question.at, question.user)
        earliest = counters.earliest(counting)
        if moment.at < earliest:
            raise RefusedError(("body", "at"), EARLIER.format(earliest, moment.at))
        return moment

    def health(self) -> RecommenderHealth:
        """Name, model, limits and number of articles."""
        settings = self.ranker.settings
        return RecommenderHealth(
            name=self.name,
            model=settings["model_class"].rpartition(".")[2],
            version=self.ranker.engine.identity,
            layers=settings["num_hidden_layers"],
            history_length=settings["history_length"],
            news=len(self.ranker.news_ids),
            popularity=self.ranker.knows_time,
        )

    def _answers(self, answer: _AnswerAll, asked: Sequence[_Asked]) -> Sequence[Answer | Exception]:
        """In a worker thread: an answer or an error for each request, which affects no other."""
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
        shelf = self.ranker.shelf
        ranked = self.ranker.rank_users(
            [each.user for each in asked],
            rerank=[each.rerank for each in asked],
            ids=True,
            moments=_moments(asked),
            shelf=shelf,
        )
        return self._explained(asked, ranked, shelf)

    def _top_all(self, asked: Sequence[_Asked]) -> list[Answer]:
        shelf = self.ranker.shelf
        if not shelf.ids:
            raise RefusedError(
                ("body",), "There are no articles to choose from. Add some with PUT /news."
            )
        ranked = self.ranker.top_users(
            [each.user.history for each in asked],
            [each.k for each in asked],
            rerank=[each.rerank for each in asked],
            ids=True,
            moments=_moments(asked),
            shelf=shelf,
        )
        return self._explained(asked, ranked, shelf)

    def _explained(
        self, asked: Sequence[_Asked], ranked: Sequence[list[Ranked]], shelf: Shelf
    ) -> list[Answer]:
        answers = []  # of the articles that were ranked: some may have been removed since
        for (user, moment, _, click_weights, contributions, _), best in zip(
            asked, ranked, strict=True
        ):
            weights = parts = None
            if click_weights:
                weights = self.ranker.click_weights(user.history, ids=True, shelf=shelf)
            if contributions and moment is not None and best:
                parts = self.ranker.contributions(
                    user.history,
                    [user.candidates[e.place] if user.candidates else e.candidate for e in best],
                    ids=True,
                    at=moment.at,
                    user=moment.user,
                    of_top=not user.candidates,
                    shelf=shelf,
                )
            answers.append(Answer(best, weights, parts))
        return answers


def _moments(asked: Sequence[_Asked]) -> list[Moment] | None:
    """Of each request: all know their time, or none does."""
    moments = [each.moment for each in asked if each.moment is not None]
    return moments or None


def _given(articles: Sequence[Article]) -> list[Given]:
    return [each if isinstance(each, str) else (each.id or "", each.fields()) for each in articles]
