"""State of services, articles and events, in SQLite or PostgreSQL (SQLAlchemy Core)."""

from __future__ import annotations

import json
import math
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import (
    URL,
    Connection,
    TextClause,
    create_engine,
    event,
    inspect,
    make_url,
    text,
)
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import StaticPool

from recbole_tinynews.data.popularity import HOUR
from recbole_tinynews.files.columns import TITLE
from recbole_tinynews.serving.events import CLICK, EXPOSURE, Event, Tally
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
    """
CREATE TABLE held (
    id TEXT PRIMARY KEY, article TEXT NOT NULL, "user" TEXT NOT NULL, time BIGINT NOT NULL,
    clicks INTEGER NOT NULL, exposures INTEGER NOT NULL, sequence BIGINT NOT NULL
);
CREATE INDEX held_by_time ON held (time)
""",
)
DAY = 24 * HOUR
ADD, HOLD = (
    text(f"""
INSERT INTO {table} VALUES (:id, :article, :user, :time, :clicks, :exposures, :sequence)
ON CONFLICT (id) DO NOTHING
""")
    for table in ("events", "held")
)
NEAR = text(f"SELECT max(time) FROM held WHERE time <= (SELECT max(time) FROM events) + {DAY}")
# if events of two readers are within an hour, so are two of them that are neighbours in time
AGREED = text(f"""
SELECT max(time) FROM (
    SELECT time, "user", lag(time) OVER by_time AS previous, lag("user") OVER by_time AS other
    FROM held WINDOW by_time AS (ORDER BY time)
) AS neighbours
WHERE time <= previous + {HOUR} AND ("user" <> other OR "user" = '')
""")
RELEASE = text("""
INSERT INTO events
SELECT id, article, "user", time, clicks, exposures, :sequence FROM held WHERE time <= :until
ON CONFLICT (id) DO NOTHING
""")
HELD = text('SELECT id, clicks, article, "user", time FROM held ORDER BY time, id')
LATER = text("""
SELECT (SELECT count(*) FROM events WHERE time > :time)
    + (SELECT count(*) FROM held WHERE time > :time)
    + (SELECT coalesce(sum(clicks + exposures), 0) FROM sums WHERE time > :time)
""")
DROPPED = text("""
UPDATE about SET forgotten = :sequence,
    summed_up = CASE WHEN summed_up < :time THEN summed_up ELSE :time END
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
# one statement, as each is a way to the server and back
ABOUT = text(f"""
SELECT summed_up, sequence, forgotten, coalesce((SELECT max(time) FROM events), summed_up),
    (SELECT max(time) FROM events WHERE time <= (SELECT max(time) FROM events) - {HOUR}),
    EXISTS (SELECT 1 FROM held)
FROM about
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
    newest: int
    sequence: int
    everything: bool
    tallies: Iterator[Tally]


class Stored(NamedTuple):
    """Numbers of new events: those that count, and those that are held."""

    counted: int
    held: int


class _About(NamedTuple):
    summed_up: int  # events before this time (UTC seconds) are kept as sums, without their ids
    sequence: int  # of the newest change
    forgotten: int  # sequence of the newest event that was summed up or taken out
    newest: int  # time of the newest event that counts (UTC seconds); 0: none
    followed: int | None  # that of the newest one that is older than it by an hour
    holds: bool  # whether any events are held


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
    ) -> Stored:
        """Commit events, all or none (``if_empty``: of an empty store).

        An event over a day after the newest counted one is held: its clock may be wrong. It counts
        once another reader's is held within an hour of it (an unknown reader is always another), or
        it is within a day. Without ``now``, events are a log's in order of time: none is held.

        Events older by more than ``keep`` seconds (and an hour) than ``now``, and than events that
        others have followed for an hour, are summed up, without their ids.
        """
        counted, held, rest = 0, 0, iter(events)
        with self._transaction(write=True) as connection:
            if if_empty and connection.execute(text(f"{EVERYTHING} LIMIT 1")).first():
                return Stored(0, 0)
            while some := [*islice(rest, AT_ONCE)]:
                stored = _insert(connection, some, may_hold=now is not None)
                counted, held = counted + stored.counted, held + stored.held
                _sum_up(connection, keep, math.inf if now is None else now)
        return Stored(counted, held)

    def held(self) -> list[Event]:
        """Events that are held, oldest first."""
        with self._transaction() as connection:
            rows = connection.execute(HELD).all()
        return [Event(i, CLICK if c else EXPOSURE, a, user, time) for i, c, a, user, time in rows]

    def drop_after(self, time: int) -> int:
        """Take out events after a time (UTC seconds), held ones too; their number.

        Other processes notice. If events before ``time`` had been summed up because of those taken
        out, they stay, and counters are known again from a longest window after ``time`` on.
        """
        given = {"time": time}
        with self._transaction(write=True) as connection:
            number: int = connection.execute(LATER, given).scalar_one()
            for table in ("events", "held", "sums"):
                connection.execute(text(f"DELETE FROM {table} WHERE time > :time"), given)
            connection.execute(DROPPED, {**given, "sequence": _take(connection, 1).sequence + 1})
        return number

    @contextmanager
    def tallies(self, since: int) -> Iterator[Tallies]:
        """Events after a sequence number; everything, if some were summed up or taken out."""
        with self._transaction() as connection:
            about = _about(connection)
            everything = since < about.forgotten or since < 0
            if everything:
                connection = connection.execution_options(stream_results=True)
            rows = connection.execute(EVERYTHING if everything else NEWER.bindparams(since=since))
            tallies = map(Tally._make, rows)
            yield Tallies(about.summed_up, about.newest, about.sequence, everything, tallies)

    def put(self, articles: Sequence[Article]) -> None:
        """Commit articles: new, changed or, without fields, removed ones."""
        with self._transaction(write=True) as connection:
            start = _take(connection, len(articles)).sequence
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
    return _About._make(connection.execute(ABOUT).one())


