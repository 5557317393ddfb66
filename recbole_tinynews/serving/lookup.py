"""Finds articles given by id, title or fields."""

from __future__ import annotations

from collections.abc import Sequence

from recbole_tinynews.serving.data_set_texts import DataSetTexts
from recbole_tinynews.serving.news_index import Shelf
from recbole_tinynews.serving.reading import Read, Reading
from recbole_tinynews.serving.requests import Given

Key = int | Read
"""Of a vector: the row of an article in the shelf, or what is read of another one."""


class Lookup:
    """Keys of given articles; added articles take precedence over those of the data set."""

    def __init__(self, reading: Reading, data_set: DataSetTexts) -> None:
        self._reading, self._data_set = reading, data_set

    def keys(
        self, given: Sequence[Sequence[Given]], ids: bool | None, shelf: Shelf
    ) -> list[list[Key]]:
        """Keys of lists of articles; ``ids`` as for ``Ranker.rank``."""
        texts = [each for part in given for each in part if isinstance(each, str)]
        if ids is None:
            ids = self._are_ids(texts, shelf)
        read = self._reading.read
        if not ids:
            return [[read(e if isinstance(e, str) else e[1]) for e in part] for part in given]
        elsewhere = [text for text in dict.fromkeys(texts) if text not in shelf.rows]
        keys: dict[str, Key] = dict(
            zip(elsewhere, self._of_data_set(elsewhere, shelf), strict=True)
        )
        keys.update((text, shelf.rows[text]) for text in texts if text in shelf.rows)
        return [[keys[e] if isinstance(e, str) else read(e[1]) for e in part] for part in given]

    def read(self, ids: Sequence[str], shelf: Shelf) -> list[Read]:
        """The fields read of the articles with these ids."""
        elsewhere = [each for each in ids if each not in shelf.rows]
        read = dict(zip(elsewhere, self._data_set.read(elsewhere), strict=True))
        return [shelf.read[shelf.rows[i]] if i in shelf.rows else read[i] for i in ids]

    def _of_data_set(self, ids: list[str], shelf: Shelf) -> list[Read]:
        try:
            return self._data_set.read(ids)
        except FileNotFoundError as problem:
            if not shelf.ids:
                raise
            raise ValueError(
                f"Ids of the {len(shelf.ids):,} articles that were added are expected, got "
                f"{ids[0]!r}{f' and {len(ids) - 1} more' if len(ids) > 1 else ''}. {problem}"
            ) from None

    def _are_ids(self, texts: list[str], shelf: Shelf) -> bool:
        if any(len(text.split()) != 1 for text in texts):  # titles have several words, or none
            return False
        elsewhere = [text for text in texts if text not in shelf.rows]
        if not elsewhere:
            return True
        try:
            unknown = [text for text in elsewhere if text not in self._data_set]
        except FileNotFoundError:
            if all(any(letter.isdigit() for letter in text) for text in elsewhere):
                raise  # nobody would notice that "N123" was ranked as a title
            unknown = elsewhere
        if unknown and len(unknown) < len(texts):
            known = next(text for text in texts if text not in set(unknown))
            raise ValueError(
                f"rank expects all ids or all titles, got the id {known!r} and {unknown[0]!r}, "
                f"which is none of data set '{self._data_set.name}'. Say which with ids=True or "
                "ids=False, or turn ids into titles with titles(ids)."
            )
        return not unknown
