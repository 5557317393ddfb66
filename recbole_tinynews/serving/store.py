"""State of services, articles and events, in SQLite or PostgreSQL (SQLAlchemy Core)."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import URL, Connection, create_engine, inspect, make_url, text
from sqlalchemy import event as engine_event
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import StaticPool

from recbole_tinynews.data.popularity import HOUR
from recbole_tinynews.files.columns import TITLE
from recbole_tinynews.files.whole import exclusive_lock
from recbole_tinynews.serving.events import CLICK, EXPOSURE, Event, Tally

VERSION = 6  # of the schema
COUNTS, HELD, SUM = 0, 1, 2  # states of events; what is held does not count yet
# a sum is of a reader's old events of an article, and has no id; `about` has one row
SCHEMA = (
    """
CREATE TABLE events (
    id TEXT UNIQUE, article TEXT NOT NULL, "user" TEXT NOT NULL, time BIGINT NOT NULL,
    clicks INTEGER NOT NULL, exposures INTEGER NOT NULL, shown BIGINT NOT NULL,
    clicked BIGINT NOT NULL, sequence BIGINT NOT NULL, state INTEGER NOT NULL
)""",
    "CREATE INDEX events_by_time ON events (state, time)",
    "CREATE INDEX events_by_sequence ON events (sequence)",
    f'CREATE UNIQUE INDEX events_summed_up ON events (article, "user") WHERE state = {SUM}',
    """
CREATE TABLE articles (
    id TEXT PRIMARY KEY, fields TEXT, published DOUBLE PRECISION, sequence BIGINT NOT NULL
)""",
    "CREATE INDEX articles_by_sequence ON articles (sequence)",
    """
CREATE TABLE about (
    version INTEGER NOT NULL, summed_up BIGINT NOT NULL, sequence BIGINT NOT NULL,
    forgotten BIGINT NOT NULL
)""",
    f"INSERT INTO about VALUES ({VERSION}, 0, 0, 0)",
)
DAY = 24 * HOUR
# an event that was held is replaced by one with its id that counts
ADD = text(f"""
INSERT INTO events VALUES
    (:id, :article, :user, :time, :clicks, 1 - :clicks,
    CASE WHEN :clicks = 1 THEN -1 ELSE :time END, CASE WHEN :clicks = 1 THEN :time ELSE -1 END,
    :sequence, :state)
ON CONFLICT (id) DO UPDATE SET article = excluded.article, "user" = excluded."user",
    time = excluded.time, clicks = excluded.clicks, exposures = excluded.exposures,
    shown = excluded.shown, clicked = excluded.clicked, sequence = excluded.sequence,
    state = excluded.state
    WHERE events.state = {HELD} AND excluded.state = {COUNTS}
""")
NEWEST = f"(SELECT max(time) FROM events WHERE state = {COUNTS})"
NEAR = f"SELECT max(time) FROM events WHERE state = {HELD} AND time <= {NEWEST} + {DAY}"
# if events of two readers are within an hour, so are two of them that are neighbours in time
AGREED = f"""
SELECT max(time) FROM (
    SELECT time, "user", lag(time) OVER by_time AS previous, lag("user") OVER by_time AS other
    FROM events WHERE state = {HELD} WINDOW by_time AS (ORDER BY time)
) AS neighbours
WHERE time <= previous + {HOUR} AND ("user" <> other OR "user" = '')
"""
RELEASE = f"""
UPDATE events SET state = {COUNTS}, sequence = :sequence WHERE state = {HELD} AND time <= :until
"""
NEW = "SELECT count(*), coalesce(sum(state), 0) FROM events WHERE sequence > :start"
THOSE_HELD = f"""
SELECT id, clicks, article, "user", time FROM events WHERE state = {HELD} ORDER BY time, id
"""
LATER = "SELECT coalesce(sum(clicks + exposures), 0) FROM events WHERE time > :time"
DROPPED = """
UPDATE about SET forgotten = :sequence,
    summed_up = CASE WHEN summed_up < :time THEN summed_up ELSE :time END
"""
PUT = text("""
INSERT INTO articles VALUES (:id, :fields, :published, :sequence)
ON CONFLICT (id) DO UPDATE SET fields = excluded.fields, sequence = excluded.sequence,
    published = coalesce(excluded.published, articles.published)
    WHERE coalesce(articles.fields, '') <> coalesce(excluded.fields, '')
    OR coalesce(excluded.published, articles.published, -1) <> coalesce(articles.published, -1)
""")
OLD = f"FROM events WHERE state = {COUNTS} AND time < :before"
SUM_UP = f"""
INSERT INTO events
SELECT NULL, article, "user", min(time), sum(clicks), sum(exposures), max(shown), max(clicked),
    0, {SUM} {OLD} GROUP BY article, "user"
