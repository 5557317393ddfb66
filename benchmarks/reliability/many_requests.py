"""Requests of all kinds at once: none fails on the service's side, and good ones are answered."""

from __future__ import annotations

import http.client
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import commands
import forked
import psutil
from outcome import Outcome
from served import words_of

from recbole_tinynews.serving.loading import load
from recbole_tinynews.serving.ranker import Ranker

LONGEST, CLIENTS, AT_ONCE = 10, 4, 250  # seconds; requests of a connection
KNOWN = [f"N{number}" for number in range(1, 31)]  # nothing changes them
JUNK: Sequence[Any] = (
    *(None, True, -1, 2**70, 1e308, float("nan"), "", "\0", "x" * 3_000, [1], {"a": None}),
    *([["N1"] * 1_001], {"title": 3}, {"id": "N1"}, "N99", "\ud800"),
)
JSON = {"content-type": "application/json"}
RAW = (
    *(b"", b"{", b"[" * 50_000, b"\xff\xfe", b'{"history": [}', b"null", b"x" * 100_000),
    *(b'{"history": ["N1"], "history": 3}', b'{"k": 1e999}'),
)
PATHS = ("/rank", "/top", "/events", "/news", "/nowhere", "/news/%00", "/page/..%2f", "/health")


class Asked(NamedTuple):
    """A request, the statuses that it may get, and the scores that it has to."""

    method: str
    path: str
    body: bytes | None
    good: tuple[int, ...] = ()  # none: any refusal
    scores: dict[str, float] | None = None


