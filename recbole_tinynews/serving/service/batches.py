"""Batching: questions that arrive while others are being answered are answered together."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Q = TypeVar("Q")
A = TypeVar("A")


class BusyError(Exception):
    """Too many questions wait."""


class Batches(Generic[Q, A]):
    """Collects waiting questions and answers them in one call in a worker thread.

    Nothing waits for a batch to fill: an idle service answers at once. An instance belongs to one
    event loop.

    Args:
        answer: questions -> an answer or an exception for each.
        most: questions in one call.
        most_waiting: questions that may wait; further ones are refused.
    """

    def __init__(
        self,
        answer: Callable[[Sequence[Q]], Sequence[A | Exception]],
        most: int = 64,
        most_waiting: int = 1_000,
    ) -> None:
        self._answer, self.most, self.most_waiting = answer, most, most_waiting
        self._waiting: deque[tuple[Q, asyncio.Future[A]]] = deque()
        self._worker: asyncio.Task[None] | None = None

    async def ask(self, question: Q) -> A:
        """The answer to one question.

        Raises:
            BusyError: too many wait already.
            Exception: what ``answer`` gave for this question.
        """
        if len(self._waiting) >= self.most_waiting:
            raise BusyError
        answer: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, answer))
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())
        return await answer

    async def _work(self) -> None:
        try:
            while self._waiting:
                size = min(self.most, len(self._waiting))
                await self._answer_all([self._waiting.popleft() for _ in range(size)])
        finally:
            self._worker = None

    async def _answer_all(self, batch: list[tuple[Q, asyncio.Future[A]]]) -> None:
        questions = [question for question, _ in batch]
        answers: Sequence[A | Exception]
        try:
            answers = await asyncio.to_thread(self._answer, questions)
        except Exception as problem:
            answers = [problem] * len(batch)
        for (_, future), answer in zip(batch, answers, strict=True):
            if future.done():  # the client has gone
                continue
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)
