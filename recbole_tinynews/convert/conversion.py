"""The conversion of raw data into atomic data sets."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterator, Sequence
from logging import getLogger
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from recbole_tinynews.convert.atomic import (
    ATOMIC_FORMAT,
    FLAT,
    Impression,
    NewsItem,
    impression_row,
    inter_file,
    open_atomic,
    staged,
    write_flat_items,
    write_items,
)
from recbole_tinynews.convert.catalogue import Catalogue
from recbole_tinynews.convert.errors import EXAMPLES, ConversionError, SkippedLines, quoted
from recbole_tinynews.convert.readers import READERS, TABLE
from recbole_tinynews.convert.readers.click_log import ROWS
from recbole_tinynews.convert.readers.reader import LAST_DAY, OF_TABLES, Options, Reader
from recbole_tinynews.convert.splits import (
    ImpressionCounts,
    Split,
    check_order,
    find_overlaps,
    last_day,
    latest_fraction,
    overlap_notes,
)
from recbole_tinynews.files.columns import CONTEXT, INTER

PathLike = str | os.PathLike[str]
Folders = PathLike | Sequence[PathLike]

ON_ERROR = ("stop", "skip")
LAYOUTS = ("impression", "interaction")


def convert_news(train: Folders, dataset: str, **given: Any) -> dict[str, Any]:
    """Convert news and clicks into ``output/dataset/`` and return the report written there.

    ``given`` are the fields of ``Options``, paths also as text, one or several. ``train`` and
    ``test`` are folders or files in the ``format`` (``mind``, ``ebnerd``, ``table``); several are
    pooled. ``valid`` is another, or the ``last-day`` or latest
    fraction of the training impressions. ``on_error="skip"`` drops and reports bad lines;
    ``layout="interaction"`` adds ``<dataset>-flat`` for stock RecBole. After a ``ConversionError``,
    such as for a full disk, nothing is written.
    """
    options = Options(dataset=dataset, **given)
    options = options._replace(
        train=_paths(train),
        valid=_parse_valid(options.valid),
        test=_paths(options.test),
        bodies=None if options.bodies is None else Path(options.bodies),
        output=Path(options.output),
        columns=dict(options.columns or {}),
        news=_paths(options.news),
    )
    _check(options)
    written = [dataset, *([dataset + FLAT] if options.flat else [])]
    try:
        with staged(options.output, written) as staging:
            return Conversion(options, staging).run()
    except OSError as error:  # a write error: read errors name their file
        raise ConversionError(
            f"--output={options.output}: expected to write the data set, got: {error}."
        ) from error


def _paths(folders: Folders | None) -> tuple[Path, ...]:
    if isinstance(folders, str | os.PathLike):
        return (Path(folders),)
    return tuple(Path(folder) for folder in folders or ())


def _parse_valid(valid: PathLike | float) -> str | float | Path:
    if valid == LAST_DAY:
        return LAST_DAY
    try:
        return float(valid)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return Path(str(valid))


def _check(options: Options) -> None:
    """Raise ``ConversionError`` that lists all invalid options, before any data is read."""
    problems = [
        f"--{name}={quoted(str(value))}: expected a path, got a NUL byte in it."
        for name, given in options._asdict().items()
        for value in (given if isinstance(given, tuple) else [given])
        if name not in ("dataset", "columns") and "\0" in str(value)
    ]
    if not problems:  # the system refuses such paths in every call
        problems = [*_problems(options), *_problems_of_format(options)]
    if problems:
        raise ConversionError("\n".join(problems))


def _problems(options: Options) -> Iterator[str]:
    name, valid = options.dataset, options.valid
    if isinstance(valid, float) and not 0 < valid < 1:
        yield f"--valid={valid}: expected a fraction above 0 and below 1, {LAST_DAY} or a folder."
    if re.fullmatch(r"[^\s/\\.\-][^\s/\\]*", name) is None or not name.isprintable():
        yield (
            f"--dataset={quoted(name)}: expected a name for a folder and its files, without white "
            "space and path separators, not beginning with a dot or a dash."
        )
    elif name.endswith(FLAT):
        yield (
            f"--dataset={name}: expected a name that does not end with {FLAT}, which "
            "--layout=interaction gives to its second data set."
        )
    choices: dict[str, tuple[str | None, Collection[str | None]]] = {
        "on-error": (options.on_error, ON_ERROR),
        "layout": (options.layout, LAYOUTS),
        "format": (options.format, READERS),
        "rows": (options.rows, (None, *ROWS)),
    }
    for flag, (value, allowed) in choices.items():
        if value not in allowed:
            yield f"--{flag}={value}: expected one of {', '.join(filter(None, allowed))}."
    if not options.train:
        yield "--train: expected at least one folder or file, got none."
    if options.bodies is not None and not os.path.isfile(options.bodies):
        yield f"--bodies={options.bodies}: expected a file, found none there."


def _problems_of_format(options: Options) -> Iterator[str]:
    if options.format not in READERS:
        return
    for name in OF_TABLES:
        if options.format != TABLE and getattr(options, name) != getattr(Options(), name):
            yield f"--{name} expects --format={TABLE}, got --format={options.format}."
    for path in options.news:
        if not os.path.exists(path):
            yield f"--news={path}: expected a file of articles, found nothing there."
    if options.sampled < 1:
        yield f"--sampled={options.sampled}: expected at least 1 candidate beside the click."
    reader = READERS[options.format](options)
    for split, places in options.places.items():
        for place in places:
            yield from _problems_of_place(reader, split, place)


def _problems_of_place(reader: Reader, split: str, place: Path) -> Iterator[str]:
    try:
        problem = reader.problem(place)
    except (OSError, ConversionError) as error:  # a name too long, no permission, no header
        problem = f"expected {reader.expects}, got: {error}"
    if problem is not None:
        misspelt = split == "valid" and not os.path.exists(place)
        hint = f" --valid also takes {LAST_DAY} or a fraction." if misspelt else ""
        yield f"--{split}={place}: {problem}{hint}"


def _given(options: Options) -> dict[str, Any]:
    """Report section on settings that affect the files, as JSON has them."""

    def plain(value: Any) -> Any:
        if isinstance(value, tuple):
            paths = [str(path) for path in value]
            return paths if len(paths) > 1 else next(iter(paths), None)
        return str(value) if isinstance(value, Path) else value

    unused = () if options.format == TABLE else OF_TABLES
    return {name: plain(of) for name, of in options._asdict().items() if name not in unused}


class Conversion:
    """Steps of a conversion, in a staging folder."""

    def __init__(self, options: Options, staging: Path) -> None:
        self.options, self.staging = options, staging
        self.places = [place for paths in options.places.values() for place in paths]
        self.skipped = SkippedLines()
        self.reader = READERS[options.format](options)
        if options.on_error == "skip":
            self.reader.on_bad_line = self.skipped
        self.catalogue = Catalogue(self.reader)
        self.candidate_ids: set[str] = set()
        self.history_ids: set[str] = set()

    def run(self) -> dict[str, Any]:
        """Write all files; returns the report."""
        options, catalogue = self.options, self.catalogue
        files = [file for place in self.places for file in self.reader.news_files(place)]
        for file in dict.fromkeys(files):  # splits may share files of articles
            catalogue.read(file)
        if options.bodies is not None and catalogue.bodies:
            raise ConversionError(
                f"--bodies={options.bodies}: expected articles without bodies, but those of "
                f"--format={options.format} have them. Leave --bodies out."
            )
        splits = self._write_impressions()
        missing = sorted((self.candidate_ids | self.history_ids) - catalogue.news.keys())
        items = [*catalogue.news.values(), *(NewsItem(news_id) for news_id in missing)]
        if options.bodies is not None:
            catalogue.read_bodies(options.bodies, {item.news_id for item in items})
        return self._complete(splits, items, missing)

    def _write_impressions(self) -> dict[str, Split]:
        """Write the ``.inter`` files, flat ones too; the splits in order."""
        places = self.options.places
        present = {name for place in self.places for name in self.reader.context(place)}
        columns = (*INTER, *(name for name in CONTEXT if name in present))
        splits: dict[str, Split] = {}
        for split, paths in places.items():
            if split == "train" and "valid" not in places:
                splits |= self._cut(paths, columns)
            else:
                numbers = self._write_rows(self._inter(split), paths, columns, split)
                splits[split] = Split(self._inter(split), numbers)
        check_order(splits)
        return splits

    def _write_rows(
        self, file: Path, places: Sequence[Path], columns: Sequence[str], split: str = ""
    ) -> NDArray[Any]:
        """Write the impressions of the places; returns their numbers."""
        tally = ImpressionCounts()
        with inter_file(file, columns, self._flat(split)) as write:
            for impression in read_places(self.reader, places, split != "test"):
                tally.add(impression)
                write(impression_row(impression, columns).encode())
        self.candidate_ids |= tally.candidate_ids
        self.history_ids |= tally.history_ids
        return tally.numbers()

    def _cut(self, places: Sequence[Path], columns: Sequence[str]) -> dict[str, Split]:
        """Write the latest impressions for validation, the others for training.

        Which these are is known after the last one: the rows wait in a file of their own.
        """
        whole, valid = self.staging / "whole.inter", self.options.valid
        numbers = self._write_rows(whole, places, columns)
        times = numbers["time"]
        late = latest_fraction(times, valid) if isinstance(valid, float) else last_day(times)
        with (
            whole.open("rb") as rows,
            inter_file(self._inter("train"), columns, self._flat("train")) as train,
            inter_file(self._inter("valid"), columns, self._flat("valid")) as validate,
        ):
            rows.readline()
            for row, is_late in zip(rows, late.tolist(), strict=True):
                (validate if is_late else train)(row)
        whole.unlink()  # later files may need the space
        parts = {"train": numbers[~late], "valid": numbers[late]}
        return {split: Split(self._inter(split), part) for split, part in parts.items()}

    def _file(self, kind: str, suffix: str = "") -> Path:
        """The staged path of a file of the data set or, with ``FLAT``, of the flat one."""
        name = self.options.dataset + suffix
        return self.staging / name / f"{name}.{kind}"

    def _inter(self, split: str) -> Path:
        return self._file(f"{split}.inter")

    def _flat(self, split: str) -> Path | None:
        return self._file(f"{split}.inter", FLAT) if split and self.options.flat else None

    def _complete(
        self, splits: dict[str, Split], items: list[NewsItem], missing: list[str]
    ) -> dict[str, Any]:
        """Write the articles and the report, and return it."""
        options, catalogue = self.options, self.catalogue
        texts = catalogue.bodies if catalogue.body_rows else None
        texts_changed = write_items(self._file("item"), items, texts)
        report = {
            "format": ATOMIC_FORMAT,
            "dataset": options.dataset,
            "settings": _given(options),
            **self.reader.about(),
            **catalogue.about(),
            "impressions": {name: split.summary() for name, split in splits.items()},
            "items": len(items),
            "news": catalogue.summary(),
            "ids_without_news_row": {
                "ids": len(missing),
                "among_candidates": len(self.candidate_ids.intersection(missing)),
                "among_histories": len(self.history_ids.intersection(missing)),
                "examples": missing[:EXAMPLES],
            },
            "bodies": catalogue.summary_of_bodies(len(items)),
            "texts_changed": texts_changed,
            "skipped_lines": self.skipped.summary(),
            "flat": self._complete_flat(splits, items) if options.flat else None,
        }
        if overlaps := find_overlaps(splits):
            report["overlaps"] = overlaps
            for note in overlap_notes(overlaps):
                getLogger(__name__).warning(f"{options.dataset}: {note}")
        with open_atomic(self._file("report.json")) as file:
            json.dump(report, file, indent=2)
            file.write("\n")
        return report

    def _complete_flat(self, splits: dict[str, Split], items: list[NewsItem]) -> dict[str, Any]:
        write_flat_items(self._file("item", FLAT), items)
        labelled = [name for name, split in splits.items() if split.labelled]
        for split in splits.keys() - labelled:  # flat rows need labels
            self._file(f"{split}.inter", FLAT).unlink()
        rows = {name: splits[name].summary()["candidates"] for name in labelled}
        return {"dataset": self.options.dataset + FLAT, "rows": rows}


def read_places(
    reader: Reader, places: Sequence[Path], labels_required: bool
) -> Iterator[Impression]:
    """Impressions of all places, with unique ids; ``ConversionError`` if places share one."""
    seen: dict[str, tuple[str, int]] = {}  # id -> (user, time), if there are several places
    for number, place in enumerate(places, 1):
        path = place / reader.impressions_file
        empty = True
        for impression in reader.read_impressions(place, labels_required):
            empty = False
            if len(places) == 1 or impression.impression_id == reader.shared_id:
                yield impression
                continue
            unique, user, timestamp, *_ = impression
            if seen.get(unique) == (user, timestamp):
                raise ConversionError(
                    f"{path}: expected impressions that no earlier folder has, got {unique} of "
                    f"{user} at the same time again. Pass only one of two overlapping folders."
                )
            while unique in seen:
                unique += f"/{number}"
            seen[unique] = user, timestamp
            yield impression._replace(impression_id=unique)
        if empty:
            raise ConversionError(f"{path}: expected impressions, found no usable line.")
