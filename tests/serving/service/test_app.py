from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
import pandas as pd
import pytest
from served import as_fields, client_of, in_order_given, words_of

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

    from recbole_tinynews.serving.ranker import Ranker

pytestmark = [pytest.mark.whole, pytest.mark.usefixtures("_extra")]

CLICKS = ["N3", "N7", "N12"]
CANDIDATES = ["N20", "N5", "N9", "N14"]


def scores_of(ranked: list[dict[str, Any]]) -> list[float]:
    """Scores in the order of the candidates given."""
    return [each["score"] for each in sorted(ranked, key=lambda each: each["place"])]


def some_request(number: int) -> tuple[str, dict[str, Any]]:
    """A request that differs from its neighbours: by ids and texts, for the top or candidates."""
    draws = np.random.default_rng(number)

    def article() -> Any:
        name, text = f"N{draws.integers(1, 31)}", f"word{draws.integers(50)} word{number % 50}"
        own = {"title": text, "abstract": "unread", "id": f"my {name}"}
        return (name, name, {"title": text}, own)[draws.integers(4)]

    body: dict[str, Any] = {
        "history": [article() for _ in range(draws.integers(9))],
        "recommender": ("student", "teacher", None)[number % 3],  # by default the first
        "click_weights": number % 2 == 0,
    }
    if draws.integers(3) == 0:
        return "/top", {**body, "k": number % 9 + 1}
    like_an_id = {"title": "N5"}  # an object with a title is never looked up
    return "/rank", {**body, "candidates": [like_an_id, *(article() for _ in range(number % 9))]}


def test_answers_are_the_rankers_however_they_are_batched(
    kept_client: TestClient, kept_rankers
) -> None:
    """Users with different numbers of clicks, candidates and k must not be mixed up."""
    asked = [some_request(number) for number in range(240)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda each: kept_client.post(each[0], json=each[1]), asked))
    for (path, body), response in zip(asked, answers, strict=True):
        assert response.status_code == 200
        answer, clicks, name = response.json(), body["history"], body["recommender"] or "student"
        ranker = kept_rankers[name]
        if path == "/top":
            best = ranker.top(clicks, body["k"])
            expected = [(each.candidate, *words_of([each.candidate])) for each in best]
            assert [(each["id"], each["title"]) for each in answer["ranked"]] == expected
        else:
            best = ranker.rank(clicks, body["candidates"])
            ids = [each if isinstance(each, str) else each.get("id") for each in body["candidates"]]
            places = [(each["place"], each["id"]) for each in answer["ranked"]]
            assert places == [(each.place, ids[each.place]) for each in best]
        scores = [each["score"] for each in answer["ranked"]]
        np.testing.assert_allclose(scores, [each.score for each in best], atol=1e-5)
        weights = ranker.click_weights(clicks) if body["click_weights"] else None
        assert answer["click_weights"] == (weights and pytest.approx(weights, abs=1e-6))
        assert (answer["recommender"], answer["warning"]) == (name, None)


def test_a_request_is_re_ranked_as_in_python(
    client: TestClient, rankers: dict[str, Ranker]
) -> None:
    """Of two requests that are ranked together, each gets its own list."""
    clicks, ids = ["N12", "N2"], [f"N{number}" for number in range(10, 22)]
    body = {"history": clicks, "candidates": ids}
    news = [
        {"id": name, "title": f"word{n} word{n + 1}", "category": "ab"[n % 2], "source": "x"}
        for n, name in enumerate(ids)
    ]
    assert client.put("/news", json={"news": news}).status_code == 200
    rerank: list[Any] = [{"mmr": 0.4}, {"at_most": {"category": 1, "top": 2}}, "already_read"]
    rerank += [{"pinned": ["N15"]}, {"excluded": ["N16"]}]
    answer = client.post("/rank", json={**body, "rerank": rerank}).json()["ranked"]
    expected = rankers["student"].rank(clicks, ids, rerank=rerank)
    assert [(each["place"], each["id"]) for each in answer] == [
        (each.place, each.candidate) for each in expected
    ]
    assert answer[0]["id"] == "N15"
    assert {*ids} - {each["id"] for each in answer} == {"N12", "N16"}
    question = {"history": clicks, "k": 3}
    top = client.post("/top", json={**question, "rerank": rerank}).json()["ranked"]
    expected = rankers["student"].top(clicks, 3, rerank=rerank)
    assert [each["id"] for each in top] == [each.candidate for each in expected]
    assert top != client.post("/top", json=question).json()["ranked"]


