"""Pool impressions from several places."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from recbole_tinynews.convert.errors import ConversionError, OnBadLine
from recbole_tinynews.convert.readers.reader import Reader
from recbole_tinynews.convert.records import Impression


def read_places(
    reader: Reader, places: Sequence[Path], on_bad_line: OnBadLine, labels_required: bool
) -> Iterator[Impression]:
    """Impressions of all places, with unique ids.

    MIND numbers impressions per folder from 1: a repeated id gets its place as suffix, ``7/2``.

    Raises:
        ConversionError: two places share an impression (id, user and time), or one is unusable.
    """
    shown: dict[str, tuple[str, int]] = {}  # id -> (user, time), if there are several places
    for number, place in enumerate(places, 1):
        path = reader.impressions_file(place)
        found = False
        for impression in reader.read_impressions(place, on_bad_line, labels_required):
            found = True
            if len(places) == 1 or impression.impression_id == reader.shared_id:
                yield impression
                continue
            given, user, timestamp, *_ = impression
            if shown.get(given) == (user, timestamp):
                raise ConversionError(
                    f"{path}: expected impressions that no earlier folder has, got {given} of "
                    f"{user} at the same time again. Give only one of two folders that overlap."
                )
            unique = given
            while unique in shown:
                unique += f"/{number}"
            shown[unique] = user, timestamp
            yield impression._replace(impression_id=unique)
        if not found:
            raise ConversionError(f"{path}: expected impressions, got no line that can be used.")
