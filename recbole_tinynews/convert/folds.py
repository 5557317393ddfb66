"""Cross-validation by user: each fold tests users that it does not train on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recbole_tinynews.convert.atomic import read_inter
from recbole_tinynews.convert.conversion import Conversion, Folders, PathLike, Written, paths_of
from recbole_tinynews.convert.errors import ConversionError
from recbole_tinynews.convert.options import LAST_DAY, Options
from recbole_tinynews.convert.readers.reader import Source
from recbole_tinynews.convert.tally import Part, copy_rows, latest

GROUPING = "users in the order of the SHA-256 of their ids, dealt out in turn"


def convert_folds(
    folders: Folders,
    dataset: str,
    folds: int,
    *,
    format: str = "mind",
    columns: Mapping[str, str] | None = None,
    news: Folders = (),
    sampled: int = 20,
    seed: int = 0,
    rows: str | None = None,
    valid: str | float = LAST_DAY,
    bodies: PathLike | None = None,
    output: PathLike = "dataset",
    on_error: str = "stop",
    layout: str = "impression",
    check_leaks: bool = False,
) -> list[dict[str, Any]]:
    """Convert news and clicks into the folds of a cross-validation by user; return their reports.

    Writes ``output/<dataset>-fold1/`` to ``-fold<folds>/``, all or none. Each fold tests all
    impressions of one group of users; of the others' impressions, the last day or latest fraction
    (``valid``) is for validation and the rest, later ones too, for training. ``folders`` are pooled
    and fully labelled; other arguments and errors are those of ``convert_news``.
    """
    return _FoldedConversion.write(
        Options(
            train=paths_of(folders),
            dataset=dataset,
            valid=valid,
            test=(),
            bodies=None if bodies is None else Path(bodies),
            output=Path(output),
            on_error=on_error,
            layout=layout,
            check_leaks=check_leaks,
            folds=folds,
            source=Source(format, dict(columns or {}), paths_of(news), sampled, seed, rows),
        )
    )


class _FoldedConversion(Conversion):
    """A conversion that reads impressions once and distributes them to all folds."""

    def write_impressions(self) -> list[Written]:
        pooled = self.staging / "pooled.inter"  # outside the data sets' folders, so never published
        tally = self.write_rows(pooled, self.settings.train, labels_required=True)
        datasets, kept = self.settings.datasets, self.settings.valid
        assert not isinstance(kept, Path), "refused with the options"
        users = [row.user_id for row in read_inter(pooled)]
        group = groups_of(users, len(datasets))
        written = []
        for number, dataset in enumerate(datasets):
            test = group == number
            rest = np.flatnonzero(~test)
            valid = np.zeros(len(users), dtype=bool)
            valid[rest] = latest(tally.timestamps[rest], kept)
            masks = {"train": ~(test | valid), "valid": valid, "test": test}
            copies = {self.file(dataset, f"{split}.inter"): m for split, m in masks.items()}
            copy_rows(pooled, copies)
            tested = len({user for user, one in zip(users, test.tolist(), strict=True) if one})
            fold = {
                "number": number + 1,
                "of": len(datasets),
                "test_users": tested,
                "other_users": len(set(users)) - tested,
                "grouping": GROUPING,
            }
            parts = {split: Part(tally, mask) for split, mask in masks.items()}
            written.append(Written(dataset, parts, {"fold": fold}))
        return written


def groups_of(users: Sequence[str], groups: int) -> NDArray[np.int64]:
    """The group of each impression's user, from 0, whatever their order: ``[impressions]``."""
    distinct = sorted(set(users), key=lambda user: sha256(user.encode()).digest())
    if len(distinct) < groups:
        raise ConversionError(
            f"--folds={groups}: expected at least as many users, got {len(distinct)}. Ask for "
            "fewer folds."
        )
    group = {user: place % groups for place, user in enumerate(distinct)}
    return np.array([group[user] for user in users])