def measure(folder: Path, count: int, seed: int) -> Outcome:
    """Send so many by ``CLIENTS`` connections."""
    tiny = commands.tiny_world(folder / "tiny")
    made = commands.prepare(tiny, "PLMNR", folder / "made")
    commands.run(made)
    artifact = next((made / "saved").rglob("metrics.json")).parent
    news = folder / "news.csv"
    lines = (f"{name},{title}" for name, title in zip(KNOWN, words_of(KNOWN), strict=True))
    news.write_text("\n".join(["id,title", *lines]), encoding="utf-8")
    forked.SECONDS = 3600
    process, address = forked.served_in_a_fork(
        artifact, f"--news={news}", f"--store={folder / 'store.db'}"
    )
    ranker = load(artifact)
    ranker.add_news(dict(zip(KNOWN, words_of(KNOWN), strict=True)))
    resident = psutil.Process(process.pid).memory_info
    rng, sizes = random.Random(seed), []
    outcomes: Counter[str] = Counter()
    failures: list[str] = []
    slowest = 0.0
    with ThreadPoolExecutor(CLIENTS) as clients:
        rounds = [[_draw(rng, ranker) for _ in range(AT_ONCE)] for _ in range(-(-count // AT_ONCE))]
        for found in clients.map(lambda asked: _send(address, asked), rounds):
            sizes.append(resident().rss)
            outcomes.update(found[0])
            failures += found[1]
            slowest = max(slowest, found[2])
    if not process.is_alive():
        failures.append(f"the service has ended with {process.exitcode}")
    process.terminate()
    process.join(30)
    figures: dict[str, int | float] = {"requests": AT_ONCE * len(rounds), **outcomes}
    figures["resident memory at the end, of that after a tenth"] = round(
        sizes[-1] / sizes[len(sizes) // 10], 3
    )
    return Outcome({**figures, "slowest, s": round(slowest, 1)}, failures)


def _send(address: str, requests: list[Asked]) -> tuple[Counter[str], list[str], float]:
    host = address.removeprefix("http://").rstrip("/")
    connection = http.client.HTTPConnection(host, timeout=60)
    outcomes: Counter[str] = Counter()
    failures, slowest = [], 0.0
    for each in requests:
        began = time.perf_counter()
        try:
            connection.request(each.method, each.path, each.body, JSON)
            answer = connection.getresponse()
            status, content = answer.status, answer.read()
        except (OSError, http.client.HTTPException) as problem:
            connection.close()
            failures.append(f"{each.method} {each.path}: {problem!r}")
            continue
        seconds = time.perf_counter() - began
        slowest = max(slowest, seconds)
        expected = status in each.good if each.good else 300 <= status < 500
        if not expected or seconds > LONGEST or not _fits(content, each.scores):
            failures.append(
                f"{each.method} {each.path} {each.body!r:.200}: {status}, {seconds:.0f} s, "
                f"{content[:200]!r}"
            )
        outcomes[f"answered {status}"] += 1
    connection.close()
    return outcomes, failures, slowest


def _fits(content: bytes, scores: dict[str, float] | None) -> bool:
    if scores is None:
        return True
    found = {each["id"]: each["score"] for each in json.loads(content)["ranked"]}
    return found.keys() == scores.keys() and all(
        abs(found[name] - score) < 1e-4 for name, score in scores.items()
    )


def _draw(rng: random.Random, ranker: Ranker) -> Asked:
    kinds: dict[Callable[[random.Random, Ranker], Asked], int] = {
        **{_ranked: 5, _junk: 3, _raw: 1, _changed: 1},
        **{_read: 1, _of_text: 1},
    }
    (kind,) = rng.choices([*kinds], [*kinds.values()])
    return kind(rng, ranker)


def _ranked(rng: random.Random, ranker: Ranker) -> Asked:
    clicks, shown = rng.sample(KNOWN, rng.randrange(6)), rng.sample(KNOWN, 12)
    scores = {each.candidate: each.score for each in ranker.rank(clicks, shown)}
    body = json.dumps({"history": clicks, "candidates": shown, "click_weights": True})
    return Asked("POST", "/rank", body.encode(), (200,), scores)


def _of_text(rng: random.Random, _: Ranker) -> Asked:
    texts = [{"title": f"word{rng.randrange(60)} \u00e9\U0001f600"} for _ in range(3)]
    body = json.dumps({"history": texts[:1], "candidates": texts})
    return Asked("POST", "/rank", body.encode(), (200,))


def _read(rng: random.Random, _: Ranker) -> Asked:
    query = quote(rng.choice(["word1", "", "%", "\u00e9", "N3", "' or 1=1"]))
    path = rng.choice(["/health", "/livez", "/metrics", "/", f"/news?query={query}&limit=3"])
    return Asked(rng.choice(["GET", "HEAD"]), path, None, (200, 405))


def _changed(rng: random.Random, _: Ranker) -> Asked:
    name = f"new {rng.randrange(50)} /\u00e9"
    kind = rng.randrange(3)
    if kind == 0:
        return Asked("DELETE", f"/news/{quote(name, safe='')}", None, (204, 404))
    if kind == 1:
        body = json.dumps({"news": [{"id": name, "title": f"word{rng.randrange(50)}"}]})
        return Asked("PUT", "/news", body.encode(), (200,))
    body = json.dumps({"history": [], "k": rng.randrange(1, 40)})
    return Asked("POST", "/top", body.encode(), (200,))


def _junk(rng: random.Random, _: Ranker) -> Asked:
    """A field that cannot be what it should; for those that are lists, in a list."""
    cases: list[tuple[str, str, dict[str, Any]]] = [
        ("/rank", "history", {"history": [], "candidates": ["N1"]}),
        ("/rank", "candidates", {"history": []}),
        ("/rank", "unknown", {"history": [], "candidates": ["N1"]}),
        ("/top", "history", {"k": 3}),
        ("/top", "recommender", {"history": [], "k": 3}),
        ("/events", "events", {}),
        ("/events", "event", {"events": []}),
    ]
    path, field, good = rng.choice(cases)
    junk = rng.choice(JUNK)
    if field == "recommender" and junk is None:
        junk = "another"
    body = json.dumps({**good, field: junk})
    return Asked("POST", path, body.encode())


def _raw(rng: random.Random, _: Ranker) -> Asked:
    method = rng.choice(["POST", "PUT", "PATCH", "DELETE"])
    return Asked(method, rng.choice(PATHS), rng.choice(RAW))
