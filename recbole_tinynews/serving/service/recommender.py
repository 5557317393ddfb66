"""A recommender of the service, which answers concurrent requests together."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

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
        self.where = where


class Answer(NamedTuple):
    """Articles, best first, and if requested click weights and parts of the scores."""

    ranked: list[Ranked]
    click_weights: list[float] | None
    contributions: list[Contributions] | None


class _Asked(NamedTuple):
    question: RankQuestion | TopQuestion
    user: User
    moment: Moment | None
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


class Recommender:
    """Answers waiting requests together; those of ids alone never wait for texts to be encoded."""

    def __init__(self, name: str, ranker: Ranker) -> None:
        self.name, self.ranker = name, ranker
        # by the kind of question, and whether it has texts
        self.batches: defaultdict[tuple[type, bool], Batches[_Asked, Answer]] = defaultdict(
            lambda: Batches(self._answers)
        )

    async def answer(self, question: RankQuestion | TopQuestion) -> Answer:
        """The articles, best first; ``RefusedError``, ``RerankError`` or ``BusyError``."""
        candidates = question.candidates if isinstance(question, RankQuestion) else []
        user = User(_given(question.history), _given(candidates))
        has_text = not all(isinstance(each, str) for part in user for each in part)
        rerank, moment = ReRanking.parse(question.rerank), self._moment(question)
        batches = self.batches[type(question), has_text]
        return await batches.ask(_Asked(question, user, moment, rerank))

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

    def _answers(self, asked: Sequence[_Asked]) -> Sequence[Answer | Exception]:
        """In a worker thread: an answer or an error for each request, which affects no other."""
        answers: dict[int, Answer | Exception] = {}
        for place, each in enumerate(asked):
            if refused := each.unknown(self.ranker):
                answers[place] = refused
        good = [place for place in range(len(asked)) if place not in answers]
        try:
            if good:
                found = self._answers_of([asked[place] for place in good])
                answers.update(zip(good, found, strict=True))
        except Exception as problem:  # an article was just removed, or a text can't be encoded
            if len(asked) == 1:
                return [asked[0].unknown(self.ranker) or problem]
            return [self._answers([each])[0] for each in asked]
        return [answers[place] for place in range(len(asked))]

    def _answers_of(self, asked: Sequence[_Asked]) -> list[Answer]:
        """Answers to one kind of question, by one snapshot: articles may be removed meanwhile."""
        shelf, users = self.ranker.shelf, [each.user for each in asked]
        moments = [each.moment for each in asked if each.moment is not None]  # of all, or of none
        rerank = [each.rerank for each in asked]
        how: dict[str, Any] = {"ids": True, "moments": moments or None, "shelf": shelf}
        tops = [each.question.k for each in asked if isinstance(each.question, TopQuestion)]
        if not tops:
            ranked = self.ranker.rank_users(users, rerank=rerank, **how)
        elif shelf.ids:
            histories = [each.history for each in users]
            ranked = self.ranker.top_users(histories, tops, rerank=rerank, **how)
        else:
            raise RefusedError(
                ("body",), "There are no articles to choose from. Add some with PUT /news."
            )
        return [self._explained(*each, shelf) for each in zip(asked, ranked, strict=True)]

    def _explained(self, asked: _Asked, best: list[Ranked], shelf: Shelf) -> Answer:
        question, user, moment, _ = asked
        weights = parts = None
        if question.click_weights:
            weights = self.ranker.click_weights(user.history, ids=True, shelf=shelf)
        if question.contributions and moment is not None and best:
            parts = self.ranker.contributions(
                user.history,
                [user.candidates[e.place] if user.candidates else e.candidate for e in best],
                ids=True,
                at=moment.at,
                user=moment.user,
                of_top=not user.candidates,
                shelf=shelf,
            )
        return Answer(best, weights, parts)


def _given(articles: Sequence[Article]) -> list[Given]:
    return [each if isinstance(each, str) else (each.id or "", each.fields()) for each in articles]
