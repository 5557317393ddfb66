"""Ranks candidates for any number of users into files; resumable, in bounded memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from tqdm import tqdm

from recbole_tinynews.bars import progress_bar
from recbole_tinynews.files.array_cache import content_key
from recbole_tinynews.files.locks import exclusive_lock
from recbole_tinynews.files.untrusted import read_json
from recbole_tinynews.files.whole import leftovers, remove, whole_file, write_text
from recbole_tinynews.serving.loading import load_reader
from recbole_tinynews.serving.news_table import expect_news_file, read_news_file
from recbole_tinynews.serving.ranking import Ranker
from recbole_tinynews.serving.table import (
    ALL,
    CANDIDATE,
    CANDIDATES,
    HISTORY,
    USER,
    expect_columns,
    ids_of,
)
from recbole_tinynews.serving.user_file import Part, UserFile, content_of, read_rows_of

USERS_OF_A_PART = 100_000
USERS_AT_ONCE = 8_192
INDEX_FILE, JOB_FILE = "news-{}.safetensors", "job.json"  # named after the articles' file


class Shard(NamedTuple):
    """One of ``n`` processes that share the parts; ``i`` counts from 1."""

    i: int
    n: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Parse ``i/n``; ``ValueError`` for anything else."""
        i, _, n = text.partition("/")
        if not (i.isdecimal() and n.isdecimal() and 1 <= int(i) <= int(n)):
            raise ValueError(f"shard expects i/n with 1 <= i <= n, such as 2/8, got {text!r}.")
        return cls(int(i), int(n))


ONLY = Shard(1, 1)


class Scored(NamedTuple):
    """Counts of one call."""

    written: int  # parts
    there: int  # parts that already existed
    users: int  # scored now
    unknown: int = 0  # clicks and candidates dropped


def score(
    recommender: str | Path,
    news: str | Path,
    users: str | Path,
    output: str | Path,
    candidates: str | Path | None = ALL,
    top: int | None = 50,
    shard: Shard = ONLY,
    device: str = "cpu",
    users_of_a_part: int = USERS_OF_A_PART,
    skip_unknown: bool = False,
) -> Scored:
    """Rank for every user in a file; ``output`` gets ``part-00000.parquet`` and so on.

    Parts are written atomically, so the same call resumes, and shards may run in parallel on
    machines that share the folder. Articles are encoded once, into ``news-*.safetensors`` there.
    Parts are csv if the users are.

    Args:
        recommender: folder of a finished recommender.
        news: file of articles, as for ``read_news_file``.
        users: files as for ``UserFile``, columns as for ``rank_table``.
        output: a folder.
        candidates: ``all`` articles; a file with ``user_id`` and ``candidate``, read through for
            every ``USERS_AT_ONCE`` users; ``None``: the column in ``users``.
        top: number of candidates to keep; ``None``: all.
        shard: the parts to write.
        device: device to compute on.
        users_of_a_part: rows of a part.
        skip_unknown: drop clicks and candidates with unknown ids instead of failing.

    Raises ``FileNotFoundError`` for missing inputs; ``ValueError`` if one is damaged or lacks a
    column, or ``output`` belongs to another job.
    """
    output = Path(output)
    work = UserFile(Path(users), users_of_a_part)
    ranker = load_reader(Path(recommender), device=device)
    expect_news_file(Path(news))
    output.mkdir(parents=True, exist_ok=True)
    job: dict[str, Any] = {
        "recommender": ranker.engine.identity,
        "news": content_key([Path(news)]),
        "users": content_key(content_of(work.files)),
        "users_of_a_part": users_of_a_part,
        "candidates": _content_of_candidates(candidates),
        "top": top,
    }
    if (output / JOB_FILE).exists():
        _check_same_job(job, output)
    _load_news(ranker, Path(news), output / INDEX_FILE.format(job["news"][:12]))
    _check_same_job(job, output)  # begins it, now that its articles can be read
    mine = [part for part in work.parts if part.number % shard.n == shard.i - 1]
    missing = [part for part in mine if not _file_of(part, output).exists()]
    total = sum(part.stop - part.start for part in missing)
    unknown = Unknown(frozenset(ranker.news_ids)) if skip_unknown else None
    with progress_bar(desc="Score", total=total, unit=" users") as bar:
        for part in missing:
            _remove_leftovers(_file_of(part, output))
            tables = _scored(ranker, work, part, candidates, top, bar, unknown)
            _write(tables, _file_of(part, output))
    left_out = 0 if unknown is None else unknown.left_out
    return Scored(len(missing), len(mine) - len(missing), total, left_out)