ON CONFLICT (article, "user") WHERE state = {SUM} DO UPDATE SET
    time = CASE WHEN events.time < excluded.time THEN events.time ELSE excluded.time END,
    clicks = events.clicks + excluded.clicks, exposures = events.exposures + excluded.exposures,
    shown = CASE WHEN events.shown > excluded.shown THEN events.shown ELSE excluded.shown END,
    clicked =
        CASE WHEN events.clicked > excluded.clicked THEN events.clicked ELSE excluded.clicked END
"""
SUMMED_UP = "UPDATE about SET summed_up = :before, forgotten = :forgotten"
# one statement, as each is a way to the server and back
ABOUT = text(f"""
SELECT summed_up, sequence, forgotten, coalesce({NEWEST}, summed_up),
    (SELECT max(time) FROM events WHERE state = {COUNTS} AND time <= {NEWEST} - {HOUR}),
    EXISTS (SELECT 1 FROM events WHERE state = {HELD})
FROM about
""")
TALLIES = 'SELECT article, "user", time, clicks, exposures, shown, clicked FROM events'
EVERYTHING = f"{TALLIES} WHERE state <> {HELD}"
# with the plus, SQLite looks new ones up by their sequence, and not every event that counts
NEWER = f"{TALLIES} WHERE +state = {COUNTS} AND sequence > :since"
CHANGED = "SELECT id, fields, published FROM articles WHERE sequence > :since ORDER BY sequence"

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
    # readers don't block a commit, and a commit survives a power cut
    "sqlite": ["PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL"],
    "postgresql": [
        f"SET lock_timeout = '{WAIT}s'",
        # a process that hangs or is cut off would keep others from writing
        f"SET idle_in_transaction_session_timeout = '{WAIT}s'",
    ],
}
MEMORY = ":memory:"
AT_ONCE = 10_000  # events of a statement


class StoreError(ValueError):
    """A store's database does not answer or refuses, such as that the disk is full."""


class StoredArticle(NamedTuple):
    """An article's fields, ``None`` if it was removed; ``published`` in UTC seconds, if known."""

    id: str
    fields: Mapping[str, str] | None
    published: float | None = None

    @classmethod
    def of(cls, id: str, published: float | None, **fields: str) -> StoredArticle:
        """Equal for equal contents: empty fields are left out."""
        kept = {name: text for name, text in fields.items() if text or name == TITLE}
        return cls(id, kept, published)


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

    @classmethod
    def read(cls, connection: Connection) -> _About:
        return cls._make(connection.execute(ABOUT).one())


class Store:
    """Articles and events; processes and threads may share it.

    Changes are numbered in the order of their commits, so each process reads what is new to it.
    ``place``: an SQLite file, ``:memory:`` (temporary) or ``postgresql://USER@HOST/DATABASE``.
    Raises ``ValueError`` if it cannot be opened, is not a store, or is of another version.
    """

    def __init__(self, place: Path | str = MEMORY) -> None:
        self._lock = threading.Lock()
        self.is_temporary = str(place) == MEMORY
        url = _url(str(place))
        self._kind, self._name = url.get_backend_name(), url.render_as_string()  # no password
        options: dict[str, Any] = {"pool_pre_ping": True, "connect_args": {"connect_timeout": 5}}
        if self._kind == "sqlite":  # one connection: another one in memory is another database
            arguments = {"timeout": WAIT, "check_same_thread": False}
            options = {"poolclass": StaticPool, "connect_args": arguments}
        # SQLite refuses at once to change the journal of a file that another process makes
        alone: AbstractContextManager[None] = nullcontext()
        file = Path(str(url.database))
        if self._kind == "sqlite" and not self.is_temporary and file.parent.is_dir():
            alone = exclusive_lock(file, "opening it")
        self._engine = create_engine(url, **options)
        engine_event.listen(self._engine, "connect", self._prepare)
        try:
            with alone:
                self._create()
        except StoreError as problem:
            raise ValueError(f"{self._name} expects a store of events: {problem}") from problem

    def _prepare(self, connection: Any, _: object) -> None:
        if self._kind == "sqlite":
            connection.isolation_level = None  # transactions begin in _transaction alone
        for statement in CONNECT[self._kind]:
            connection.execute(statement)
        connection.commit()

    def _create(self) -> None:
        with self._transaction(write=True) as connection:
            if not inspect(connection).get_table_names():
                for statement in SCHEMA:
                    connection.exec_driver_sql(statement)
            version = connection.execute(text("SELECT version FROM about")).scalar_one()
            if version != VERSION:
                raise ValueError(
                    f"{self._name} has schema version {version}, and this version of "
                    f"recbole_tinynews reads {VERSION}. Use another one, or install the version "
                    "that wrote it."
                )

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
            rows = connection.execute(text(THOSE_HELD)).all()
        return [Event(i, CLICK if c else EXPOSURE, a, user, time) for i, c, a, user, time in rows]

    def drop_after(self, time: int) -> int:
        """Take out events after a time (UTC seconds), held ones too; their number.

        Other processes notice. If events before ``time`` had been summed up because of those taken
        out, they stay, and counters are known again from a longest window after ``time`` on.
        """
        values = {"time": time}
        with self._transaction(write=True) as connection:
            number: int = connection.execute(text(LATER), values).scalar_one()
            connection.execute(text("DELETE FROM events WHERE time > :time"), values)
            sequence = _take(connection, 1).sequence + 1
            connection.execute(text(DROPPED), {**values, "sequence": sequence})
        return number

    @contextmanager
    def tallies(self, since: int) -> Iterator[Tallies]:
        """Events after a sequence number; everything, if some were summed up or taken out."""
        with self._transaction() as connection:
            about = _About.read(connection)
            everything = since < about.forgotten or since < 0
            statement = text(NEWER).bindparams(since=since)
            if everything:
                connection = connection.execution_options(stream_results=True)
                statement = text(EVERYTHING)
            tallies = map(Tally._make, connection.execute(statement))
            yield Tallies(about.summed_up, about.newest, about.sequence, everything, tallies)

    def put(self, articles: Sequence[StoredArticle]) -> None:
        """Commit articles: new, changed or, without fields, removed; others stay as they are."""
        with self._transaction(write=True) as connection:
            start = _take(connection, len(articles)).sequence + 1
            rows = [
                {**article._asdict(), "fields": article.fields and json.dumps(article.fields)}
                | {"sequence": sequence}
                for sequence, article in enumerate(articles, start)
            ]
            if rows:
                connection.execute(PUT, rows)

    def articles(self, since: int = 0) -> tuple[int, list[StoredArticle]]:
        """The newest sequence number, and articles that changed after ``since``, in order."""
        with self._transaction() as connection:
            rows = connection.execute(text(CHANGED), {"since": since})
            changed = [StoredArticle(i, fields and json.loads(fields), p) for i, fields, p in rows]
            return _About.read(connection).sequence, changed

    def close(self) -> None:
        """Release the file or the server."""
        self._engine.dispose()

    @contextmanager
    def _transaction(self, write: bool = False) -> Iterator[Connection]:
        try:
            with self._lock, self._engine.connect() as connection:
                connection.exec_driver_sql(BEGIN[self._kind][write])
                yield connection
                connection.commit()
        except SQLAlchemyError as problem:
            # the database's own message, without statement and values
            why = str(getattr(problem, "orig", None) or problem).strip()
            raise StoreError(f"The store does not answer: {why}.") from problem


