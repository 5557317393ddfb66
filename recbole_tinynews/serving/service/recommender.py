"""A recommender that answers many questions at once, each for itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from recbole_tinynews.serving.news_index import TopOfUser
from recbole_tinynews.serving.ranking import Ranked, Ranker
from recbole_tinynews.serving.requests import Given
from recbole_tinynews.serving.service.batches import Batches
from recbole_tinynews.serving.service.schema import (
    Article,
    Question,
    RankQuestion,
    RecommenderHealth,
    TopQuestion,
)


class RefusedError(Exception):
    """A field of a request that cannot be answered: where it is, and why."""

    def __init__(self, where: tuple[str | int, ...], why: str) -> None:
        super().__init__(why)
        self.where, self.why = where, why


class Answer(NamedTuple):
    """What a reader gets, best first, and how much each click counted, if that was asked."""

    ranked: list[Ranked]
    click_weights: list[float] | None


class _Asked(NamedTuple):
    """A question as ``Ranker`` takes it: ids, and (id, text) pairs."""

    history: list[Given]
    candidates: list[Given]
    k: int
    click_weights: bool

    def unknown(self, ranker: Ranker) -> RefusedError | None:
        """The first id that the ranker doesn't know, if there is one."""
        for field, articles in (("history", self.history), ("candidates", self.candidates)):
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
    """A ``Ranker`` under a name; questions that wait are answered together.

    Questions of ids alone have a lane of their own, so that none of them waits while the text of
    another question is encoded.
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
            BusyError: too many questions wait.
        """
        return await self._ask(self._rank, question, question.candidates, 0)

    async def top(self, question: TopQuestion) -> Answer:
        """The best of all articles.

        Raises:
            RefusedError: an id is unknown, or there are no articles.
            BusyError: too many questions wait.
        """
        return await self._ask(self._top, question, [], question.k)

    async def _ask(
        self, lanes: _Lanes, question: Question, candidates: Sequence[Article], k: int
    ) -> Answer:
        asked = _Asked(
            self._given(question.history), self._given(candidates), k, question.click_weights
        )
        new_text = not all(isinstance(each, str) for each in (*asked.history, *asked.candidates))
        return await lanes[new_text].ask(asked)

    def _given(self, articles: Sequence[Article]) -> list[Given]:
        return [
            each if isinstance(each, str) else (each.id or "", each.fields()) for each in articles
        ]

    def health(self) -> RecommenderHealth:
        """What it is, and what it knows."""
        settings = self.ranker.settings
        return RecommenderHealth(
            name=self.name,
            model=settings["model_class"].rpartition(".")[2],
            layers=settings["num_hidden_layers"],
            history_length=settings["history_length"],
            news=len(self.ranker.news_ids),
        )

    # ------------------------------------------------------------------------ in a worker thread

    def _answers(
        self, answer: _AnswerAll, questions: Sequence[_Asked]
    ) -> Sequence[Answer | Exception]:
        """An answer for each question, or what is wrong with it: no other question suffers."""
        answers: dict[int, Answer | Exception] = {}
        for place, question in enumerate(questions):
            if refused := question.unknown(self.ranker):
                answers[place] = refused
        good = [place for place in range(len(questions)) if place not in answers]
        try:
            answers.update(zip(good, answer([questions[place] for place in good]), strict=True))
        except Exception as problem:  # an article was just removed, or a text can't be encoded
            if len(questions) == 1:
                return [questions[0].unknown(self.ranker) or problem]
            return [self._answers(answer, [question])[0] for question in questions]
        return [answers[place] for place in range(len(questions))]

    def _rank_all(self, questions: Sequence[_Asked]) -> list[Answer]:
        if not questions:
            return []
        ranked = self.ranker.rank(
            [each.history for each in questions],
            [each.candidates for each in questions],
            ids=True,
        )
        return self._with_weights(questions, ranked)

    def _top_all(self, questions: Sequence[_Asked]) -> list[Answer]:
        if not questions:
            return []
        if not self.ranker.news_ids:
            raise RefusedError(
                ("body",), "There are no articles to choose from. Add some with PUT /news."
            )
        histories = [each.history for each in questions]
        found = self.ranker.top_rows(histories, max(each.k for each in questions), ids=True)
        ranked = [_first(*each) for each in zip(found, questions, strict=True)]
        return self._with_weights(questions, ranked)

    def _with_weights(
        self, questions: Sequence[_Asked], ranked: Sequence[list[Ranked]]
    ) -> list[Answer]:
        return [
            Answer(
                best,
                self.ranker.click_weights(each.history, ids=True) if each.click_weights else None,
            )
            for each, best in zip(questions, ranked, strict=True)
        ]


def _first(best: TopOfUser, question: _Asked) -> list[Ranked]:
    scores = best.scores[: question.k].tolist()
    return [
        Ranked(*each)
        for each in zip(best.ids[: len(scores)], scores, best.rows[: len(scores)], strict=True)
    ]
