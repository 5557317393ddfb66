from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

    from recbole_tinynews.serving.ranker import Ranker

IDS = [f"N{number}" for number in range(10, 22)]
BODY = {"history": ["N12", "N2"], "candidates": IDS}


def test_a_request_is_re_ranked_as_in_python(
    client: TestClient, rankers: dict[str, Ranker]
) -> None:
    """Of two requests that are ranked together, each gets its own list."""
    news = [
        {"id": name, "title": f"word{n} word{n + 1}", "category": "ab"[n % 2], "source": "x"}
        for n, name in enumerate(IDS)
    ]
    assert client.put("/news", json={"news": news}).status_code == 200
    rerank = [
        {"mmr": 0.4},
        {"at_most": {"category": 1, "top": 2}},
        "already_read",
        {"pinned": ["N15"]},
        {"excluded": ["N16"]},
    ]
    answer = client.post("/rank", json={**BODY, "rerank": rerank}).json()["ranked"]
    expected = rankers["student"].rank(*BODY.values(), rerank=rerank)
    assert [(each["place"], each["id"]) for each in answer] == [
        (each.place, each.candidate) for each in expected
    ]
    assert answer[0]["id"] == "N15"
    assert {*IDS} - {each["id"] for each in answer} == {"N12", "N16"}
    plain = client.post("/rank", json=BODY).json()["ranked"]
    assert [each["score"] for each in plain] == sorted((e["score"] for e in plain), reverse=True)
    assert answer[1]["id"] != plain[0]["id"] or answer[2]["id"] != plain[1]["id"]
    question = {"history": BODY["history"], "k": 3}
    top = client.post("/top", json={**question, "rerank": rerank}).json()["ranked"]
    expected = rankers["student"].top(BODY["history"], 3, rerank=rerank)
    assert [each["id"] for each in top] == [each.candidate for each in expected]
    assert top != client.post("/top", json=question).json()["ranked"]


@pytest.mark.parametrize(
    ("rerank", "message"),
    [
        ([{"mmr": 2}], "mmr expects a number from 0 to 1"),
        (["newest"], "rerank expects values as in"),
        ([{"at_most": {"source": 1}}], "at_most expects the source of articles"),
    ],
)
def test_a_list_that_does_not_fit_is_a_422(client: TestClient, rerank: Any, message: str) -> None:
    """A 500 would blame the service."""
    answer = client.post("/rank", json={**BODY, "rerank": rerank})
    assert answer.status_code == 422
    (mistake,) = answer.json()["detail"]
    assert mistake["loc"] == ["body", "rerank"]
    assert message in mistake["msg"]
