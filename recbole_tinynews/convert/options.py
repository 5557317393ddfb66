"""Options of a conversion, validated before any data is read."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from recbole_tinynews.convert.atomic import SUFFIX
from recbole_tinynews.convert.errors import ConversionError, quoted
from recbole_tinynews.convert.readers import READERS
from recbole_tinynews.convert.readers.reader import Reader, Source
from recbole_tinynews.convert.readers.row_shape import ROWS

LAST_DAY = "last-day"
ON_ERROR = ("stop", "skip")
LAYOUTS = ("impression", "interaction")


class Options(NamedTuple):
    """What to convert; ``valid`` is ``last-day``, a fraction or a path."""

    train: tuple[Path, ...]
    dataset: str
    valid: str | float | Path
    test: tuple[Path, ...]
    bodies: Path | None
    output: Path
    on_error: str
    layout: str
    check_leaks: bool = False
    source: Source = Source()

    @property
    def places(self) -> dict[str, tuple[Path, ...]]:
        """Input paths of each split that has any."""
        places = {"train": self.train}
        if isinstance(self.valid, Path):
            places["valid"] = (self.valid,)
        if self.test:
            places["test"] = self.test
        return places

    @property
    def written(self) -> list[str]:
        """Names of all data sets to write, a flat one included."""
        flat = [self.dataset + SUFFIX] if self.layout == "interaction" else []
        return [self.dataset, *flat]

    def as_given(self) -> dict[str, Any]:
        """Report section on settings that affect the files."""
        given: dict[str, Any] = {
            name: str(value) if isinstance(value, Path) else value
            for name, value in self._asdict().items()
            if name not in ("check_leaks", "source")
        }
        given |= {"train": _shown(self.train), "test": _shown(self.test)}
        if self.source.format == "mind":
            return given
        of_source = self.source._asdict() | {"news": list(map(str, self.source.news))}
        used = {"format", *READERS[self.source.format].options}
        return given | {name: value for name, value in of_source.items() if name in used}


def _shown(places: tuple[Path, ...]) -> str | list[str] | None:
    names = [str(place) for place in places]
    return names if len(names) > 1 else names[0] if names else None


def checked(settings: Options) -> Options:
    """The options with ``valid`` parsed; ``ConversionError`` lists all that are invalid."""
    problems = [
        f"--{name}={quoted(str(value))}: expected a path, got a NUL byte in it."
        for name, given in settings._asdict().items()
        for value in (given if isinstance(given, tuple) else [given])
        if name not in ("dataset", "source") and "\0" in str(value)
    ]
    if problems:  # the system refuses such paths in every call
        raise ConversionError("\n".join(problems))
    valid = _parse_valid(settings.valid)
    if isinstance(valid, float) and not 0 < valid < 1:
        problems.append(
            f"--valid={settings.valid}: expected a fraction above 0 and below 1, {LAST_DAY} or a "
            "folder."
        )
    settings = settings._replace(valid=valid)
    problems += _name_problems(settings.dataset)
    for flag, value, known in (
        ("on-error", settings.on_error, ON_ERROR),
        ("layout", settings.layout, LAYOUTS),
    ):
        if value not in known:
            problems.append(f"--{flag}={value}: expected one of {', '.join(known)}.")
    problems += _source_problems(settings.source)
    if settings.source.format in READERS:
        problems += _place_problems(settings, READERS[settings.source.format](settings.source))
    if not settings.train:
        problems.append("--train: expected at least one folder or file, got none.")
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


def _name_problems(name: str) -> Iterator[str]:
    if re.fullmatch(r"[^\s/\\.\-][^\s/\\]*", name) is None or not name.isprintable():
        yield (
            f"--dataset={quoted(name)}: expected a name for a folder and its files, without white "
            "space and path separators, not beginning with a dot or a dash."
        )
    elif name.endswith(SUFFIX):
        yield (
            f"--dataset={name}: expected a name that does not end with {SUFFIX}, which "
            "--layout=interaction gives to its second data set."
        )


def _place_problems(settings: Options, reader: Reader) -> Iterator[str]:
    for split, places in settings.places.items():
        for place in places:
            try:
                problem = reader.problem(place)
            except (OSError, ConversionError) as error:  # a name too long, no permission, no header
                problem = f"expected {reader.expects}, got: {error}"
            if problem is not None:
                misspelt = split == "valid" and not os.path.exists(place)
                hint = f" --valid also takes {LAST_DAY} or a fraction." if misspelt else ""
                yield f"--{split}={place}: {problem}{hint}"


def _source_problems(source: Source) -> Iterator[str]:
    if source.format not in READERS:
        yield f"--format={source.format}: expected one of {', '.join(READERS)}."
        return
    used = READERS[source.format].options
    for name, default in Source()._asdict().items():
        if name != "format" and name not in used and getattr(source, name) != default:
            formats = [known for known, reader in READERS.items() if name in reader.options]
            yield f"--{name} expects --format={'|'.join(formats)}, got --format={source.format}."
    if source.rows not in (None, *ROWS):
        yield f"--rows={source.rows}: expected one of {', '.join(ROWS)}."
    for path in source.news:
        if not os.path.exists(path):
            yield f"--news={path}: expected a file of articles, found nothing there."
    if source.sampled < 1:
        yield f"--sampled={source.sampled}: expected at least 1 candidate beside the click."
