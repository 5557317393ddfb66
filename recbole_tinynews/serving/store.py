"""State of services, articles and events, in SQLite or PostgreSQL (SQLAlchemy Core)."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import URL, Connection, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import StaticPool

from recbole_tinynews.data.popularity import HOUR
from recbole_tinynews.files.columns import TITLE
from recbole_tinynews.serving.events import CLICK, Event, Tally
from recbole_tinynews.serving.reading import Content

# Script n migrates the schema to version n; released scripts never change.
SCRIPTS = (
    """
CREATE TABLE events (
    id TEXT PRIMARY KEY, article TEXT NOT NULL, "user" TEXT NOT NULL, time BIGINT NOT NULL,
    clicks INTEGER NOT NULL, exposures INTEGER NOT NULL
);
CREATE INDEX events_by_time ON events (time);
CREATE TABLE sums (
    article TEXT NOT NULL, "user" TEXT NOT NULL, time BIGINT NOT NULL, clicks INTEGER NOT NULL,
    exposures INTEGER NOT NULL, PRIMARY KEY (article, "user")
);
CREATE TABLE about (version INTEGER NOT NULL, summed_up BIGINT NOT NULL);
INSERT INTO about VALUES (1, 0)
""",
    """
ALTER TABLE events ADD COLUMN sequence BIGINT NOT NULL DEFAULT 0;
CREATE INDEX events_by_sequence ON events (sequence);
ALTER TABLE about ADD COLUMN sequence BIGINT NOT NULL DEFAULT 0;
ALTER TABLE about ADD COLUMN forgotten BIGINT NOT NULL DEFAULT 0;
CREATE TABLE articles (
    id TEXT PRIMARY KEY, fields TEXT, published DOUBLE PRECISION, sequence BIGINT NOT NULL
);
CREATE INDEX articles_by_sequence ON articles (sequence)
""",
)
ADD = text("""
INSERT INTO events VALUES (:id, :article, :user, :time, :clicks, :exposures, :sequence)
ON CONFLICT (id) DO NOTHING
""")
PUT = text("""
INSERT INTO articles VALUES (:id, :fields, :published, :sequence)
ON CONFLICT (id) DO UPDATE SET fields = excluded.fields, sequence = excluded.sequence,
    published = coalesce(excluded.published, articles.published)
""")
SUM_UP = text("""
INSERT INTO sums
SELECT article, "user", min(time), sum(clicks), sum(exposures) FROM events WHERE time < :before
GROUP BY article, "user"
ON CONFLICT (article, "user") DO UPDATE SET
    time = CASE WHEN sums.time < excluded.time THEN sums.time ELSE excluded.time END,
    clicks = sums.clicks + excluded.clicks, exposures = sums.exposures + excluded.exposures
""")
COLUMNS = 'SELECT article, "user", time, clicks, exposures FROM'
EVERYTHING = text(f"{COLUMNS} sums UNION ALL {COLUMNS} events")
NEWER = text(f"{COLUMNS} events WHERE sequence > :since")
CHANGED = text(
    "SELECT id, fields, published FROM articles WHERE sequence > :since ORDER BY sequence"
)

# First statement of a transaction: one that reads a snapshot, or the only one that writes
BEGIN = {
    "sqlite": ("BEGIN", "BEGIN IMMEDIATE"),
    "postgresql": (
        "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        "SELECT pg_advisory_xact_lock(726563)",
    ),
}
WAIT = 30  # seconds for another process's transaction
CONNECT = {
    "sqlite": ["PRAGMA synchronous = FULL"],  # a commit survives a power cut
    "postgresql": [
        f"SET lock_timeout = '{WAIT}s'",
        # a process that hangs or is cut off would keep others from writing
        f"SET idle_in_transaction_session_timeout = '{WAIT}s'",
    ],
}
MEMORY = ":memory:"
AT_ONCE = 10_000  # events of a statement


class Article(NamedTuple):
    """An article's fields, ``None`` if it was removed; ``published`` in UTC seconds, if known."""

    id: str
    fields: Mapping[str, str] | None
    published: float | None = None

    @classmethod
    def of(cls, name: str, content: Content, published: float | None) -> Article:
        """Equal for equal contents: empty fields are left out."""
        fields = {TITLE: content} if isinstance(content, str) else content
        kept = {key: value for key, value in fields.items() if value or key == TITLE}
        return cls(name, kept, published)