def _take(connection: Connection, number: int) -> _About:
    """Reserve sequence numbers, and return what was before them."""
    about = _about(connection)
    last = {"last": about.sequence + number}
    connection.execute(text("UPDATE about SET sequence = :last"), last)
    return about


def _insert(connection: Connection, events: Sequence[Event], may_hold: bool) -> Stored:
    about = _take(connection, len(events))
    start = about.sequence
    # the first events of a store have none to be compared with
    latest = about.newest + DAY if may_hold and about.newest else math.inf
    rows = [
        each._asdict()
        | {"clicks": int(each.kind == CLICK), "exposures": int(each.kind != CLICK)}
        | {"sequence": start + place}
        for place, each in enumerate(events, start=1)
    ]
    near = [row for row in rows if row["time"] <= latest]
    far = [row for row in rows if row["time"] > latest]
    for statement, some in ((ADD, near), (HOLD, far)):
        if some:
            connection.execute(statement, some)
    new = _number_after(connection, "events", start)
    if far:
        new += _number_after(connection, "held", start)
        _count_held(connection, AGREED)
    if far or about.holds:
        while _count_held(connection, NEAR):  # the newest counted one may be later each time
            pass
    held = _number_after(connection, "held", start) if far else 0
    return Stored(new - held, held)


def _number_after(connection: Connection, table: str, start: int) -> int:
    number = text(f"SELECT count(*) FROM {table} WHERE sequence > :start")
    return connection.execute(number, {"start": start}).scalar_one()


def _count_held(connection: Connection, until: TextClause) -> bool:
    """Count held events up to the time that a statement finds, if any."""
    time = connection.execute(until).scalar()
    if time is None:
        return False
    given = {"until": time, "sequence": _take(connection, 1).sequence + 1}
    connection.execute(RELEASE, given)
    connection.execute(text("DELETE FROM held WHERE time <= :until"), given)
    return True


def _sum_up(connection: Connection, keep: float, now: float) -> None:
    """Sum up old events, unless a clock that was ahead for less than an hour makes them seem so."""
    about = _about(connection)
    if about.followed is None:
        return
    given = {"before": int(min(now, about.followed + HOUR) - keep)}
    if given["before"] < about.summed_up + HOUR:
        return
    newest = connection.execute(
        text("SELECT max(sequence) FROM events WHERE time < :before"), given
    ).scalar()
    if newest is None:
        return
    connection.execute(SUM_UP, given)
    connection.execute(text("DELETE FROM events WHERE time < :before"), given)
    changed = text("UPDATE about SET summed_up = :before, forgotten = :forgotten")
    connection.execute(changed, {**given, "forgotten": max(about.forgotten, newest)})