@pytest.fixture
def held(rankers: dict[str, Ranker], monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """The student's ``rank`` waits in its first call until ``go`` is set."""
    ranker, began, go = rankers["student"], threading.Event(), threading.Event()
    rank = ranker.answer

    def waiting(queries: Any, *how: Any) -> Any:
        began.set()
        assert go.wait(30)
        return rank(queries, *how)

    monkeypatch.setattr(ranker, "answer", waiting)
    yield {"began": began, "go": go}
    go.set()


def wait_until_waiting(client: TestClient, number: int) -> None:
    """Until so many questions of ids alone, without counters, wait for the student."""
    from recbole_tinynews.serving.service.schema import RankQuestion

    batches = client.app.state.service.recommenders["student"].batches[RankQuestion, False, False]
    for _ in range(3_000):
        if len(batches._waiting) == number:
            return
        threading.Event().wait(0.01)
    raise AssertionError(f"{len(batches._waiting)} wait, not {number}")


def test_a_request_that_cannot_be_ranked_any_more_or_makes_ranking_fail_fails_alone(
    client: TestClient, held, rankers
) -> None:
    """Of readers of one click each, in one batch, whose N30 is removed before it runs."""
    rank, body = rankers["student"].answer, {"history": [], "candidates": CANDIDATES}

    def failing(queries: Any, *how: Any) -> Any:
        if ["N9"] in [query.history for query in queries]:
            raise RuntimeError("a bug")
        return rank(queries, *how)

    rankers["student"].answer, waiting = failing, []
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(client.post, "/rank", json=body)
        assert held["began"].wait(30)
        for number, name in enumerate(("N1", "N30", "N9", "N2"), start=1):  # in a known order
            waiting.append(pool.submit(client.post, "/rank", json={**body, "history": [name]}))
            wait_until_waiting(client, number)
        assert client.delete("/news/N30").status_code == 204
        held["go"].set()
        assert first.result().status_code == 200
        answers = [each.result() for each in waiting]
    assert [answer.status_code for answer in answers] == [200, 422, 500, 200]
    assert answers[1].json()["detail"][0]["loc"] == ["body", "history", 0]
    assert answers[2].json() == {"detail": "The request failed; the service's log says why."}
    for name, answer in zip(("N1", "N2"), (answers[0], answers[3]), strict=True):
        expected = client.post("/rank", json={**body, "history": [name]}).json()["ranked"]
        ranked = answer.json()["ranked"]
        assert [each["id"] for each in ranked] == [each["id"] for each in expected]
        np.testing.assert_allclose(scores_of(ranked), scores_of(expected), atol=1e-5)


def test_requests_by_id_wait_for_nobody_s_new_texts(client: TestClient, held, rankers) -> None:
    asked = {"history": [], "candidates": [{"title": "word1 word2"}]}
    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(client.post, "/rank", json=asked)
        assert held["began"].wait(30)
        ranker = rankers["student"]
        ranker.answer = type(ranker).answer.__get__(ranker)
        quick = client.post("/rank", json={"history": CLICKS, "candidates": CANDIDATES})
        assert quick.status_code == 200
        assert not slow.done()
        held["go"].set()
        assert slow.result().status_code == 200


def test_articles_that_wait_to_be_encoded_keep_no_request_waiting(client: TestClient) -> None:
    """Each held one of the few threads that answer, until those before it were encoded."""
    service, go = client.app.state.service, threading.Event()
    follow, service.follow_articles = service.follow_articles, lambda: go.wait(30)
    with ThreadPoolExecutor(41) as pool:
        body = {"news": [{"id": "N5", "title": "word1"}]}
        put = [pool.submit(client.put, "/news", json=body) for _ in range(40)]
        asked = pool.submit(client.post, "/rank", json={"history": [], "candidates": CANDIDATES})
        try:
            assert asked.result(20).is_success
        finally:
            service.follow_articles = follow
            go.set()
        assert all(each.result().is_success for each in put)


def test_articles_that_are_put_are_ranked_by_every_recommender(client: TestClient, rankers) -> None:
    news = [{"id": "new/1", "title": "word8 word9"}, {"id": "N5", "title": "word1"}]
    done = client.put("/news", json={"news": news})
    assert done.json() == {"added": 1, "changed": 1, "total": 31}
    for name, ranker in rankers.items():
        asked = {"history": CLICKS, "candidates": ["new/1", "N5"], "recommender": name}
        texts = as_fields(["word8 word9", "word1"])
        expected = ranker.rank(as_fields(words_of(CLICKS)), texts)
        answer = client.post("/rank", json=asked).json()
        np.testing.assert_allclose(scores_of(answer["ranked"]), in_order_given(expected), atol=1e-5)
    found = client.get("/news", params={"query": "WORD8"}).json()
    assert {"id": "new/1", "title": "word8 word9"} in found["news"]
    assert client.get("/news", params={"query": words_of(["N5"])[0]}).json()["total"] == 0
    part = client.get("/news", params={"limit": 2, "offset": 3}).json()
    assert (part["total"], [each["id"] for each in part["news"]]) == (31, ["N4", "N6"])


def test_an_article_that_was_removed_is_gone_everywhere(client: TestClient) -> None:
    assert client.put("/news", json={"news": [{"id": "a/b c", "title": "word1"}]}).is_success
    assert client.delete("/news/a/b%20c").status_code == 204
    again = client.delete("/news/a/b%20c")
    assert (again.status_code, again.json()) == (404, {"detail": "No article has the id 'a/b c'."})
    assert client.get("/news", params={"query": "a/b c"}).json()["total"] == 0
    assert client.get("/health").json()["recommenders"][0]["news"] == 30
    asked = {"history": ["a/b c"], "candidates": ["N1"]}
    assert client.post("/rank", json=asked).status_code == 422
    every = client.post("/top", json={"history": [], "k": 100}).json()["ranked"]
    assert len(every) == 30


@pytest.mark.parametrize("name", ["a\nb", "a\n", "\r\n", "a/b", "a?b#c", "é\u2028", "\r"])
def test_an_article_with_any_id_can_be_removed(client: TestClient, name: str) -> None:
    """One with a line end in its id, which no path has, stayed until a restart."""
    put = client.put("/news", json={"news": [{"id": name, "title": "word1"}]})
    assert put.status_code == (422 if "\n" in name else 200)
    removed = client.delete(f"/news/{quote(name, safe='')}")
    assert removed.status_code == (404 if "\n" in name else 204)
    assert client.get("/health").json()["recommenders"][0]["news"] == 30


TITLES = {
    "N1": "The rainbow over Århus",
    "N2": "Rain again",
    "N3": "Trains late, again",
    "rain": "An id that is a word",
}


def test_a_search_finds_what_a_reader_means() -> None:
    from recbole_tinynews.serving.service.state import find, folded

    titles = {name: (title, folded(title)) for name, title in TITLES.items()}

    def ids(query: str, offset: int = 0, limit: int = 9) -> list[str]:
        found = find(titles, query, offset, limit)
        assert found["total"] == len(find(titles, query, 0, 99)["news"])
        return [each["id"] for each in found["news"]]

    assert ids("AGAIN rain") == ["N2", "N3"]  # all words, in any order and case
    assert (ids("late again"), ids("late sun")) == (["N3"], [])
    assert ids("rain") == ["rain", "N1", "N2", "N3"]  # an id, then words that begin words
    assert ids("ain") == ["N1", "N2", "N3"]
    assert [ids(word) for word in ("arhus", "Århus", "A\u030arhus")] == [["N1"]] * 3
    assert (ids(""), ids("", 1, 2), ids("", 9, 2)) == ([*TITLES], ["N2", "N3"], [])


def test_a_new_start_serves_the_store_with_what_changed_in_the_file(student, tmp_path) -> None:
    """An article that was taken down would come back, or what is as it was would count as new."""
    from recbole_tinynews.serving.service.state import open_state
    from recbole_tinynews.serving.store import Store, StoredArticle

    file, store = tmp_path / "news.parquet", Store(tmp_path / "store.db")
    rows = {"a": "word1", "b": "word2 word3", "c": ""}
    gap = {"body": None}  # the student reads titles

    def started(file: Any) -> list[str]:
        ranker = student.load()
        state = open_state({"student": ranker}, store, file)
        assert sorted(ranker.news_ids) == sorted(state.titles)
        return [f"{name} {state.titles[name][0]}" for name in ranker.news_ids]

    pd.DataFrame(rows.items(), columns=["id", "title"]).assign(**gap).to_parquet(file)
    assert started(file) == ["a word1", "b word2 word3", "c "]
    seen, _ = store.articles()
    store.put([StoredArticle("a", None)])
    assert started(None) == ["b word2 word3", "c "]
    pd.DataFrame({"id": ["b", "c"], "title": ["word2 word3", "word4"], **gap}).to_parquet(file)
    assert started(file) == ["b word2 word3", "c word4"]
    assert [each.id for each in store.articles(seen)[1]] == ["a", "c"]


def test_without_articles_top_says_how_to_add_them(student) -> None:
    with client_of({"student": student.load()}) as client:
        answer = client.post("/top", json={"history": []})
        assert answer.status_code == 422
        assert "PUT /news" in answer.json()["detail"][0]["msg"]
        ranked = client.post("/rank", json={"history": [], "candidates": [{"title": "word1"}]})
        assert len(ranked.json()["ranked"]) == 1


RANK = {"history": CLICKS, "candidates": CANDIDATES}
BAD: list[tuple[str, dict[str, Any], list[Any]]] = [
    ("/rank", {**RANK, "page": "N" * 201}, ["page"]),
    ("/rank", {"history": CLICKS}, ["candidates"]),
    ("/rank", {**RANK, "candidates": []}, ["candidates"]),
    ("/rank", {**RANK, "candidates": "N1"}, ["candidates"]),
    ("/rank", {**RANK, "history": None}, ["history"]),
    ("/rank", {**RANK, "history": ["N1", 2]}, ["history", 1]),
    ("/rank", {**RANK, "history": [""]}, ["history", 0]),
    ("/rank", {**RANK, "history": ["N" * 201]}, ["history", 0]),
    ("/rank", {**RANK, "history": ["N1"] * 1_001}, ["history"]),
    ("/rank", {**RANK, "candidates": ["N1"] * 1_001}, ["candidates"]),
    ("/rank", {**RANK, "candidates": ["N1", "N999"]}, ["candidates", 1]),
    ("/rank", {**RANK, "candidates": [{"id": "N1"}]}, ["candidates", 0, "title"]),
    ("/rank", {**RANK, "candidates": [{"title": "x" * 1_001}]}, ["candidates", 0, "title"]),
    ("/rank", {**RANK, "candidates": [{"title": "x", "id": ""}]}, ["candidates", 0, "id"]),
    ("/rank", {**RANK, "candidates": [{"title": "x", "titel": "x"}]}, ["candidates", 0, "titel"]),
    ("/rank", {**RANK, "candidates": [{"title": "\ud800"}]}, ["candidates", 0, "title"]),
    ("/rank", {**RANK, "recommender": "nobody"}, ["recommender"]),
    ("/rank", {**RANK, "k": 3}, ["k"]),
    ("/rank", {**RANK, "rerank": [{"mmr": 2}]}, ["rerank"]),
    ("/rank", {**RANK, "rerank": [{"at_most": {"source": 1}}]}, ["rerank"]),
    ("/rank", {**RANK, "history": [float("nan")]}, ["history", 0]),
    ("/top", {"history": CLICKS, "k": 0}, ["k"]),
    ("/top", {"history": CLICKS, "k": 1_001}, ["k"]),
    ("/top", {"history": CLICKS, "k": "3"}, ["k"]),
    ("/top", {"history": CLICKS, "k": True}, ["k"]),
    ("/top", {"history": ["N999"]}, ["history", 0]),
    ("/news", {"news": []}, ["news"]),
    ("/news", {"news": [{"id": "A"}]}, ["news", 0, "title"]),
    ("/news", {"news": [{"id": "A", "title": "x"}, {"id": "A", "title": "y"}]}, ["news", 1, "id"]),
    ("/news", {"articles": []}, ["articles"]),
]


@pytest.mark.parametrize(("path", "body", "where"), BAD, ids=lambda each: str(each)[:40])
def test_bad_input_is_refused_with_the_name_of_the_field(
    kept_client: TestClient, path: str, body: dict[str, Any], where: list[Any]
) -> None:
    method, headers = "PUT" if path == "/news" else "POST", {"Content-Type": "application/json"}
    answer = kept_client.request(method, path, content=json.dumps(body), headers=headers)
    assert answer.status_code == 422, answer.text
    detail = answer.json()["detail"]
    assert ["body", *where] in [each["loc"] for each in detail]
    assert all(set(each) == {"loc", "msg", "type"} and each["msg"] for each in detail)
    assert len(answer.content) < 2_000, "what came is not sent back"
    assert kept_client.get("/health").json()["recommenders"][0]["news"] == 30, "half done"


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[1]", b"\xff\xfe", b"[" * 15_000, b'{"k": ' + b"9" * 5_000 + b"}", b"null"],
    ids=["empty", "broken off", "a list", "no UTF-8", "too deep", "too long a number", "null"],
)
@pytest.mark.parametrize("path", ["/rank", "/top"])
def test_what_is_no_request_in_json_is_refused(kept_client: TestClient, path, content) -> None:
    headers = {"Content-Type": "application/json"}
    answer = kept_client.post(path, content=content, headers=headers)
    assert answer.status_code == 422, answer.text
    assert answer.json()["detail"][0]["loc"][0] == "body"


