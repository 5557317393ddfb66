"""Requests per second and their latency, over HTTP on this machine; and one user by ``rank`` alone.

The service runs in a process of its own, over the articles of the embedded data set and a
recommender that was trained for one step, which is as fast as a finished one. Each client has one
connection and sends its next request when it has its answer. A request has 50 clicks and 300
candidates by id, as the largest impressions of MIND. Every answer is compared with ``rank``.

``--replicas`` services on one store answer ``ROUNDS`` times in turns with one of them, 8 clients;
there every ``CHECKED``-th answer is compared, since clients use the same processors. ``--soak``
sends so many requests and tells the service's resident memory after each tenth.

    python benchmarks/serve.py [--requests=2000] [--replicas=2] [--soak=1000000]
        [--folder=FOLDER --news=FILE]
"""

from __future__ import annotations

import argparse
import json
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

import numpy as np
import psutil
import torch
from measure import finish, seconds_of

from recbole_tinynews.data.atomic_files import read_news_file
from recbole_tinynews.serving.loading import load
from recbole_tinynews.serving.ranker import Ranker

ROOT = Path(__file__).parents[1]
CLIENTS = (1, 8, 32)
CLICKS, CANDIDATES = 50, 300
DISTINCT = 64  # requests that are sent again and again
TOLERANCE = 1e-4
STARTS_WITHIN = 300  # seconds
ROUNDS, CHECKED, CLIENTS_OF_REPLICAS = 5, 16, 8


def finished_run(folder: Path, *more: str) -> tuple[Path, Path]:
    """A recommender after one step of training, and the articles of its data set."""
    run = [sys.executable, str(ROOT / "run_recbole.py"), "--model=PLMNR", "--max_steps=1"]
    subprocess.run(
        [*run, "--checkpoint_dir=saved", *more], cwd=folder, check=True, capture_output=True
    )
    (made,) = (folder / "saved" / "mind-mini").glob("PLMNR-*")
    return made, ROOT / "dataset" / "mind-mini" / "mind-mini.item"


# http.client would use a quarter of the processors that the services need
HEAD = (
    "POST /rank HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    "Content-Length: {}\r\n\r\n"
)


@contextmanager
def service(folder: Path, news: Path, store: Path) -> Iterator[tuple[str, psutil.Process]]:
    """The address of a service, and its process."""
    command = [
        sys.executable,
        "-m",
        "recbole_tinynews",
        "serve",
        str(folder),
        f"--news={news}",
        f"--store={store}",
    ]
    command += ["--port=0", "--no-access-log"]  # nobody reads its output
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    alarm = threading.Timer(STARTS_WITHIN, process.kill)
    alarm.start()
    try:
        address = next((line.split()[1] for line in process.stdout if "http://" in line), None)
        alarm.cancel()
        if address is None:
            raise SystemExit(f"The service ended with status {process.wait()}.")
        yield address, psutil.Process(process.pid)
    finally:
        alarm.cancel()
        process.terminate()
        process.wait(timeout=30)


def received(connection: socket.socket) -> bytes:
    """The body of an answer; ``ValueError`` if it is not a success."""
    answer = b""
    while b"\r\n\r\n" not in answer:
        if not (more := connection.recv(1 << 16)):
            raise ValueError(f"an answer ends after {answer!r}")
        answer += more
    head, _, body = answer.partition(b"\r\n\r\n")
    size = re.search(rb"content-length: (\d+)", head.lower())
    if not head.startswith(b"HTTP/1.1 200") or size is None:
        raise ValueError(f"{head!r} {body[:200]!r}")
    while len(body) < int(size[1]):
        if not (more := connection.recv(1 << 16)):
            raise ValueError(f"an answer of {size[1]!r} bytes ends after {len(body)}")
        body += more
    return body


class Load:
    """Clients that send one request after the other until ``requests`` were sent."""

    def __init__(self, bodies: list[bytes], expected: list[np.ndarray]) -> None:
        self.bodies = [HEAD.format(len(body)).encode() + body for body in bodies]
        self.expected = expected

    def run(
        self, addresses: Sequence[str], clients: int, requests: int, checked: int = 1
    ) -> dict[str, float]:
        """Requests per second and latencies in milliseconds; one answer in ``checked`` is compared.

        Raises:
            SystemExit: an answer is missing or wrong.
        """
        numbers, seconds = count(), [0.0] * requests
        wrong: list[str] = []

        def client(address: SplitResult) -> None:
            place, number = (address.hostname or "", address.port or 80), -1
            try:
                with socket.create_connection(place, timeout=60) as connection:
                    while (number := next(numbers)) < requests and not wrong:
                        compare = number % checked == 0
                        seconds[number] = self._ask(connection, number % len(self.bodies), compare)
            except (ValueError, OSError) as problem:
                wrong.append(f"request {number}: {problem!r}")

        asked = [urlsplit(addresses[number % len(addresses)]) for number in range(clients)]
        threads = [threading.Thread(target=client, args=(each,)) for each in asked]
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wall = time.perf_counter() - began
        if wrong or min(seconds) == 0.0:
            raise SystemExit(f"{clients} clients: {(wrong or ['a request was lost'])[0]}")
        p50, p99 = np.percentile(seconds, [50, 99]) * 1e3
        return {"requests_per_second": requests / wall, "p50_ms": p50, "p99_ms": p99}

    def _ask(self, connection: socket.socket, place: int, compare: bool) -> float:
        began = time.perf_counter()
        connection.sendall(self.bodies[place])
        content = received(connection)
        seconds = time.perf_counter() - began
        if not compare:
            return seconds
        scores = np.empty(CANDIDATES, np.float32)
        for each in json.loads(content)["ranked"]:
            scores[each["place"]] = each["score"]
        difference = np.abs(scores - self.expected[place]).max()
        if not difference <= TOLERANCE:
            raise ValueError(f"scores differ from rank by {difference:.1e}")
        return seconds


