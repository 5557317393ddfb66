"""Rebuild the real subset of MIND that results are of, from a MIND of your own.

    python -m recbole_tinynews.convert --download=small --download-dir=MIND    # or by hand
    python benchmarks/real_subset.py --mind=MIND --output=SUBSET

The subset itself is not given away: MIND's licence leaves that to Microsoft. ``real_subset.tsv.gz``
has, of each of its impressions, the split, the impression id, and ten digits of a digest of user
and time, by which it is found in whatever folder of MIND has it. Every ``behaviors.tsv`` and
``news.tsv`` below the folder is read. Written are ``train``, ``dev`` and ``nov14``, each with the
two files in MIND's own format, ready for ``recbole_tinynews.convert``.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from recbole_tinynews.files.whole import whole_file

LIST = Path(__file__).with_suffix(".tsv.gz")
BEHAVIORS, NEWS = "behaviors.tsv", "news.tsv"
_COLUMNS = 5  # of an impression: id, user, time, history, candidates


class Wanted(NamedTuple):
    """An impression of the subset."""

    split: str
    impression_id: bytes
    digest: bytes


class Impression(NamedTuple):
    """A line of a ``behaviors.tsv``, and the folder that has it, with the news that it shows."""

    folder: Path
    fields: list[bytes]


Found = dict[bytes, list[Impression]]  # by the digest of user and time


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mind", type=Path, required=True, help="folder with MIND's folders")
    parser.add_argument("--output", type=Path, help="folder to write into")
    parser.add_argument("--list", type=Path, default=LIST, help=f"impressions (default: {LIST})")
    parser.add_argument("--partial", action="store_true", help="write what is there of it")
    parser.add_argument(
        "--write-list",
        action="store_true",
        help="write the list of the impressions below --mind, a split for each folder, instead",
    )
    given = parser.parse_args(arguments)
    try:
        if given.write_list:
            write_list(given.mind, given.list)
        elif given.output is None:
            raise ValueError("--output expects the folder that the subset is written into.")
        else:
            print("\n".join(rebuild(given.mind, given.output, given.list, given.partial)))
    except (OSError, ValueError) as mistake:
        parser.exit(1, f"{parser.prog}: {mistake}\n")


def rebuild(mind: Path, output: Path, listed: Path, partial: bool = False) -> Iterator[str]:
    """Write the subset; yield what was found of each split.

    Raises:
        ValueError: MIND has not all of its impressions, unless ``partial``; nothing is written.
    """
    wanted = read_list(listed)
    found = read_impressions(files(mind, BEHAVIORS), {each.digest for each in wanted})
    splits: dict[str, list[Impression | None]] = {}
    for each in wanted:
        splits.setdefault(each.split, []).append(_choose(found.get(each.digest, ()), each))
    missing = sum(row is None for rows in splits.values() for row in rows)
    if missing and not partial:
        raise ValueError(
            f"The subset expects {len(wanted):,} impressions of MIND-small's training folder, and "
            f"{mind} lacks {missing:,} of them. Name the folder that holds MINDsmall_train, or "
            "take what is there with --partial."
        )
    for split, rows in splits.items():
        there = [row for row in rows if row is not None]
        news = read_news(there)
        _write(output / split / BEHAVIORS, (b"\t".join(row.fields) for row in there))
        _write(output / split / NEWS, news)
        yield (
            f"{split}: {len(there):,} of {len(rows):,} impressions, {len(news):,} news "
            f"in {output / split}"
        )


def files(folder: Path, name: str) -> list[Path]:
    """All files of this name below a folder.

    Raises:
        ValueError: there are none.
    """
    found = sorted(folder.rglob(name))
    if not found:
        raise ValueError(f"--mind expects MIND's {name} below {folder.resolve()}, found none.")
    return found


def read_list(place: Path) -> list[Wanted]:
    """The impressions of the subset, in its order."""
    with gzip.open(place, "rb") as file:
        rows = [line.rstrip(b"\n").split(b"\t") for line in file]
    return [Wanted(split.decode(), name, digest) for split, name, digest in rows]


def write_list(subset: Path, place: Path) -> None:
    """Write the list of a subset: of each folder below it the impressions, in their order."""
    lines = [
        b"\t".join((file.parent.name.encode(), row[0], digest_of(row))) + b"\n"
        for file in files(subset, BEHAVIORS)
        for row in _rows(file)
    ]
    with whole_file(place) as unfinished:
        unfinished.write_bytes(gzip.compress(b"".join(lines), mtime=0))


def digest_of(impression: Sequence[bytes]) -> bytes:
    """Ten hexadecimal digits for user and time, which hardly two impressions share."""
    user_and_time = b"\t".join(impression[1:3])
    return hashlib.blake2b(user_and_time, digest_size=5).hexdigest().encode()


def read_impressions(places: Iterable[Path], wanted: set[bytes]) -> Found:
    """Those of MIND's impressions that have a wanted digest."""
    found: Found = {}
    for place in places:
        for row in _rows(place):
            digest = digest_of(row)
            if digest in wanted:
                found.setdefault(digest, []).append(Impression(place.parent, row))
    return found


def read_news(impressions: Sequence[Impression]) -> list[bytes]:
    """The lines of all articles that they show, from the ``news.tsv`` beside each of them.

    Raises:
        ValueError: an article has no line there.
    """
    shown: dict[Path, set[bytes]] = {}
    for folder, fields in impressions:
        candidates = (each.rpartition(b"-")[0] or each for each in fields[4].split())
        shown.setdefault(folder, set()).update(fields[3].split(), candidates)
    news: dict[bytes, bytes] = {}
    for folder, ids in shown.items():
        there = {line.partition(b"\t")[0]: line for line in _lines(folder / NEWS)}
        lost = sorted(ids - there.keys())
        if lost:
            raise ValueError(
                f"{folder / NEWS} expects a line for each article of its impressions, and lacks "
                f"{len(lost):,}, such as {lost[0].decode()}. Name a folder with whole files."
            )
        # in the file's order; an article of two folders has the first one's line
        news = {**{name: there[name] for name in there if name in ids}, **news}
    return [*news.values()]


def _choose(found: Sequence[Impression], wanted: Wanted) -> Impression | None:
    """The impression with the id of the list if there is one; it has that id in the subset."""
    same = [each for each in found if each.fields[0] == wanted.impression_id]
    for folder, fields in (same or found)[:1]:
        return Impression(folder, [wanted.impression_id, *fields[1:]])
    return None


def _rows(place: Path) -> Iterator[list[bytes]]:
    for number, line in enumerate(_lines(place), start=1):
        fields = line.split(b"\t")
        if len(fields) != _COLUMNS:
            raise ValueError(
                f"{place}, line {number}, expects {_COLUMNS} tab-separated columns, got "
                f"{len(fields)}. Name a folder with MIND's own files."
            )
        yield fields


def _lines(place: Path) -> Iterator[bytes]:
    with place.open("rb") as file:
        for line in file:
            yield line.rstrip(b"\r\n")


def _write(place: Path, lines: Iterable[bytes]) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(place) as unfinished:
        unfinished.write_bytes(b"".join(line + b"\n" for line in lines))


if __name__ == "__main__":
    main()
