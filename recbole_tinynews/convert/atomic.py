"""The records that readers yield, and the atomic files that they become, all or none."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from logging import getLogger
from pathlib import Path
from typing import NamedTuple, TextIO

from recbole_tinynews.convert.errors import ConversionError, quoted
from recbole_tinynews.files.columns import BODY, FLAT_INTER, FLAT_ITEM, INTER, ITEM, header
from recbole_tinynews.files.whole import (
    LockHeldError,
    exclusive_lock,
    leftovers,
    partial_place,
    remove,
)

ATOMIC_FORMAT = 1  # incremented when columns or their meaning change

INTER_HEADER = header(INTER)
_BUFFER = 1 << 20
_SPACES = str.maketrans("\t\n\r", "   ")


class Impression(NamedTuple):
    """One impression; ``labels`` as in the atomic file (``0 1 0``), '' if unlabelled.

    The other fields are the columns ``INTER``; ``context`` has those of ``CONTEXT`` that are known.
    """

    impression_id: str
    user_id: str
    timestamp: int
    history: list[str]
    candidates: list[str]
    labels: str
    context: Mapping[str, str] = {}


class NewsItem(NamedTuple):
    """One article; ``published`` is UTC seconds as text, '' if unknown."""

    news_id: str
    category: str = ""
    subcategory: str = ""
    title: str = ""
    abstract: str = ""
    published: str = ""

    def filled_from(self, other: NewsItem) -> NewsItem:
        """A copy with empty fields filled from another row of this article."""
        pairs = zip(self, other, strict=True)
        return NewsItem(*(its if its.strip() and not mine.strip() else mine for mine, its in pairs))


class NewsRow(NamedTuple):
    """An article; ``body`` is None in formats without bodies."""

    news: NewsItem
    body: str | None = None


def open_atomic(path: Path) -> TextIO:
    r"""Open for writing UTF-8 with ``\n`` line endings on every platform."""
    return path.open("w", encoding="utf-8", newline="\n", buffering=_BUFFER)


def impression_row(impression: Impression, columns: Sequence[str] = INTER) -> str:
    """An impression as one ``.inter`` line; the columns begin with those of ``INTER``."""
    impression_id, user_id, timestamp, history, candidates, labels, context = impression
    more = "".join(f"\t{context.get(name, '')}" for name in columns[len(INTER) :])
    return (
        f"{impression_id}\t{user_id}\t{timestamp}\t{' '.join(history)}\t"
        f"{' '.join(candidates)}\t{labels}{more}\n"
    )


@contextmanager
def inter_file(
    path: Path, columns: Sequence[str], flat: Path | None = None
) -> Iterator[Callable[[bytes], object]]:
    """Open an ``.inter`` and, for stock RecBole, a flat one; gives a function that writes a row."""
    with ExitStack() as files:
        file = files.enter_context(path.open("wb", buffering=_BUFFER))
        file.write(f"{header(columns)}\n".encode())
        if flat is None:
            yield file.write
            return
        flat_file = files.enter_context(open_atomic(flat))
        flat_file.write(f"{header(FLAT_INTER)}\n")

        def write(row: bytes) -> None:
            file.write(row)
            flat_file.writelines(_flat_rows(row))

        yield write


def _flat_rows(row: bytes) -> Iterator[str]:
    """A row for each candidate of an ``.inter`` row; none without labels."""
    _, user, timestamp, _, candidates, labels, *_ = row.decode()[:-1].split("\t")
    if labels:
        check_flat_id(user)
        for item, label in zip(candidates.split(" "), labels.split(" "), strict=True):
            yield f"{user}\t{item}\t{label}\t{timestamp}\n"


def write_items(path: Path, news: Sequence[NewsItem], bodies: Mapping[str, bytes] | None) -> int:
    r"""Write an ``.item``, with the known columns; return how many texts had tabs or line ends."""
    changed = 0
    more = [name for name in NewsItem._fields[len(ITEM) :] if any(getattr(n, name) for n in news)]
    columns = (*ITEM, *([] if bodies is None else [BODY]), *more)
    with open_atomic(path) as file:
        file.write(f"{header(columns)}\n")
        for record in news:
            texts = [*record[: len(ITEM)]]
            if bodies is not None:
                texts.append(bodies.get(record.news_id, b"").decode())
            texts += (getattr(record, name) for name in more)
            row = [text.translate(_SPACES) for text in texts]
            changed += sum(map(str.__ne__, row, texts))
            file.write("\t".join(row) + "\n")
    return changed


def write_without_clicks(folder: Path, news: Sequence[NewsItem]) -> None:
    """Write a data set of articles: all are in the history of one impression, without a click."""
    folder.mkdir(parents=True)
    write_items(folder / f"{folder.name}.item", news, None)
    ids = [record.news_id for record in news]
    shown = Impression("all", "nobody", 0, ids, ids[:1], "0")
    with open_atomic(folder / f"{folder.name}.train.inter") as file:
        file.write(f"{INTER_HEADER}\n{impression_row(shown)}")


FLAT = "-flat"  # follows the name of the data set for stock RecBole
UNKNOWN_CATEGORY = "unknown"

# pandas' default NA values, except the empty string.
# fmt: off
_MISSING = frozenset((
    "#N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>",
    "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null",
))
# fmt: on


def write_flat_items(path: Path, news: Iterable[NewsItem]) -> None:
    """Write ids and categories of the items."""
    with open_atomic(path) as file:
        file.write(f"{header(FLAT_ITEM)}\n")
        for record in news:
            check_flat_id(record.news_id)
            categories = _category(record.category), _category(record.subcategory)
            file.write("\t".join((record.news_id, *categories)) + "\n")


def check_flat_id(token: str) -> None:
    """Raise ``ConversionError`` for an id that stock RecBole would take for another, or none."""
    if token in _MISSING or '"' in token:
        raise ConversionError(
            f"--layout=interaction expects ids that stock RecBole can read, got {quoted(token)}. "
            "Use --layout=impression, or rename it."
        )


def _category(text: str) -> str:
    if text in _MISSING or not text.strip():
        return UNKNOWN_CATEGORY
    return text.translate(_SPACES).replace('"', "'")


# In order of publication: after a kill in between, .item, .train.inter or the report is missing,
# and no reader accepts the data set.
_KINDS = ("valid.inter", "test.inter", "item", "train.inter", "report.json")


@contextmanager
def staged(output: Path, datasets: Sequence[str]) -> Iterator[Path]:
    """A temporary folder with one subfolder per data set, published to ``output`` on success.

    Replaces all files of earlier conversions, and removes leftovers of killed ones with a warning.
    Raises ``ConversionError`` if ``output`` is not writable or another process writes a data set.
    """
    with ExitStack() as stack:  # cleans up on Ctrl-C too
        try:
            staging = _prepare(output, datasets, stack)
        except LockHeldError as error:
            raise ConversionError(str(error)) from error
        except OSError as error:
            raise ConversionError(
                f"--output={output}: expected a folder that can be written to, got: {error}."
            ) from error
        yield staging
        with _deferred_signals():
            for dataset in datasets:  # first, so that old and new files never mix
                for kind in reversed(_KINDS):
                    (output / dataset / f"{dataset}.{kind}").unlink(missing_ok=True)
            for dataset in datasets:
                _publish(staging / dataset, output / dataset)


def _prepare(output: Path, datasets: Sequence[str], stack: ExitStack) -> Path:
    created = [folder for folder in (output, *output.parents) if not folder.exists()]
    stack.callback(_remove_empty, created)
    output.mkdir(parents=True, exist_ok=True)
    targets = [output / dataset for dataset in datasets]
    for target in targets:
        _check_target(target)
    for target in targets:
        stack.enter_context(exclusive_lock(target, f"writing '{target.name}' there", wait=False))
        for folder in leftovers(target):
            remove(folder)
            what = "can't be removed" if folder.exists() else "were removed"
            getLogger(__name__).warning(f"{folder}: leftovers of a killed conversion {what}.")
    staging = stack.enter_context(partial_place(targets[0]))
    for dataset in datasets:
        (staging / dataset).mkdir(parents=True)
    return staging


def _check_target(target: Path) -> None:
    """Fail early, before hours of work."""
    if not os.path.lexists(target):  # also true for a broken link
        return
    if not target.is_dir():
        raise NotADirectoryError(f"{target} is not a folder")
    if not os.access(target, os.W_OK | os.X_OK):
        raise PermissionError(f"{target} is not writable")
    for file in (target / f"{target.name}.{kind}" for kind in _KINDS):
        if file.is_dir():
            raise IsADirectoryError(f"{file} is a folder")


def _remove_empty(folders: Sequence[Path]) -> None:
    for folder in folders:
        with suppress(OSError):  # not empty: success
            folder.rmdir()


@contextmanager
def _deferred_signals() -> Iterator[None]:
    """Defer SIGINT and SIGTERM until the renames are done (a signal mask is per thread)."""
    if threading.current_thread() is not threading.main_thread():  # signals don't reach it
        yield
        return
    arrived: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _: arrived.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        if arrived:
            signal.raise_signal(arrived[0])


def _publish(staging: Path, target: Path) -> None:
    if not target.exists():
        staging.replace(target)
        return
    for kind in _KINDS:
        file = staging / f"{target.name}.{kind}"
        if file.exists():  # not all data sets have a validation or test set
            file.replace(target / file.name)