class Tallies(NamedTuple):
    """Tallies up to a sequence number: only the requested ones, or ``everything``."""

    summed_up: int
    sequence: int
    everything: bool
    tallies: Iterator[Tally]


class _About(NamedTuple):
    summed_up: int  # events before this time (UTC seconds) are kept as sums, without their ids
    sequence: int  # of the newest change
    forgotten: int  # sequence of the newest event that was summed up


class Store:
    """Articles and events; processes and threads may share it.

    Changes are numbered in the order of their commits, so each process reads what is new to it.
    ``place``: an SQLite file, ``:memory:`` (temporary) or ``postgresql://USER@HOST/DATABASE``.
    Raises ``ValueError`` if it cannot be opened, is not a store, or is of a later version.
    """

    def __init__(self, place: Path | str = MEMORY) -> None:
        self._lock = threading.Lock()
        self.is_temporary = str(place) == MEMORY
        url = _url(str(place))
        self._kind, self._name = url.get_backend_name(), url.render_as_string()  # no password
        try:
            self._engine = create_engine(url, **_options(self._kind))
            event.listen(self._engine, "connect", self._prepare)
            self._migrate()
        except SQLAlchemyError as problem:
            raise ValueError(f"{self._name} expects a store of events: {problem}.") from problem

    def _prepare(self, connection: Any, _: object) -> None:
        if self._kind == "sqlite":
            connection.isolation_level = None  # transactions begin in _transaction alone
            _write_ahead(connection)
        for statement in CONNECT[self._kind]:
            connection.execute(statement)
        connection.commit()

    def _migrate(self) -> None:
        with self._transaction(write=True) as connection:
            version = 0
            if inspect(connection).get_table_names():
                version = connection.execute(text("SELECT version FROM about")).scalar_one()
            if version > len(SCRIPTS):
                raise ValueError(
                    f"{self._name} has schema version {version}, and this version of "
                    f"recbole_tinynews reads {len(SCRIPTS)}. Use another one, or install the "
                    "version that wrote it."
                )
            for script in SCRIPTS[version:]:
                for statement in script.split(";"):
                    connection.exec_driver_sql(statement)
            if version < len(SCRIPTS):
                connection.execute(text(f"UPDATE about SET version = {len(SCRIPTS)}"))

    def add(
        self,
        events: Iterable[Event],
        keep: float,
        now: float | None = None,
        if_empty: bool = False,
    ) -> int:
        """Commit events, all or none (``if_empty``: of an empty store); the number of new ids.

        Events older by more than ``keep`` seconds (and an hour) than ``now`` are summed up, without
        their ids; ``now=None`` is the last event's time, and events come in order of time.
        """
        counted, rest = 0, iter(events)
        with self._transaction(write=True) as connection:
            if if_empty and connection.execute(text(f"{EVERYTHING} LIMIT 1")).first():
                return 0
            while some := [*islice(rest, AT_ONCE)]:
                counted += _insert(connection, some)
                _sum_up(connection, int((some[-1].time if now is None else now) - keep))
        return counted

    @contextmanager
    def tallies(self, since: int) -> Iterator[Tallies]:
        """Events after a sequence number; everything, if some of them were summed up."""
        with self._transaction() as connection:
            summed_up, sequence, forgotten = _about(connection)
            everything = since < forgotten or since < 0
            if everything:
                connection = connection.execution_options(stream_results=True)
            rows = connection.execute(EVERYTHING if everything else NEWER.bindparams(since=since))
            yield Tallies(summed_up, sequence, everything, map(Tally._make, rows))

    def put(self, articles: Sequence[Article]) -> None:
        """Commit articles: new, changed or, without fields, removed ones."""
        with self._transaction(write=True) as connection:
            start = _take(connection, len(articles))
            rows = [
                each._asdict()
                | {"fields": each.fields and json.dumps(each.fields), "sequence": start + place}
                for place, each in enumerate(articles, start=1)
            ]
            if rows:
                connection.execute(PUT, rows)

    def articles(self, since: int = 0) -> tuple[int, list[Article]]:
        """The newest sequence number, and articles that changed after ``since``, in order."""
        with self._transaction() as connection:
            found = connection.execute(CHANGED, {"since": since})
            changed = [Article(i, fields and json.loads(fields), p) for i, fields, p in found]
            return _about(connection).sequence, changed

    def sequence(self) -> int:
        """The newest sequence number."""
        with self._transaction() as connection:
            return _about(connection).sequence

    def close(self) -> None:
        """Release the file or the server."""
        self._engine.dispose()

    @contextmanager
    def _transaction(self, write: bool = False) -> Iterator[Connection]:
        with self._lock, self._engine.connect() as connection:
            connection.exec_driver_sql(BEGIN[self._kind][write])
            yield connection
            connection.commit()