def _url(place: str) -> URL:
    scheme, separator, _ = place.partition("://")
    if not separator:
        return URL.create("sqlite", database=place)
    try:
        if scheme not in ("postgresql", "postgresql+psycopg", "postgres"):
            raise ValueError(f"{scheme}://...")  # not its password
        return make_url(place).set(drivername="postgresql+psycopg")
    except (ArgumentError, ValueError) as problem:
        raise ValueError(
            f"A store expects a file or postgresql://..., got another URL: {problem}."
        ) from problem


def _take(connection: Connection, number: int) -> _About:
    """Reserve sequence numbers, and return what was before them."""
    about = _About.read(connection)
    last = {"last": about.sequence + number}
    connection.execute(text("UPDATE about SET sequence = :last"), last)
    return about


def _insert(connection: Connection, events: Sequence[Event], may_hold: bool) -> Stored:
    about = _take(connection, len(events))
    # the first events of a store have none to be compared with
    latest = about.newest + DAY if may_hold and about.newest else math.inf
    rows = []
    for sequence, (name, kind, article, user, at) in enumerate(events, about.sequence + 1):
        event = {"id": name, "article": article, "user": user, "time": at}
        state = HELD if at > latest else COUNTS
        rows.append({**event, "clicks": int(kind == CLICK), "sequence": sequence, "state": state})
    connection.execute(ADD, rows)
    new = connection.execute(text(NEW), {"start": about.sequence}).one()[0]
    any_far = any(event.time > latest for event in events)
    if any_far:
        _release(connection, AGREED)
    if any_far or about.holds:
        while _release(connection, NEAR):  # the newest counted one may be later each time
            pass
    held = connection.execute(text(NEW), {"start": about.sequence}).one()[1] if any_far else 0
    return Stored(new - held, held)


def _release(connection: Connection, until: str) -> bool:
    """Count held events up to the time that a statement finds, if any."""
    time = connection.execute(text(until)).scalar()
    if time is None:
        return False
    values = {"until": time, "sequence": _take(connection, 1).sequence + 1}
    connection.execute(text(RELEASE), values)
    return True


def _sum_up(connection: Connection, keep: float, now: float) -> None:
    """Sum up old events, unless a clock that was ahead for less than an hour makes them seem so."""
    about = _About.read(connection)
    if about.followed is None:
        return
    values = {"before": int(min(now, about.followed + HOUR) - keep)}
    if values["before"] < about.summed_up + HOUR:
        return
    newest = connection.execute(text(f"SELECT max(sequence) {OLD}"), values).scalar()
    if newest is None:
        return
    connection.execute(text(SUM_UP), values)
    connection.execute(text(f"DELETE {OLD}"), values)
    connection.execute(text(SUMMED_UP), {**values, "forgotten": max(about.forgotten, newest)})
