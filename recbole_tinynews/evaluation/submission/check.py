"""Checks line by line whether a leaderboard would accept a submission."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from functools import lru_cache
from itertools import zip_longest
from pathlib import Path
from typing import IO, NamedTuple

from recbole_tinynews.bars import progress_bar
from recbole_tinynews.convert.errors import quoted
from recbole_tinynews.convert.readers.ebnerd import IMPRESSION_ID, SHOWN
from recbole_tinynews.evaluation.submission import EBNERD, MEMBERS, MIND, SubmissionError
from recbole_tinynews.files.lines import read_lines
from recbole_tinynews.files.parquet import ID, IDS, read_rows

BEHAVIORS_COLUMNS = 5  # impression id, user id, time, history, candidates
_ZIP_MAGIC = b"PK"
_LONGEST_LINE = 1 << 24  # bytes; bounds memory for files without line ends
_DAMAGED_ZIP = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError)  # the last: encrypted


class Counts(NamedTuple):
    """Numbers of checked impressions and candidates."""

    impressions: int
    candidates: int


def check_submission(
    file: str | Path, behaviors: str | Path, show_progress: bool = False
) -> Counts:
    """Compare a submission (zip or text file) line by line with the impressions that it must rank.

    ``behaviors`` is MIND's ``behaviors.tsv`` or EB-NeRD's ``behaviors.parquet``. Raises
    ``SubmissionError`` for the first wrong line or a bad zip, ``FileNotFoundError`` or
    ``ValueError`` if a file is missing or ``behaviors`` can't be read.
    """
    file, behaviors = Path(file), Path(behaviors)
    number = candidates = 0
    with ExitStack() as stack:
        try:
            prediction, size = _opened(file, MEMBERS[_leaderboard(behaviors)], stack)
            bar = progress_bar(
                desc=f"Check {file.name}",
                shown=show_progress,
                total=size,
                unit="B",
                unit_scale=True,
            )
            stack.enter_context(bar)
            lines = iter(lambda: prediction.readline(_LONGEST_LINE), b"")
            pairs = zip_longest(lines, _expected(behaviors))
            for number, (line, expected) in enumerate(pairs, start=1):
                problem = _problem(line, expected)
                if problem:
                    raise SubmissionError(f"{file}, line {number}, {problem}.")
                candidates += expected[1]
                bar.update(len(line))
        except _DAMAGED_ZIP as problem:
            raise SubmissionError(
                f"{file} expects a complete zip, but after line {number} can't be read: {problem}. "
                "Write or copy it again."
            ) from problem
    return Counts(number, candidates)


def _opened(file: Path, member: str, stack: ExitStack) -> tuple[IO[bytes], int]:
    """The open text file and its size; zips are recognised by content, not name."""
    raw = stack.enter_context(file.open("rb"))
    zipped = raw.read(len(_ZIP_MAGIC)) == _ZIP_MAGIC
    raw.seek(0)
    if not zipped:
        return raw, file.stat().st_size
    archive = stack.enter_context(zipfile.ZipFile(raw))
    names = archive.namelist()
    if names != [member]:
        listed = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        raise SubmissionError(
            f"{file} expects a zip that holds {member} alone, got {listed or 'nothing'}."
        )
    return stack.enter_context(archive.open(member)), archive.getinfo(member).file_size


def _leaderboard(behaviors: Path) -> str:
    return EBNERD if behaviors.suffix == ".parquet" else MIND


def _expected(behaviors: Path) -> Iterator[tuple[str, int]]:
    """Each impression of the test set, with its number of candidates."""
    if _leaderboard(behaviors) == EBNERD:
        for _, cells in read_rows(behaviors, {IMPRESSION_ID: ID, SHOWN: IDS}):
            yield str(cells[IMPRESSION_ID]), len(cells[SHOWN] or ())
        return
    for number, line in enumerate(read_lines(behaviors), start=1):
        fields = line.split("\t")
        if len(fields) != BEHAVIORS_COLUMNS:
            raise ValueError(
                f"{behaviors}, line {number}, expects {BEHAVIORS_COLUMNS} tab-separated columns, "
                f"got {len(fields)}. Pass MIND's behaviors.tsv of the test set."
            )
        yield fields[0], len(fields[4].split())


def _problem(line: bytes | None, expected: tuple[str, int] | None) -> str | None:
    if expected is None:
        text = (line or b"").decode(errors="backslashreplace")
        return f"expects the end of the file, as in the behaviors, got {quoted(text)}"
    impression_id, candidates = expected
    if line is None:
        return f"expects impression {impression_id!r}, got the end of the file"
    try:
        text = line.decode().removesuffix("\n")
    except UnicodeDecodeError as problem:
        return f"expects UTF-8, got {problem}"
    name, _, ranks = text.partition(" ")
    if name != impression_id:
        return f"expects impression {impression_id!r} and a space, got {quoted(text)}"
    words, valid = _words(ranks), _numbers(candidates)
    if ranks[:1] == "[" and ranks[-1:] == "]" and len(words) == len(valid) == len(valid & {*words}):
        return None
    return _problem_of_ranks(ranks, candidates)


def _problem_of_ranks(ranks: str, candidates: int) -> str:
    if ranks.endswith("\r"):
        return r"expects \n alone at its end, got \r\n. Write it with Unix line ends"
    if ranks.split() != [ranks] or ranks[0] != "[" or ranks[-1] != "]":
        return f"expects a list [r1,r2,...] without spaces, got {quoted(ranks)}"
    words, valid = _words(ranks), _numbers(candidates)
    if len(words) != candidates:
        return f"expects {candidates} ranks, one for each candidate, got {len(words)}"
    for place, word in enumerate(words, start=1):
        if word not in valid:
            rank = f"a whole number of 1..{candidates}"
            return f"expects {rank} as the rank of candidate {place}, got {quoted(word)}"
    first = next(place for place, word in enumerate(words) if word in words[:place])
    earlier = words.index(words[first]) + 1
    return (
        f"expects each rank once, got {words[first]} for candidate {earlier} and again for "
        f"candidate {first + 1}"
    )


def _words(ranks: str) -> list[str]:
    inner = ranks[1:-1]
    return inner.split(",") if inner else []


@lru_cache(maxsize=1024)
def _numbers(candidates: int) -> frozenset[str]:
    return frozenset(map(str, range(1, candidates + 1)))
