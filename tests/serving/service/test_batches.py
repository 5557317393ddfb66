from __future__ import annotations

import asyncio
import threading
import time

import pytest

from recbole_tinynews.serving.service.batches import Batches, BusyError


def test_everyone_gets_their_own_answer_however_they_are_batched() -> None:
    sizes: list[int] = []

    def double(questions):
        sizes.append(len(questions))
        time.sleep(0.001)
        return [2 * each for each in questions]

    async def ask() -> list[int]:
        batches = Batches(double, most=7)
        return await asyncio.gather(*(batches.ask(number) for number in range(100)))

    assert asyncio.run(ask()) == [2 * number for number in range(100)]
    assert sum(sizes) == 100
    assert max(sizes) == 7


def test_an_idle_service_answers_one_question_at_once() -> None:
    """A delay that lets a batch fill would be added to every quiet request."""
    began: list[float] = []

    def answer(questions):
        began.append(time.perf_counter())
        return questions

    async def ask() -> list[float]:
        batches, waits = Batches(answer), []
        for number in range(20):
            asked = time.perf_counter()
            await batches.ask(number)
            waits.append(began[-1] - asked)
        return waits

    assert min(asyncio.run(ask())) < 0.005
    assert len(began) == 20


def test_an_exception_reaches_who_asked_for_it_alone() -> None:
    def answer(questions):
        return [ValueError(each) if each == 3 else each for each in questions]

    async def ask() -> list:
        batches = Batches(answer)
        return await asyncio.gather(
            *(batches.ask(number) for number in range(6)), return_exceptions=True
        )

    answers = asyncio.run(ask())
    assert isinstance(answers[3], ValueError)
    assert [each for each in answers if not isinstance(each, Exception)] == [0, 1, 2, 4, 5]


def test_a_call_that_fails_fails_its_batch_and_no_later_one() -> None:
    """Whoever waited would wait for ever, and so would all who come after them."""
    calls = []

    def answer(questions):
        calls.append(questions)
        if len(calls) == 1:
            raise RuntimeError("a bug")
        return questions

    async def ask() -> None:
        batches = Batches(answer)
        with pytest.raises(RuntimeError, match="a bug"):
            await batches.ask(1)
        assert await batches.ask(2) == 2

    asyncio.run(ask())


def test_who_goes_away_takes_no_one_else_s_answer() -> None:
    go = threading.Event()

    def answer(questions):
        assert go.wait(10)
        return questions

    async def ask() -> None:
        batches = Batches(answer)
        gone, stays = (asyncio.create_task(batches.ask(number)) for number in (1, 2))
        await asyncio.sleep(0.01)
        gone.cancel()
        go.set()
        assert await stays == 2
        assert await batches.ask(3) == 3

    asyncio.run(ask())


def test_more_than_may_wait_are_refused_at_once() -> None:
    go = threading.Event()

    def answer(questions):
        assert go.wait(10)
        return questions

    async def ask() -> None:
        batches = Batches(answer, most_waiting=2)
        first = asyncio.create_task(batches.ask(0))
        await asyncio.sleep(0.05)
        waiting = [asyncio.create_task(batches.ask(number)) for number in (1, 2)]
        await asyncio.sleep(0)
        with pytest.raises(BusyError):
            await batches.ask(3)
        go.set()
        assert await asyncio.gather(first, *waiting) == [0, 1, 2]

    asyncio.run(ask())
