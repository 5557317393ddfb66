"""A Python for sessions that has imported the package once, and forks for each command.

Importing takes a command four seconds of processor, often more than its work. As a program,
``forked_python.py SOCKET ARGUMENT...`` runs ``python ARGUMENT...`` in a fork of the server on that
socket: in the caller's folder and environment, with its standard streams and exit status. When the
caller ends before its fork, as a service does, the fork gets SIGTERM.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__)


def write_program(file: Path, place: Path, arguments: str) -> None:
    """Write a shell command that stands for ``python`` with these arguments before its own."""
    text = f'#!/bin/sh\nexec {sys.executable} -I -S {HERE} {place} {arguments} "$@"\n'
    file.write_text(text, encoding="utf-8")
    file.chmod(0o755)


@contextmanager
def serving(place: Path, environment: dict[str, str]) -> Iterator[None]:
    """A server on this socket, with the package that ``PYTHONPATH`` names."""
    import subprocess

    server = subprocess.Popen(
        [sys.executable, str(HERE), "--serve", str(place)], env=environment, stdout=subprocess.PIPE
    )
    assert server.stdout is not None
    with server.stdout:
        try:
            assert server.stdout.readline() == b"ready\n"
            yield
        finally:
            server.kill()
            server.wait()


def _serve(place: str) -> None:
    import matplotlib.figure  # noqa: F401
    import transformers.models.bert.modeling_bert  # noqa: F401

    import recbole_tinynews.benchmark.benchmark  # noqa: F401
    from recbole_tinynews.benchmark import jobs

    jobs.START_METHOD = "fork"  # a new process would import everything again
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those who answer
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(place)
        listener.listen()
        print("ready", flush=True)
        while True:
            connection, _ = listener.accept()
            with connection:
                if os.fork():
                    continue
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                content, streams, *_ = socket.recv_fds(connection, 1_000_000, 3)
                worker = os.fork()
                if not worker:
                    return _run(json.loads(content), streams)
                end = os.pidfd_open(worker)
                if end not in select.select([connection, end], [], [])[0]:
                    os.kill(worker, signal.SIGTERM)
                    os._exit(0)
                status = os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1])
                connection.send(str(status).encode())
                os._exit(0)


def _run(command: dict, streams: list[int]) -> None:
    """As the interpreter runs a file, ``-m``, ``-c`` or standard input."""
    import runpy

    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    sys.stdin, sys.stdout = os.fdopen(0), os.fdopen(1, "w")
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace")
    os.chdir(command["folder"])
    os.environ.clear()
    os.environ.update(command["environment"])
    first, *others = command["arguments"]
    if first in ("-c", "-m"):
        name, *others = others
        sys.argv, sys.path[0] = [name, *others], ""
        if first == "-m":
            runpy.run_module(name, run_name="__main__", alter_sys=True)
        else:
            exec(name, {"__name__": "__main__"})
    elif first == "-":
        sys.argv, sys.path[0] = [first, *others], ""
        exec(sys.stdin.read(), {"__name__": "__main__"})
    else:
        sys.argv, sys.path[0] = [first, *others], str(Path(first).absolute().parent)
        runpy.run_path(first, run_name="__main__")


def _ask(place: str, *arguments: str) -> int:
    command = {
        "folder": os.getcwd(),
        "environment": dict(os.environ),
        "arguments": arguments or ["-"],
    }
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(place)
        socket.send_fds(connection, [json.dumps(command).encode()], [0, 1, 2])
        return int(connection.recv(16) or 1)


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        _serve(sys.argv[2])
    else:
        sys.exit(_ask(*sys.argv[1:]))
