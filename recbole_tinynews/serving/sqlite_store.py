"""Events in a file, by SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from recbole_tinynews.serving.events import CLICK, Event, Tally

VERSION = 1  # of the schema
SCHEMA = """
CREATE TABLE events (
    id TEXT PRIMARY KEY, article TEXT NOT NULL, user TEXT NOT NULL, time INTEGER NOT NULL,
    clicks INTEGER NOT NULL, exposures INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX events_by_time ON events (time);
CREATE TABLE sums (
    article TEXT NOT NULL, user TEXT NOT NULL, time INTEGER NOT NULL, clicks INTEGER NOT NULL,
    exposures INTEGER NOT NULL, PRIMARY KEY (article, user)
) WITHOUT ROWID;
CREATE TABLE about (version INTEGER NOT NULL, summed_up INTEGER NOT NULL);
"""
SUM_UP = """
INSERT INTO sums
SELECT article, user, min(time), sum(clicks), sum(exposures) FROM events WHERE time < ?
GROUP BY article, user
ON CONFLICT (article, user) DO UPDATE SET time = min(time, excluded.time),
    clicks = clicks + excluded.clicks, exposures = exposures + excluded.exposures
"""
WAIT = 30  # seconds for another process's transaction


class SQLiteStore:
    """An ``EventStore`` in a file, or in memory by default.

    Raises:
        ValueError: the file cannot be opened, is no store, or is of another version.
    """

    def __init__(self, path: Path | str = ":memory:") -> None:
        try:
            self._connection = sqlite3.connect(
                path, timeout=WAIT, isolation_level=None, check_same_thread=False
            )
            self._connection.execute("PRAGMA journal_mode = WAL")  # readers don't block a commit
            self._connection.execute("PRAGMA synchronous = FULL")  # a commit survives a power cut
            version, self.summed_up = self._about()
        except sqlite3.Error as problem:
            raise ValueError(f"{path} expects a store of events: {problem}.") from problem
        if version != VERSION:
            raise ValueError(
                f"{path} has schema version {version}, and this version of recbole_tinynews reads "
                f"{VERSION}. Name another file, or install the version that wrote it."
            )

    def _about(self) -> tuple[int, int]:
        with self._transaction() as connection:
            if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                for statement in SCHEMA.split(";"):
                    connection.execute(statement)
                connection.execute("INSERT INTO about VALUES (?, 0)", [VERSION])
            return connection.execute("SELECT version, summed_up FROM about").fetchone()

    def add(self, events: Sequence[Event]) -> list[bool]:
        """Commit events; whether each was new."""
        with self._transaction() as connection:
            insert = "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING"
            return [
                connection.execute(
                    insert, (e.id, e.article, e.user, e.time, e.kind == CLICK, e.kind != CLICK)
                ).rowcount
                == 1
                for e in events
            ]

    def tallies(self) -> Iterator[Tally]:
        """Everything that was committed."""
        columns = "SELECT article, user, time, clicks, exposures FROM"
        found = self._connection.execute(f"{columns} sums UNION ALL {columns} events")
        return map(Tally._make, found)

    def sum_up(self, before: int) -> None:
        """Replace events before a time by one tally for each article and user."""
        with self._transaction() as connection:
            connection.execute(SUM_UP, [before])
            connection.execute("DELETE FROM events WHERE time < ?", [before])
            connection.execute("UPDATE about SET summed_up = ?", [before])
        self.summed_up = before

    def close(self) -> None:
        """Release the file."""
        self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield self._connection
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")
