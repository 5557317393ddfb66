"""The settings of a conversion, checked before anything is read."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, NamedTuple

from recbole_tinynews.convert.errors import ConversionError, quoted
from recbole_tinynews.convert.flat import SUFFIX
from recbole_tinynews.convert.mind import IMPRESSIONS_FILE, NEWS_FILE

LAST_DAY = "last-day"
ON_ERROR = ("stop", "skip")
LAYOUTS = ("impression", "interaction")


class Options(NamedTuple):
    """What to convert; ``valid`` is ``last-day``, a fraction or a folder.

    ``folds`` is the number of folds of a cross-validation by user over all impressions of
    ``train``; None: there is none.
    """

    train: tuple[Path, ...]
    dataset: str
    valid: str | float | Path
    test: tuple[Path, ...]
    bodies: Path | None
    output: Path
    on_error: str
    layout: str
    check_leaks: bool = False
    folds: int | None = None

    @property
    def folders(self) -> dict[str, tuple[Path, ...]]:
        """The MIND folders of each split that has any."""
        folders = {"train": self.train}
        if isinstance(self.valid, Path):
            folders["valid"] = (self.valid,)
        if self.test:
            folders["test"] = self.test
        return folders

    @property
    def datasets(self) -> list[str]:
        """The names of the data sets with impressions: one, or one for each fold."""
        if self.folds is None:
            return [self.dataset]
        return [f"{self.dataset}-fold{number}" for number in range(1, self.folds + 1)]

    @property
    def written(self) -> list[str]:
        """The names of all data sets to write, those with a row per candidate included."""
        flat = [each + SUFFIX for each in self.datasets] if self.layout == "interaction" else []
        return [*self.datasets, *flat]

    def as_given(self) -> dict[str, Any]:
        """For the report: what decides the files (a check of the result does not)."""
        given = {
            name: str(value) if isinstance(value, Path) else value
            for name, value in self._asdict().items()
            if name != "check_leaks" and not (name == "folds" and value is None)
        }
        return {**given, "train": _shown(self.train), "test": _shown(self.test)}


def _shown(folders: tuple[Path, ...]) -> str | list[str] | None:
    names = [str(folder) for folder in folders]
    return names if len(names) > 1 else names[0] if names else None


def checked(settings: Options) -> Options:
    """The settings, with ``valid`` parsed into a fraction or a folder where it is one.

    Raises:
        ConversionError: a setting is wrong; all mistakes are listed at once.
    """
    problems = [
        f"--{name}={quoted(str(value))}: expected a path, got a NUL byte in it."
        for name, given in settings._asdict().items()
        for value in (given if isinstance(given, tuple) else [given])
        if name != "dataset" and "\0" in str(value)
    ]
    if problems:  # the system can't even be asked about such a path
        raise ConversionError("\n".join(problems))
    valid = _parse_valid(settings.valid)
    if isinstance(valid, float) and not 0 < valid < 1:
        problems.append(
            f"--valid={settings.valid}: expected a fraction above 0 and below 1, {LAST_DAY} or a "
            "folder."
        )
    settings = settings._replace(valid=valid)
    problems += [*_name_problems(settings.dataset), *_fold_problems(settings)]
    for flag, value, known in (
        ("on-error", settings.on_error, ON_ERROR),
        ("layout", settings.layout, LAYOUTS),
    ):
        if value not in known:
            problems.append(f"--{flag}={value}: expected one of {', '.join(known)}.")
    for split, folder in ((split, each) for split, of in settings.folders.items() for each in of):
        try:
            problems += _folder_problems(split, folder)
        except OSError as error:  # a name too long, a folder without permission
            problems.append(f"--{split}={folder}: expected a folder of MIND, got: {error}.")
    if not settings.train:
        problems.append("--train: expected at least one folder of MIND, got none.")
    if settings.bodies is not None and not os.path.isfile(settings.bodies):
        problems.append(f"--bodies={settings.bodies}: expected a file, found none there.")
    if problems:
        raise ConversionError("\n".join(problems))
    return settings


def _parse_valid(valid: str | float | Path) -> str | float | Path:
    if valid == LAST_DAY or isinstance(valid, Path):
        return valid
    try:
        return float(valid)
    except ValueError:
        return Path(str(valid))


def _name_problems(name: str) -> list[str]:
    if re.fullmatch(r"[^\s/\\.\-][^\s/\\]*", name) is None or not name.isprintable():
        return [
            f"--dataset={quoted(name)}: expected a name for a folder and its files, without white "
            "space and path separators, not beginning with a dot or a dash."
        ]
    if name.endswith(SUFFIX):
        return [
            f"--dataset={name}: expected a name that does not end with {SUFFIX}, which "
            "--layout=interaction gives to its second data set."
        ]
    return []


def _fold_problems(settings: Options) -> list[str]:
    folds, valid, problems = settings.folds, settings.valid, []
    if folds is not None and folds < 2:
        problems.append(
            f"--folds={folds}: expected at least 2, one of them to be tested at a time."
        )
    if folds is not None and isinstance(valid, Path):
        problems.append(
            f"--valid={valid}: expected {LAST_DAY} or a fraction with --folds, which cuts the "
            "validation impressions of each fold. Add the folder with --train to test its users "
            "too."
        )
    return problems


def _folder_problems(split: str, folder: Path) -> list[str]:
    if not folder.is_dir():
        what = "a file" if folder.exists() else "nothing there"
        hint = f" --valid also takes {LAST_DAY} or a fraction." if split == "valid" else ""
        return [f"--{split}={folder}: expected a folder of MIND, found {what}.{hint}"]
    return [
        f"--{split}={folder}: expected a folder with {IMPRESSIONS_FILE} and {NEWS_FILE}, found no "
        f"{name}."
        for name in (IMPRESSIONS_FILE, NEWS_FILE)
        if not (folder / name).is_file()
    ]