def _write_ahead(connection: Any) -> None:
    """Readers don't block a commit. SQLite refuses at once while another process commits."""
    end = time.monotonic() + WAIT
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as problem:
            if "locked" not in str(problem) or time.monotonic() > end:
                raise
        time.sleep(0.01)


def _url(place: str) -> URL:
    if not place.startswith(("postgresql://", "sqlite://")):
        return URL.create("sqlite", database=place)
    try:
        url = make_url(place)
    except (ArgumentError, ValueError) as problem:
        raise ValueError(
            f"A store expects a file or postgresql://..., got another URL: {problem}."
        ) from problem
    return url.set(drivername="postgresql+psycopg") if url.drivername == "postgresql" else url


def _options(kind: str) -> dict[str, Any]:
    if kind == "sqlite":  # one connection: another one in memory would be another database
        options = {"timeout": WAIT, "check_same_thread": False}
        return {"poolclass": StaticPool, "connect_args": options}
    return {"pool_pre_ping": True, "connect_args": {"connect_timeout": 5}}


def _about(connection: Connection) -> _About:
    columns = ", ".join(_About._fields)
    return _About._make(connection.execute(text(f"SELECT {columns} FROM about")).one())


def _take(connection: Connection, number: int) -> int:
    """Reserve sequence numbers, and return the last one before them."""
    last = _about(connection).sequence
    connection.execute(text("UPDATE about SET sequence = :last"), {"last": last + number})
    return last


def _insert(connection: Connection, events: Sequence[Event]) -> int:
    start = _take(connection, len(events))
    rows = [
        each._asdict()
        | {"clicks": int(each.kind == CLICK), "exposures": int(each.kind != CLICK)}
        | {"sequence": start + place}
        for place, each in enumerate(events, start=1)
    ]
    connection.execute(ADD, rows)
    counted = text("SELECT count(*) FROM events WHERE sequence > :start")
    return connection.execute(counted, {"start": start}).scalar_one()


def _sum_up(connection: Connection, before: int) -> None:
    about, given = _about(connection), {"before": before}
    if before < about.summed_up + HOUR:
        return
    newest = connection.execute(
        text("SELECT max(sequence) FROM events WHERE time < :before"), given
    )
    forgotten = max(about.forgotten, newest.scalar() or 0)
    connection.execute(SUM_UP, given)
    connection.execute(text("DELETE FROM events WHERE time < :before"), given)
    changed = text("UPDATE about SET summed_up = :before, forgotten = :forgotten")
    connection.execute(changed, {**given, "forgotten": forgotten})
