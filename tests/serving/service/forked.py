"""Services in processes of their own, forked from this one: imports would take too long."""

from __future__ import annotations

import http.client
import json
import multiprocessing
import os
import sys
import threading
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import urlsplit

SECONDS = 120


def _serve(arguments: list[str], output: int) -> None:
    import torch

    from recbole_tinynews.serving import serve

    torch.set_num_threads(1)  # OpenMP does not survive a fork
    for stream in (1, 2):
        os.dup2(output, stream)
    sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
    serve.main(arguments)


def in_a_fork(*arguments: str | Path) -> tuple[BaseProcess, TextIO]:
    """The command in a process, killed after ``SECONDS``, and what it says."""
    output, end = os.pipe()
    words = [*map(str, arguments), "--port=0"]
    process = multiprocessing.get_context("fork").Process(target=_serve, args=(words, end))
    process.start()
    os.close(end)
    alarm = threading.Timer(SECONDS, process.kill)
    alarm.daemon = True  # pytest does not wait for it
    alarm.start()
    return process, os.fdopen(output)


def served_in_a_fork(*arguments: str | Path) -> tuple[BaseProcess, str]:
    """A service, and its address."""
    process, lines = in_a_fork(*arguments)
    said = ""
    for line in lines:
        said += line
        if line.startswith("serving"):
            # nobody may let it wait for a reader
            threading.Thread(target=lines.read, daemon=True).start()
            return process, line.split()[1]
    raise AssertionError(said)


def ask(address: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    """The status and content of an answer."""
    place = urlsplit(address)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=SECONDS)
    content = None if body is None else json.dumps(body)
    connection.request(method, path, content, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    given = answer.status, json.loads(answer.read())
    connection.close()
    return given