def test_a_body_of_another_kind_is_refused(kept_client: TestClient) -> None:
    """A page of another site could send plain text without asking the browser for leave."""
    content = json.dumps(RANK)
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        answer = kept_client.post("/rank", content=content, headers={"Content-Type": kind})
        assert answer.status_code == 422


def test_a_body_over_the_limit_is_refused_with_or_without_its_length(
    kept_client: TestClient,
) -> None:
    def pieces() -> Iterator[bytes]:
        yield b'{"history": ["'
        for _ in range(30):
            yield b"N" * 1_000
        yield b'"]}'

    whole = b"".join(pieces())
    headers = {"Content-Type": "application/json"}
    for path, method in (("/rank", "POST"), ("/top", "POST"), ("/news", "PUT")):
        for content in (whole, pieces()):
            answer = kept_client.request(method, path, content=content, headers=headers)
            assert answer.status_code == 413, (path, answer.text)
            assert "20,000 bytes" in answer.json()["detail"]


def test_paths_and_methods_that_are_none_are_answered_in_json(kept_client: TestClient) -> None:
    for path, status in (("/nothing", 404), ("/rank", 405), ("/page/../app.py", 404)):
        answer = kept_client.get(path)
        assert (answer.status_code, bool(answer.json()["detail"])) == (status, True)


