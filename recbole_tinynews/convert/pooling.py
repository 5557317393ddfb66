"""The impressions of several folders as those of one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from recbole_tinynews.convert.errors import ConversionError
from recbole_tinynews.convert.mind import IMPRESSIONS_FILE, Impression, OnBadLine, read_behaviors


def read_folders(
    folders: Sequence[Path], on_bad_line: OnBadLine, labels_required: bool
) -> Iterator[Impression]:
    """The impressions of all folders, with unique ids.

    MIND numbers the impressions of each folder from 1. An id that an earlier folder has gets a
    slash and the number of its own folder: ``7`` of the second becomes ``7/2``.

    Raises:
        ConversionError: a folder has an impression of an earlier one, by id, user and time; or
            one can't be used (see ``read_behaviors``).
    """
    shown: dict[str, tuple[str, int]] = {}  # user and time by id; kept only to compare folders
    for number, folder in enumerate(folders, 1):
        path = folder / IMPRESSIONS_FILE
        for impression in read_behaviors(path, on_bad_line, labels_required):
            if len(folders) == 1:
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
