"""A service over two small recommenders. Skipped where the extra ``serve`` is not installed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from fastapi.testclient import TestClient
    from served import Served

    from recbole_tinynews.serving.ranker import Ranker

EXTRA = ("fastapi", "uvicorn", "fastapi_offline", "prometheus_client")


@pytest.fixture(scope="session")
def _extra() -> None:
    for module in EXTRA:
        pytest.importorskip(module, reason=f"the extra 'serve' is not installed ({module})")


@pytest.fixture(scope="session")
def teacher(student: Served, _extra: None) -> Served:
    """The first finetuned teacher of the student's run: another recommender of the same data."""
    _, artifact = next(
        each for each in student.run.artifacts.items() if each[0].name == "finetune_teacher"
    )
    return student._replace(artifact=artifact)


@pytest.fixture
def rankers(student: Served, teacher: Served) -> dict[str, Ranker]:
    """Student and teacher, which know thirty articles of their data set."""
    return _loaded(student, teacher)


@pytest.fixture
def client(rankers: dict[str, Ranker]) -> Iterator[TestClient]:
    """A client of the service; one event loop answers all its requests."""
    from served import client_of, state_of

    with client_of(state_of(rankers)) as client:
        yield client


@pytest.fixture(scope="session")
def kept_rankers(student: Served, teacher: Served) -> dict[str, Ranker]:
    """As ``rankers``, for tests that change nothing."""
    return _loaded(student, teacher)


@pytest.fixture(scope="session")
def kept_client(kept_rankers: dict[str, Ranker]) -> Iterator[TestClient]:
    """As ``client``, for tests that change nothing."""
    from served import client_of, state_of

    with client_of(state_of(kept_rankers)) as client:
        yield client


def _loaded(student: Served, teacher: Served) -> dict[str, Ranker]:
    from served import words_of

    news = [f"N{number}" for number in range(1, 31)]
    made = {"student": student.load(), "teacher": teacher.load()}
    for ranker in made.values():
        ranker.add_news(dict(zip(news, words_of(news), strict=True)))
    return made