def test_health_says_what_is_served(kept_client: TestClient) -> None:
    health = kept_client.get("/health").json()
    assert health["status"] == "ok"
    student, teacher = health["recommenders"]
    assert (student["name"], student["model"], student["layers"]) == ("student", "TinyNewsRec", 2)
    assert (student["news"], student["history_length"]) == (30, 6)
    assert teacher["name"] == "teacher"


def test_every_path_is_in_the_api_and_no_page_needs_another_server(
    kept_client: TestClient,
) -> None:
    paths = kept_client.get("/openapi.json").json()["paths"]
    ranking = {"/rank", "/top", "/events", "/news", "/news/{news_id}"}
    assert set(paths) == ranking | {"/health", "/livez", "/readyz", "/metrics"}
    assert set(paths["/news"]) == {"get", "put"}
    page = kept_client.get("/docs").text
    assert "swagger" in page
    for address in ("swagger-ui-bundle.js", "swagger-ui.css"):
        assert kept_client.get(f"/static-offline-docs/{address}").status_code == 200
    assert "https://" not in page
    page = kept_client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for path, kind in (("page/page.css", "text/css"), ("page/page.js", "text/javascript")):
        assert f'"{path}"' in page.text
        file = kept_client.get(f"/{path}")
        assert file.headers["content-type"].startswith(kind)
        assert "http://" not in file.text
        assert "https://" not in file.text
        assert "innerHTML" not in file.text, "titles would be read as markup"
    assert "http" not in page.text.replace("http-equiv", "")
