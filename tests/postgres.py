"""A private PostgreSQL, from Debian's packages, that tests may kill."""

from __future__ import annotations

import contextlib
import glob
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import psutil
import psycopg

WAIT = 30  # seconds
NUMBERS = itertools.count()


def programs() -> Path | None:
    """The folder of ``initdb`` and ``postgres``, which Debian keeps out of the search path."""
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else []
    folders += [Path(each) for each in sorted(glob.glob("/usr/lib/postgresql/*/bin"))]
    return next((each for each in folders if (each / "postgres").exists()), None)


class Cluster:
    """Listens on a socket in a folder of its own; it refuses to run as root."""

    def __init__(self, programs: Path) -> None:
        self._programs, self._folder = programs, Path(tempfile.mkdtemp(prefix="postgres"))
        self._user = "nobody" if os.geteuid() == 0 else None
        if self._user:
            shutil.chown(self._folder, self._user)
        self._run("initdb", "--auth=trust", "--no-sync", "--username=tests")
        self.start()

    def _command(self, name: str, *arguments: str) -> list[str]:
        return [str(self._programs / name), "-D", str(self._folder / "data"), *arguments]

    def _run(self, name: str, *arguments: str) -> None:
        command = self._command(name, *arguments)
        subprocess.run(command, check=True, user=self._user, cwd=self._folder, capture_output=True)

    def start(self) -> None:
        """Start it, again after a kill, and wait until it answers."""
        until = time.monotonic() + WAIT
        command = self._command("postgres", "-k", str(self._folder), "-h", "")
        while time.monotonic() < until:
            (self._folder / "data" / "postmaster.pid").unlink(missing_ok=True)
            with (self._folder / "log").open("ab") as log:
                self._server = subprocess.Popen(
                    command, user=self._user, cwd=self._folder, stdout=log, stderr=log
                )
            while self._server.poll() is None and time.monotonic() < until:
                try:
                    psycopg.connect(self.url("postgres")).close()
                    return
                except psycopg.OperationalError:
                    time.sleep(0.05)
            time.sleep(0.1)  # processes of the killed one are ending
        raise TimeoutError((self._folder / "log").read_text())

    def kill(self) -> None:
        """End it by SIGKILL, with all that it was doing."""
        every = psutil.Process(self._server.pid).children(recursive=True)
        self._server.send_signal(signal.SIGKILL)
        for each in every:  # they would commit what they have begun
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        self._server.wait(WAIT)
        psutil.wait_procs(every, WAIT)

    def url(self, database: str) -> str:
        return f"postgresql://tests@/{database}?host={self._folder}"

    def new_database(self) -> str:
        """The URL of an empty database."""
        name = f"test{next(NUMBERS)}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def remove(self) -> None:
        self._server.send_signal(signal.SIGQUIT)  # at once
        self._server.wait(WAIT)
        shutil.rmtree(self._folder)
