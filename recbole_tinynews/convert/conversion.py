"""The conversion of raw data into atomic data sets."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from logging import getLogger
from pathlib import Path
from typing import Any

from recbole_tinynews.convert.atomic import (
    ATOMIC_FORMAT,
    INTER_HEADER,
    SUFFIX,
    impression_row,
    open_atomic,
    write_flat_interactions,
    write_flat_items,
    write_items,
)
from recbole_tinynews.convert.catalogue import Bodies, Catalogue
from recbole_tinynews.convert.errors import EXAMPLES, ConversionError, SkippedLines
from recbole_tinynews.convert.options import LAST_DAY, Options, checked
from recbole_tinynews.convert.readers import READERS
from recbole_tinynews.convert.readers.reader import Reader, Source
from recbole_tinynews.convert.records import Impression, News
from recbole_tinynews.convert.report import (
    bodies_summary,
    check_order,
    find_leaks,
    find_overlaps,
    news_summary,
    overlap_notes,
)
from recbole_tinynews.convert.staging import staged
from recbole_tinynews.convert.tally import Part, Tally, copy_rows, latest

PathLike = str | os.PathLike[str]
Folders = PathLike | Sequence[PathLike]


def convert_news(
    train: Folders,
    dataset: str,
    *,
    format: str = "mind",
    columns: Mapping[str, str] | None = None,
    news: Folders = (),
    sampled: int = 20,
    seed: int = 0,
    rows: str | None = None,
    valid: PathLike | float = LAST_DAY,
    test: Folders | None = None,
    bodies: PathLike | None = None,
    output: PathLike = "dataset",
    on_error: str = "stop",
    layout: str = "impression",
    check_leaks: bool = False,
) -> dict[str, Any]:
    """Convert news and clicks into ``output/dataset/`` and return the report written there.

    ``train`` and ``test`` are folders or files in the ``format`` (``mind``, ``ebnerd``,
    ``adressa``, ``xmind``, ``pens``, ``table``); several are pooled. ``valid`` is another, or the
    ``last-day`` or latest fraction of the training impressions. ``columns``, ``news``, ``sampled``,
    ``seed`` and ``rows``: see ``Source``. ``on_error="skip"`` drops and reports bad lines;
    ``layout="interaction"`` adds ``<dataset>-flat`` for stock RecBole; ``check_leaks`` reports
    leaked labels. After a ``ConversionError``, such as for a full disk, nothing is written.
    """
    return _write(
        Options(
            train=paths_of(train),
            dataset=dataset,
            valid=valid if isinstance(valid, str | int | float) else Path(valid),
            test=() if test is None else paths_of(test),
            bodies=None if bodies is None else Path(bodies),
            output=Path(output),
            on_error=on_error,
            layout=layout,
            check_leaks=check_leaks,
            source=Source(format, dict(columns or {}), paths_of(news), sampled, seed, rows),
        )
    )


convert_mind = convert_news  # former name


def paths_of(folders: Folders) -> tuple[Path, ...]:
    """One path or several, as a tuple."""
    if isinstance(folders, str | os.PathLike):
        return (Path(folders),)
    return tuple(Path(folder) for folder in folders)


def _write(options: Options) -> dict[str, Any]:
    """Validate the options, write the data set or nothing, and return its report."""
    settings = checked(options)
    try:
        with staged(settings.output, settings.written) as staging:
            return Conversion(settings, staging).run()
    except OSError as error:  # a write error: read errors name their file
        raise ConversionError(
            f"--output={settings.output}: expected to write the data set, got: {error}."
        ) from error


class Conversion:
    """Steps of a conversion, in a staging folder."""

    def __init__(self, settings: Options, staging: Path) -> None:
        self.settings, self.staging = settings, staging
        self.skipped = SkippedLines()
        self.reader = READERS[settings.source.format](settings.source)
        if settings.on_error == "skip":
            self.reader.on_bad_line = self.skipped
        self.catalogue = Catalogue(self.reader)
        self.candidate_ids: set[str] = set()
        self.history_ids: set[str] = set()

    def run(self) -> dict[str, Any]:
        """Write all files; returns the report."""
        places = [place for each in self.settings.places.values() for place in each]
        files = [file for place in places for file in self.reader.news_files(place)]
        for file in dict.fromkeys(files):  # splits may share files of articles
            self.catalogue.read(file)
        if self.settings.bodies is not None and self.catalogue.bodies.rows:
            raise ConversionError(
                f"--bodies={self.settings.bodies}: expected articles without bodies, but those of "
                f"--format={self.settings.source.format} have them. Leave --bodies out."
            )
        parts = self._write_impressions()
        known = self.catalogue.news
        missing = sorted((self.candidate_ids | self.history_ids) - known.keys())
        items = [*known.values(), *(News(news_id) for news_id in missing)]
        bodies = self.catalogue.bodies
        if self.settings.bodies is not None:
            wanted = (item.news_id for item in items)
            bodies.read(self.settings.bodies, wanted, self.reader.on_bad_line)
        return self._complete(parts, items, missing, bodies)

    def _write_impressions(self) -> dict[str, Part]:
        """Write the ``.inter`` files; the splits in order."""
        settings = self.settings
        files = {split: self._inter(split) for split in ("train", "valid", "test")}
        parts = {
            split: Part(self._write_rows(files[split], places, split != "test"))
            for split, places in settings.places.items()
        }
        if not isinstance(settings.valid, Path):
            tally = parts["train"].tally
            into_valid = latest(tally.timestamps, settings.valid)
            whole = files["train"].replace(self.staging / "whole.inter")
            copy_rows(whole, {files["train"]: ~into_valid, files["valid"]: into_valid})
            whole.unlink()  # flat files may need the space
            parts |= {"train": Part(tally, ~into_valid), "valid": Part(tally, into_valid)}
        parts = {split: parts[split] for split in files if split in parts}
        check_order(parts)
        return parts

    def _write_rows(self, inter: Path, places: Sequence[Path], labels_required: bool) -> Tally:
        """Write the impressions of the places, and record the news ids in them."""
        tally = Tally()
        with open_atomic(inter) as file:
            file.write(f"{INTER_HEADER}\n")
            for impression in read_places(self.reader, places, labels_required):
                tally.add(impression)
                file.write(impression_row(impression))
        self.candidate_ids |= tally.candidate_ids
        self.history_ids |= tally.history_ids
        return tally

    def _file(self, kind: str, suffix: str = "") -> Path:
        """The staged path of a file of the data set or, with ``SUFFIX``, of the flat one."""
        name = self.settings.dataset + suffix
        return self.staging / name / f"{name}.{kind}"

    def _inter(self, split: str, suffix: str = "") -> Path:
        return self._file(f"{split}.inter", suffix)

    def _complete(
        self, parts: dict[str, Part], items: list[News], missing: list[str], bodies: Bodies
    ) -> dict[str, Any]:
        texts = bodies.texts if bodies.rows else None
        texts_changed = write_items(self._file("item"), items, texts)
        report = {
            "format": ATOMIC_FORMAT,
            "dataset": self.settings.dataset,
            "settings": self.settings.as_given(),
            **self.reader.about(),
            **self.catalogue.about(),
            "impressions": {split: part.summary() for split, part in parts.items()},
            "items": len(items),
            "news": news_summary(self.catalogue),
            "ids_without_news_row": {
                "ids": len(missing),
                "among_candidates": len(self.candidate_ids.intersection(missing)),
                "among_histories": len(self.history_ids.intersection(missing)),
                "examples": missing[:EXAMPLES],
            },
            "bodies": bodies_summary(bodies, len(items)) if bodies.rows else None,
            "texts_changed": texts_changed,
            "skipped_lines": self.skipped.summary(),
            "flat": self._write_flat(parts, items),
        }
        files = {split: self._inter(split) for split in parts}
        if overlaps := find_overlaps(parts, files):
            report["overlaps"] = overlaps
            for note in overlap_notes(overlaps):
                getLogger(__name__).warning(f"{self.settings.dataset}: {note}")
        if self.settings.check_leaks:
            report["leaks"] = find_leaks(parts, files)
        with open_atomic(self._file("report.json")) as file:
            json.dump(report, file, indent=2)
            file.write("\n")
        return report

    def _write_flat(self, parts: dict[str, Part], items: list[News]) -> dict[str, Any] | None:
        if self.settings.layout != "interaction":
            return None
        write_flat_items(self._file("item", SUFFIX), items)
        return {
            "dataset": self.settings.dataset + SUFFIX,
            "rows": {
                split: write_flat_interactions(self._inter(split), self._inter(split, SUFFIX))
                for split, part in parts.items()
                if part.labelled  # flat rows need labels
            },
        }


def read_places(
    reader: Reader, places: Sequence[Path], labels_required: bool
) -> Iterator[Impression]:
    """Impressions of all places, with unique ids; ``ConversionError`` if places share one."""
    seen: dict[str, tuple[str, int]] = {}  # id -> (user, time), if there are several places
    for number, place in enumerate(places, 1):
        path = place / reader.impressions_file
        found = False
        for impression in reader.read_impressions(place, labels_required):
            found = True
            if len(places) == 1 or impression.impression_id == reader.shared_id:
                yield impression
                continue
            given, user, timestamp, *_ = impression
            if seen.get(given) == (user, timestamp):
                raise ConversionError(
                    f"{path}: expected impressions that no earlier folder has, got {given} of "
                    f"{user} at the same time again. Pass only one of two overlapping folders."
                )
            unique = given
            while unique in seen:
                unique += f"/{number}"
            seen[unique] = user, timestamp
            yield impression._replace(impression_id=unique)
        if not found:
            raise ConversionError(f"{path}: expected impressions, found no usable line.")
