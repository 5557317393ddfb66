"""A recommender of the service, which answers concurrent requests together."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

from recbole_tinynews.evaluation.rerank import ReRanking
from recbole_tinynews.serving.events import LATEST
from recbole_tinynews.serving.live_counters import EARLIER, Moment
from recbole_tinynews.serving.news_index import Shelf
from recbole_tinynews.serving.ranking import Contributions, Ranked, Ranker
from recbole_tinynews.serving.requests import Given, User
from recbole_tinynews.serving.service.batches import Batches
from recbole_tinynews.serving.service.schema import (
    Article,
    RankQuestion,
    RecommenderHealth,
    TopQuestion,
)


class RefusedError(Exception):
    """A request that cannot be answered: location of the wrong field, and reason."""

    def __init__(self, where: tuple[str | int, ...], why: str) -> None:
        super().__init__(why)
        self.where = where


TEXT_ALONE = (
    "Ranked by text alone: the service's clock says {:.0f} (UTC seconds), and its counters are "
    "known from {} on. Set its clock, or take events with a wrong time out of the store: "
    "recbole-tinynews events STORE --drop-after=TIME."
)


class Answer(NamedTuple):
    """Articles, best first, and if requested click weights and parts of the scores.

    ``warning``: why the service's clock makes it rank by text alone, if so.
    """

    ranked: list[Ranked]
    click_weights: list[float] | None
    contributions: list[Contributions] | None
    warning: str | None


class _Asked(NamedTuple):
    question: RankQuestion | TopQuestion
    user: User
    moment: Moment | None
    rerank: ReRanking
    warning: str | None

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
        # by the kind of question, whether it has texts, and whether events count
        self.batches: defaultdict[tuple[type, bool, bool], Batches[_Asked, Answer]] = defaultdict(
            lambda: Batches(self._answers)
        )

    async def answer(self, question: RankQuestion | TopQuestion) -> Answer:
        """The articles, best first; ``RefusedError``, ``RerankError`` or ``BusyError``."""
        candidates = question.candidates if isinstance(question, RankQuestion) else []
        user = User(_given(question.history), _given(candidates))
        has_text = not all(isinstance(each, str) for part in user for each in part)
        rerank = ReRanking.parse(question.rerank)
        asked = self._at_its_moment(_Asked(question, user, None, rerank, None))
        batches = self.batches[type(question), has_text, asked.moment is not None]
        return await batches.ask(asked)

    def _at_its_moment(self, asked: _Asked) -> _Asked:
        """With its moment, or a warning if counters are not known by the service's clock."""
        at, earliest = asked.question.at, self._earliest()
        if earliest is None:
            if at is not None:
                raise RefusedError(("body", "at"), "This recommender ranks by text alone.")
            return asked
        now = min(max(time.time(), 0), LATEST) if at is None else at
        if now >= earliest:
            return asked._replace(moment=Moment.of(now, asked.question.user))
        if at is not None:
            raise RefusedError(("body", "at"), EARLIER.format(earliest, math.floor(at)))
        return asked._replace(moment=None, warning=TEXT_ALONE.format(now, earliest))

    def _earliest(self) -> int | None:
        """The earliest moment of its counters (UTC seconds); ``None``: it counts nothing."""
        counters, counting = self.ranker.counters, self.ranker.engine.counting
        return None if counters is None or counting is None else counters.earliest(counting)

    def warning(self) -> str | None:
        """Why the service's clock makes it rank by text alone now, if so."""
        now, earliest = time.time(), self._earliest()
        return None if now >= (earliest or 0) else TEXT_ALONE.format(now, earliest)

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
                return [self._answer_after(problem, asked[0])]
            return [self._answers([each])[0] for each in asked]
        return [answers[place] for place in range(len(asked))]

    def _answer_after(self, problem: Exception, asked: _Asked) -> Answer | Exception:
        if refused := asked.unknown(self.ranker):
            return refused
        if asked.moment is None or asked.moment.at >= (self._earliest() or 0):
            return problem
        try:  # events were just summed up, by another process's clock
            return self._answers([self._at_its_moment(asked)])[0]
        except RefusedError as refused:
            return refused

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
        question, user, moment, _, warning = asked
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
        return Answer(best, weights, parts, warning)


def _given(articles: Sequence[Article]) -> list[Given]:
    return [each if isinstance(each, str) else (each.id or "", each.fields()) for each in articles]
