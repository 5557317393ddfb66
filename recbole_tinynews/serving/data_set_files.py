"""Articles and events of a recommender's data set, from its atomic files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from recbole_tinynews.data.atomic_files import (
    ItemColumns,
    TokenIndex,
    concatenate,
    read_impressions,
    read_news,
)
from recbole_tinynews.files.columns import GROUPS
from recbole_tinynews.files.installation import packaged_folder
from recbole_tinynews.serving.events import CLICK, EXPOSURE, Event
from recbole_tinynews.serving.reading import FIELDS, Read, Reading


def read_of(news: ItemColumns, reading: Reading) -> list[Read]:
    """The fields that a recommender reads of each article."""
    rows = zip(*(getattr(news, name) for name in FIELDS), strict=True)
    return [reading.read(dict(zip(FIELDS, row, strict=True))) for row in rows]


def find_item_file(name: str, data_path: str | Path | None) -> Path | None:
    """A data set's ``.item`` file, or ``None``, by ``data_path`` as for ``load``."""
    return next((file for file in _places(name, data_path) if file.is_file()), None)


class DataSetTexts:
    """Articles of a data set by id, read on first use; arguments as for ``find_item_file``."""

    def __init__(self, name: str, reading: Reading, data_path: str | Path | None) -> None:
        self.name, self._reading, self._data_path = name, reading, data_path

    def __contains__(self, news_id: str) -> bool:
        """Whether the data set has this id; ``FileNotFoundError`` if there is no data set."""
        return news_id in self._by_id

    def read(self, ids: Sequence[str]) -> list[Read]:
        """The fields read of these articles; ``ValueError`` for an unknown id."""
        known = self._by_id if ids else {}
        unknown = [each for each in ids if each not in known]
        if unknown:
            raise ValueError(
                f"News ids of data set '{self.name}' are expected, got {unknown[0]!r}, which its "
                f".item file does not have"
                f"{f' ({len(unknown)} of {len(ids)} are unknown)' if len(unknown) > 1 else ''}. "
                "Pass titles with ids=False, add the article with add_news, or leave out what has "
                "no text."
            )
        return [known[each][0] for each in ids]

    def groups(self, news_id: str) -> dict[str, str]:
        """Groups of an article by column; empty if the data set or the id is unknown."""
        known = self._by_id.get(news_id) if find_item_file(self.name, self._data_path) else None
        return {} if known is None else dict(zip(GROUPS, known[1], strict=True))

    @cached_property
    def _by_id(self) -> dict[str, tuple[Read, tuple[str, ...]]]:
        file = find_item_file(self.name, self._data_path)
        if file is None:
            places = " or ".join(str(f.absolute()) for f in _places(self.name, self._data_path))
            raise FileNotFoundError(
                f"News ids are looked up in data set '{self.name}', which is not found: {places} "
                "is expected. Pass the folder that contains it: load(folder, data_path=...); or "
                "add the articles with add_news, or pass titles with ids=False."
            )
        news = read_news(file)
        groups = zip(*(getattr(news, column) for column in GROUPS), strict=True)
        about = zip(read_of(news, self._reading), groups, strict=True)
        return dict(zip(news.item_id, about, strict=True))


def data_folders(data_path: str | Path | None) -> list[Path]:
    """Folders that may contain a data set's folder, by ``data_path`` as for ``load``."""
    if data_path is None:
        return [Path("dataset"), packaged_folder("dataset")]
    return [Path(data_path)]


def _places(name: str, data_path: str | Path | None) -> list[Path]:
    return [folder / name / f"{name}.item" for folder in data_folders(data_path)]


def data_set_events(folder: Path) -> Iterator[Event]:
    """Exposures and clicks of all splits in order of time; ``ValueError`` for a damaged file."""
    name, news, users = folder.resolve().name, TokenIndex(), TokenIndex()
    files = sorted(folder.glob(f"{name}.*.inter"))
    if not files:
        raise FileNotFoundError(f"{folder} expects impressions, {name}.train.inter, and has none.")
    log = concatenate(block for file in files for block in read_impressions(file, news, users))
    articles, people = list(news), list(users)
    for row in np.argsort(log.timestamp, kind="stable").tolist():
        user, time = people[log.user[row]], int(log.timestamp[row])
        for place in range(*log.candidates.offsets[row : row + 2].tolist()):
            article = articles[log.candidates.values[place]]
            yield Event(f"{name} {place}", EXPOSURE, article, user, time)
            if log.labels[place] == 1:
                yield Event(f"{name} {place} click", CLICK, article, user, time)
