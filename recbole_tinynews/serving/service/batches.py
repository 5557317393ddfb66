"""Batching: questions that arrive while others are being answered are answered together."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Q = TypeVar("Q")
A = TypeVar("A")


class BusyError(Exception):
    """Too many questions are waiting."""


class Batches(Generic[Q, A]):
    """Answers waiting questions together, in one call in a worker thread, for one event loop.

    No batch waits to be filled: an idle service answers at once. ``answer`` returns an answer or
    an exception for each question; beyond ``most_waiting``, questions are refused.
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
        """The answer to a question, or its exception; ``BusyError`` if too many are waiting."""
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