def readers(ids: list[str]) -> list[tuple[list[str], list[str]]]:
    """Clicks and candidates of different readers."""
    rng = np.random.default_rng(0)
    drawn = [rng.choice(ids, CLICKS + CANDIDATES, replace=False).tolist() for _ in range(DISTINCT)]
    return [(each[:CLICKS], each[CLICKS:]) for each in drawn]


def one_user(ranker: Ranker, asked: list[tuple[list[str], list[str]]]) -> dict[str, float]:
    """Milliseconds of ``rank`` for one user on one thread, its articles known."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    rounds = [*asked, *(asked * 8)]
    seconds = [seconds_of(partial(ranker.rank, *each)) for each in rounds]
    torch.set_num_threads(threads)
    p50, p99 = np.percentile(seconds[len(asked) :], [50, 99]) * 1e3  # the first warm up
    return {"p50_ms": p50, "p99_ms": p99}


def in_place(ranker: Ranker, history: list[str], candidates: list[str]) -> np.ndarray:
    """Scores in the order of the candidates given."""
    scores = np.empty(len(candidates), np.float32)
    for _, score, place in ranker.rank(history, candidates):
        scores[place] = score
    return scores


def replicas(load_of: Load, addresses: list[str], requests: int) -> dict[str, float]:
    """Medians of all services and of one, in turns; empty if there is one."""
    if len(addresses) == 1:
        return {}
    found: dict[int, list[dict[str, float]]] = {1: [], len(addresses): []}
    for _ in range(ROUNDS):
        for number, of_number in found.items():
            asked = addresses[:number], CLIENTS_OF_REPLICAS, requests, CHECKED
            of_number.append(load_of.run(*asked))
    one, several = found.values()
    rates = [
        b["requests_per_second"] / a["requests_per_second"]
        for a, b in zip(one, several, strict=True)
    ]
    figures = {"rate_over_one": float(np.median(rates))}
    for number, of_number in found.items():
        for name in of_number[0]:
            figures[f"{name} of {number}"] = float(np.median([each[name] for each in of_number]))
    for name, value in figures.items():
        print(f"{name:<28}{value:10.2f}")
    return figures


def soak(
    load_of: Load, address: str, process: psutil.Process, requests: int
) -> dict[str, list[float]]:
    """Resident memory of a service after each tenth of so many requests, in MB."""
    resident = []
    for _ in range(10 if requests else 0):
        load_of.run([address], CLIENTS_OF_REPLICAS, requests // 10, CHECKED)
        resident.append(process.memory_info().rss / 1e6)
        print(f"resident after {len(resident)}/10 of {requests:,}: {resident[-1]:.1f} MB")
    return {"resident_mb": resident}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=2_000, help="for each number of clients")
    parser.add_argument("--replicas", type=int, default=1)
    parser.add_argument("--soak", type=int, default=0, metavar="REQUESTS")
    parser.add_argument("--folder", type=Path, help="a finished recommender (default: a new one)")
    parser.add_argument("--news", type=Path, help="its articles")
    options = parser.parse_args()
    if (options.folder is None) != (options.news is None):
        parser.error("--folder and --news belong together.")
    with tempfile.TemporaryDirectory() as temporary:
        folder, news = options.folder, options.news
        if folder is None:
            folder, news = finished_run(Path(temporary))
        ranker = load(folder)
        ranker.add_news(read_news_file(news))
        asked = readers(list(ranker.news_ids))
        alone = one_user(ranker, asked)
        print(f"rank, one user, one thread: {alone['p50_ms']:.2f} ms, p99 {alone['p99_ms']:.2f} ms")
        bodies = [json.dumps({"history": h, "candidates": c}).encode() for h, c in asked]
        expected = [in_place(ranker, *each) for each in asked]
        figures: dict[str, Any] = {}
        print(f"\n{'clients':>7}{'requests/s':>12}{'p50, ms':>9}{'p99, ms':>9}")
        with ExitStack() as stack:
            store, load_of = Path(temporary, "store.db"), Load(bodies, expected)
            services = [
                stack.enter_context(service(folder, news, store)) for _ in range(options.replicas)
            ]
            addresses = [address for address, _ in services]
            # warms up
            load_of.run(addresses, max(CLIENTS), 4 * max(CLIENTS) * len(addresses))
            for clients in CLIENTS:
                measured = load_of.run(addresses[:1], clients, options.requests)
                figures[str(clients)] = measured
                print("{:7}{:12.0f}{:9.1f}{:9.1f}".format(clients, *measured.values()), flush=True)
            more: dict[str, Any] = {"replicas": replicas(load_of, addresses, options.requests)}
            more["soak"] = soak(load_of, *services[0], options.soak)
        print(f"\nnothing lost; every score within {TOLERANCE:.0e} of rank\n")
        size = {"clicks": CLICKS, "candidates": CANDIDATES, "news": len(ranker.news_ids)}
        more = {**size, **more, "requests": options.requests, "rank": alone}
        finish("serve", {**more, "clients": figures})


if __name__ == "__main__":
    main()
