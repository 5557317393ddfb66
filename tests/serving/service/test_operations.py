"""What an operator needs: metrics, probes, a token, and limits on clients that never finish."""

from __future__ import annotations

import gc
import http.client
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from served import client_of, running

from recbole_tinynews.serving import serve

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

pytestmark = [pytest.mark.whole, pytest.mark.usefixtures("_extra")]
GETS = ["/", "/health", "/livez", "/readyz", "/metrics", "/news?query=word1", "/docs"]
LIMIT = 1  # seconds in which a request has to arrive
MOST = 60  # connections


@pytest.fixture(scope="module")
def address(_extra: None) -> Iterator[tuple[str, int]]:
    """A service without recommenders, with short limits."""
    from recbole_tinynews.serving.service.state import ServiceState
    from recbole_tinynews.serving.store import Store

    with running(ServiceState({}, Store()), connections=MOST, seconds=LIMIT) as place:
        yield place


def status_of(address: tuple[str, int], path: str = "/livez") -> int:
    connection = http.client.HTTPConnection(*address, timeout=30)
    connection.request("GET", path)
    return connection.getresponse().status


HEAD = b"POST /rank HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
BODY = HEAD + b"Content-Length: 99\r\n\r\n{"
KEPT = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize("begun", [b"", b"POST /rank HT", BODY, KEPT + BODY[:20], KEPT + BODY])
def test_requests_that_never_arrive_are_ended_while_others_are_answered(
    address: tuple[str, int], begun: bytes
) -> None:
    """Fifty of them would hold a connection each for ever; trickling bytes buys no time."""
    clients = [socket.create_connection(address, timeout=30) for _ in range(50)]
    start, statuses = time.monotonic(), []
    for client in clients:
        client.sendall(begun)
    while time.monotonic() - start < LIMIT * 0.8:
        statuses.append(status_of(address))
        for client in clients if begun and not begun.startswith(KEPT) else []:
            client.sendall(b"x")
        time.sleep(0.1)
    for client in clients:
        answered = b"".join(iter(lambda each=client: each.recv(4096), b""))  # until it is closed
        assert answered.count(b"HTTP/1.1 200 OK") == begun.startswith(KEPT)
        assert answered.count(b"HTTP/1.1 408 Request Timeout") == 1
        client.close()
    assert LIMIT <= time.monotonic() - start < LIMIT + 3
    assert set(statuses) == {200}


def test_a_slow_answer_is_no_slow_request(address: tuple[str, int], monkeypatch) -> None:
    """The limit is on what the client sends; ranking may take longer."""
    from recbole_tinynews.serving.service import app

    def slow(*_: object) -> None:
        time.sleep(1.5 * LIMIT)
        raise ValueError

    monkeypatch.setattr(app, "find", slow)
    assert status_of(address, "/news") == 500


def test_more_connections_than_the_limit_are_refused_and_those_there_go_on(
    address: tuple[str, int],
) -> None:
    """The process would run out of file descriptors, and answer nobody."""
    kept = http.client.HTTPConnection(*address, timeout=30)
    kept.request("GET", "/livez")
    assert kept.getresponse().read()
    others = [socket.create_connection(address, timeout=30) for _ in range(MOST)]
    refused = others[-1].recv(4096)
    assert refused.startswith(b"HTTP/1.1 503")
    kept.request("GET", "/livez")
    assert kept.getresponse().status == 200
    for each in others:
        each.close()
    time.sleep(0.1)
    assert status_of(address) == 200


def test_head_answers_as_get_without_the_body(client: TestClient) -> None:
    """Load balancers and caches ask by HEAD, which was a 405."""
    for path in GETS:
        head, get = client.head(path), client.get(path)
        assert head.status_code == get.status_code == 200
        assert head.content == b""
        assert head.headers["content-type"] == get.headers["content-type"]
        if path != "/metrics":  # which counts the first of the two
            assert head.headers.get("content-length") == get.headers.get("content-length")
    assert client.head("/rank").status_code == 405


def test_metrics_count_requests_by_route_and_status(client: TestClient) -> None:
    """Never by path: each id in a DELETE would be a time series of its own."""
    from prometheus_client.parser import text_string_to_metric_families

    asked = {"history": [], "candidates": ["N1"]}
    assert client.post("/rank", json=asked).status_code == 200
    assert client.post("/rank", json={}).status_code == 422
    for name in ("x", "y", "z/z"):
        assert client.delete(f"/news/{name}").status_code == 404
        assert client.get(f"/{name}").status_code == 404
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    counted = {key[1:]: value for key, value in samples.items() if key[0].endswith("seconds_count")}
    assert counted == {
        ("POST /rank", "200"): 1,
        ("POST /rank", "422"): 1,
        ("DELETE /news/{news_id:path}", "404"): 3,
        ("none", "404"): 3,
    }
    assert 0 < samples["recbole_tinynews_request_seconds_sum", "POST /rank", "200"] < 30
    articles = {key: n for key, n in samples.items() if key[0] == "recbole_tinynews_articles"}
    assert [*articles.values()] == [30, 30]
    assert {"student", "TinyNewsRec"} < set(next(iter(articles)))
    assert samples["process_resident_memory_bytes",] > 1e6


def test_a_token_is_expected_everywhere_but_for_probes(tmp_path: Path, monkeypatch) -> None:
    file = tmp_path / "token"
    file.write_text("secret\n")
    monkeypatch.setenv(serve.TOKEN, "other")
    assert (serve._token(file), serve._token(None)) == ("secret", "other")
    file.write_text("two words")
    with pytest.raises(ValueError, match="one word"):
        serve._token(file)
    with client_of({}, token="secret") as client:
        for path in ("/livez", "/readyz"):
            assert client.get(path).status_code == 200
        for path in ("/", "/health", "/metrics", "/docs", "/openapi.json", "/livez/", "/nothing"):
            for given in ({}, {"Authorization": "Bearer secre"}, {"Authorization": "secret"}):
                answer = client.get(path, headers=given)
                assert answer.status_code == 401, (path, given)
                assert answer.headers["www-authenticate"] == "Bearer"
        assert client.put("/news", json={}).status_code == 401
        assert client.get("/health", headers={"Authorization": "Bearer secret"}).is_success


@pytest.mark.skipif(sys.platform != "linux", reason="other systems' libraries keep it or not")
def test_memory_of_what_was_replaced_is_given_back() -> None:
    """After ten reloads a service took twice the memory of its start, or three times."""
    from recbole_tinynews.serving.service.server import freeze

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    parts = [bytes(b"x" * 100_000) for _ in range(1_000)]  # small enough for the heap
    last = parts.pop()  # above the others, so the heap can't simply end lower
    before = resident()
    del parts
    freeze()
    gc.unfreeze()
    assert before - resident() > 50_000_000
    assert last
