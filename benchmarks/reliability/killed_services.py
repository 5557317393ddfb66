"""``kill -9`` of a service while clients post events: what it acknowledged is in its store."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Thread
from typing import Any

import commands
import forked
import postgres
from outcome import Outcome
from served import words_of
from tiny import NEWS

CLIENTS, BATCH = 3, 5  # connections, events of a request
KNOWN = [f"N{number}" for number in range(1, NEWS)]


def measure(folder: Path, count: int, seed: int) -> Outcome:
    """So many kills on SQLite, and as many on PostgreSQL where it is installed."""
    tiny = commands.tiny_world(folder / "tiny")
    made = commands.prepare(tiny, "PLMNR", folder / "made", popularity="added")
    commands.run(made)
    artifact = next((made / "saved").rglob("metrics.json")).parent
    forked.SECONDS = 3600
    news = folder / "news.csv"
    lines = (f"{name},{title}" for name, title in zip(KNOWN, words_of(KNOWN), strict=True))
    news.write_text("\n".join(["id,title", *lines]), encoding="utf-8")
    figures: dict[str, int | float] = {}
    failures: list[str] = []
    with stores(folder) as places:
        for kind, place in places.items():
            command = [artifact, f"--news={news}", f"--store={place}"]
            kept, slowest = _killed(command, count, random.Random(seed), failures)
            lost = _lost(command, kept)
            failures += [f"{kind}: {event} was acknowledged and is lost" for event in lost]
            failures += [] if kept else [f"{kind}: nothing was acknowledged"]
            figures |= {f"kills, {kind}": count, f"events acknowledged, {kind}": len(kept)}
            figures[f"slowest start, {kind}, s"] = round(slowest, 1)
    return Outcome(figures, failures)


@contextmanager
def stores(folder: Path) -> Iterator[dict[str, str]]:
    """Addresses of stores by kind."""
    places = {"SQLite": str(folder / "store.db")}
    programs = postgres.programs()
    if programs is None:
        yield places
        return
    cluster = postgres.Cluster(programs)
    try:
        yield {**places, "PostgreSQL": cluster.new_database()}
    finally:
        cluster.remove()


def _killed(
    command: list[Any], count: int, rng: random.Random, failures: list[str]
) -> tuple[list[dict[str, Any]], float]:
    """The acknowledged events, and the seconds of the slowest start."""
    kept: list[dict[str, Any]] = []
    slowest = 0.0
    for number in range(count):
        began = time.perf_counter()
        process, address = forked.served_in_a_fork(*command)
        slowest = max(slowest, time.perf_counter() - began)
        clients = [Thread(target=_post, args=(address, number, n, kept)) for n in range(CLIENTS)]
        for client in clients:
            client.start()
        time.sleep(rng.uniform(0.05, 0.8))
        if process.exitcode is not None:
            failures.append(f"the service ended by itself with {process.exitcode}")
        process.kill()
        for client in clients:
            client.join()
        process.join()
    return kept, slowest


def _post(address: str, number: int, client: int, kept: list[dict[str, Any]]) -> None:
    """Post events until the service is gone."""
    draw, batch = random.Random(f"{number} {client}"), 0
    while True:
        events = [
            {
                "id": f"{number}-{client}-{batch}-{event}",
                "kind": draw.choice(["exposure", "click"]),
                "article": draw.choice(KNOWN),
                "user": f"U{draw.randrange(50)}",
                "time": int(time.time()),
            }
            for event in range(BATCH)
        ]
        try:
            status, answer = forked.ask(address, "POST", "/events", {"events": events})
        except (OSError, HTTPException, ValueError):
            return
        if status == 200 and answer["counted"] == BATCH:
            kept += events
        batch += 1


def _lost(command: list[Any], kept: list[dict[str, Any]]) -> list[str]:
    """Ids of events that a service does not know when they are sent again."""
    process: BaseProcess
    process, address = forked.served_in_a_fork(*command)
    lost = []
    for start in range(0, len(kept), BATCH):
        some = kept[start : start + BATCH]
        status, answer = forked.ask(address, "POST", "/events", {"events": some})
        if status != 200 or answer["repeated"] != len(some):
            lost += [event["id"] for event in some]
    process.terminate()
    process.join()
    return lost
