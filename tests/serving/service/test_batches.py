from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from starlette.exceptions import HTTPException

from recbole_tinynews.serving.ranker import Query, Ranker
from recbole_tinynews.serving.service.state import Batches, ServedRecommender

pytestmark = pytest.mark.whole


def answers_to(answer: Callable[[Sequence[int]], Any], number: int, **limits: int) -> list[Any]:
    """Answers or exceptions for questions that are asked at once."""

    async def ask() -> list[Any]:
        batches = Batches(answer, **limits)
        asked = (batches.ask(question) for question in range(number))
        return await asyncio.gather(*asked, return_exceptions=True)

    return asyncio.run(ask())


def test_everyone_gets_their_own_answer_however_they_are_batched() -> None:
    """An exception too reaches only who asked for it."""
    sizes: list[int] = []

    def double(questions: Sequence[int]) -> list[Any]:
        sizes.append(len(questions))
        time.sleep(0.001)
        return [ValueError(each) if each == 3 else 2 * each for each in questions]

    answers = answers_to(double, 100, most=7)
    assert isinstance(answers.pop(3), ValueError)
    assert answers == [2 * number for number in range(100) if number != 3]
    assert (sum(sizes), max(sizes)) == (100, 7)


def test_an_idle_service_answers_one_question_at_once() -> None:
    """A delay that lets a batch fill would be added to every quiet request."""
    began: list[float] = []

    async def ask() -> list[float]:
        batches = Batches(lambda questions: began.append(time.perf_counter()) or questions)
        waits = []
        for number in range(20):
            asked = time.perf_counter()
            await batches.ask(number)
            waits.append(began[-1] - asked)
        return waits

    assert min(asyncio.run(ask())) < 0.005
    assert len(began) == 20


def test_a_call_that_fails_fails_its_batch_and_no_later_one() -> None:
    """Whoever waited would wait for ever, and so would all who come after them."""
    calls = iter([RuntimeError("a bug")])

    def answer(questions: Sequence[int]) -> Sequence[int]:
        for bug in calls:
            raise bug
        return questions

    bug, *others = answers_to(answer, 3, most=1)
    assert (str(bug), others) == ("a bug", [1, 2])


def test_who_waits_is_counted_and_who_goes_away_takes_no_one_else_s_answer() -> None:
    """More than may wait are refused at once."""
    go = threading.Event()

    def answer(questions: Sequence[int]) -> Sequence[int]:
        assert go.wait(10)
        return questions

    async def ask() -> None:
        batches = Batches(answer, most_waiting=2)
        first = asyncio.create_task(batches.ask(0))
        await asyncio.sleep(0.05)
        gone, stays = (asyncio.create_task(batches.ask(number)) for number in (1, 2))
        await asyncio.sleep(0)
        with pytest.raises(HTTPException, match="503") as refused:
            await batches.ask(3)
        assert refused.value.headers == {"Retry-After": "1"}
        gone.cancel()
        go.set()
        assert await asyncio.gather(first, stays) == [0, 2]
        assert await batches.ask(3) == 3

    asyncio.run(ask())


def test_a_request_that_fails_leaves_the_others_together(kept_rankers: dict[str, Ranker]) -> None:
    """Ranked one by one, they would all wait for whoever sends an id that was just removed."""
    from recbole_tinynews.serving.article_index import UnknownArticleError
    from recbole_tinynews.serving.service.schema import RankQuestion

    sizes: list[int] = []

    class Counted(Ranker):
        def answer(self, queries: Sequence[Query], *how: Any) -> Any:
            answers = super().answer(queries, *how)
            sizes.append(len(queries))
            return answers

    served = ServedRecommender("counted", Counted(kept_rankers["student"].engine))
    served.ranker.add_news({f"N{number}": f"word{number}" for number in range(32)})
    names = [*(f"N{number}" for number in range(31)), "gone"]
    questions = [RankQuestion(history=[], candidates=[name]) for name in names]
    *answers, gone = served._answers([served._asked(each) for each in questions])
    assert [answer["ranked"][0].candidate for answer in answers] == names[:-1]
    assert isinstance(gone, UnknownArticleError)
    assert (list(gone.where), sizes) == (["candidates", 0], [16, 8, 4, 2, 1])