class Unknown:
    """Drops and counts unknown ids."""

    def __init__(self, known: frozenset[str]) -> None:
        self.known, self.left_out = known, 0

    def from_lists(self, table: pd.DataFrame) -> pd.DataFrame:
        """The users, with only the known ids in their lists."""
        lists = [name for name in (HISTORY, CANDIDATES) if name in table.columns]
        return table.assign(
            **{name: [self._known(ids_of(c)) for c in table[name]] for name in lists}
        )

    def from_rows(self, table: pd.DataFrame) -> pd.DataFrame:
        """The rows with known candidates."""
        expect_columns(table, "candidates", [CANDIDATE])
        known = table[CANDIDATE].astype(str).isin(self.known)
        self.left_out += int((~known).sum())
        return table[known]

    def _known(self, ids: list[str]) -> list[str]:
        known = [each for each in ids if each in self.known]
        self.left_out += len(ids) - len(known)
        return known


def _load_news(ranker: Ranker, news: Path, index: Path) -> None:
    with exclusive_lock(index, "encoding the news"):
        _remove_leftovers(index)
        if not index.exists():
            ranker.add_news(read_news_file(news))
            ranker.save_index(index)
            ranker.forget(ranker.news_ids)
    ranker.load_index(index)


def _remove_leftovers(path: Path) -> None:
    """Remove what killed processes left of a file that no process is writing."""
    for old in leftovers(path):
        remove(old)


def _content_of_candidates(candidates: str | Path | None) -> str:
    if candidates is None:
        return "in the users' file"
    return ALL if candidates == ALL else content_key(content_of([Path(candidates)]))


def _check_same_job(job: dict[str, Any], output: Path) -> None:
    file = output / JOB_FILE
    with exclusive_lock(file, "starting the job"):
        _remove_leftovers(file)
        if not file.exists():
            write_text(file, json.dumps(job, indent=2) + "\n")
        there = read_json(file)
    if not isinstance(there, dict):
        raise ValueError(f"{file} is damaged. Delete {output}.")
    other = [name for name, value in job.items() if there.get(name) != value]
    if other:
        raise ValueError(
            f"{output} expects the job that it was begun with, got another one: "
            f"{', '.join(other)} {'differ' if len(other) > 1 else 'differs'}. Choose another "
            "output, or delete it."
        )


def _scored(
    ranker: Ranker,
    work: UserFile,
    part: Part,
    candidates: str | Path | None,
    top: int | None,
    bar: tqdm,
    unknown: Unknown | None,
) -> Iterator[pd.DataFrame]:
    for users in work.read(part, USERS_AT_ONCE):
        shown: pd.DataFrame | str | None = None if candidates is None else ALL
        if candidates not in (None, ALL):
            expect_columns(users, "users", [USER])
            rows = read_rows_of(Path(candidates), USER, users[USER])
            shown = rows if unknown is None else unknown.from_rows(rows)
        if unknown is not None:
            users = unknown.from_lists(users)
        try:
            yield ranker.rank_table(users, shown, top)
        except (ValueError, TypeError) as mistake:
            raise type(mistake)(
                f"{part.file}, rows {part.start} to {part.stop}: {mistake}"
            ) from None
        bar.update(len(users))


def _file_of(part: Part, output: Path) -> Path:
    ending = ".parquet" if part.file.name.endswith(".parquet") else ".csv"
    return output / f"part-{part.number:05}{ending}"


def _write(tables: Iterator[pd.DataFrame], path: Path) -> None:
    with whole_file(path) as place:
        if path.suffix == ".csv":
            with place.open("w", encoding="utf-8", newline="") as file:
                for number, table in enumerate(tables):
                    table.to_csv(file, index=False, header=number == 0)
            return
        import pyarrow as pa  # there, since the users were read with it
        import pyarrow.parquet as pq

        writer = None
        try:
            for table in tables:
                rows = pa.Table.from_pandas(table, preserve_index=False)
                writer = writer or pq.ParquetWriter(place, rows.schema)
                writer.write_table(rows.cast(writer.schema))
        finally:
            if writer is not None:
                writer.close()
