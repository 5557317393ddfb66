"""One conversion: MIND folders in, an atomic data set out."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from recbole_tinynews.convert.atomic import (
    ATOMIC_FORMAT,
    INTER_HEADER,
    impression_row,
    open_atomic,
    write_items,
)
from recbole_tinynews.convert.catalogue import Bodies, Catalogue
from recbole_tinynews.convert.errors import ConversionError, SkippedLines, stop
from recbole_tinynews.convert.flat import write_flat_interactions, write_flat_items
from recbole_tinynews.convert.leaks import find_leaks
from recbole_tinynews.convert.mind import (
    IMPRESSIONS_FILE,
    NEWS_FILE,
    News,
    OnBadLine,
    read_behaviors,
)
from recbole_tinynews.convert.options import LAST_DAY, Options, checked
from recbole_tinynews.convert.report import bodies_summary, news_summary, without_news_summary
from recbole_tinynews.convert.split import cut_rows, last_day, latest_fraction
from recbole_tinynews.convert.staging import staged
from recbole_tinynews.convert.tally import Tally

PathLike = str | os.PathLike[str]


def convert_mind(
    train: PathLike,
    dataset: str,
    *,
    valid: PathLike | float = LAST_DAY,
    test: PathLike | None = None,
    bodies: PathLike | None = None,
    output: PathLike = "dataset",
    on_error: str = "stop",
    layout: str = "impression",
    check_leaks: bool = False,
) -> dict[str, Any]:
    """Convert MIND folders into ``output/dataset/`` and return the report written there.

    ``valid`` is ``last-day``, a fraction of the training impressions (the latest ones), or a
    folder. ``on_error="skip"`` drops bad lines and reports them. ``layout="interaction"`` adds the
    data set ``<dataset>-flat`` that stock RecBole reads. ``check_leaks`` looks for
    answers that the result gives away (see ``leaks``).

    Raises:
        ConversionError: settings or input can't be used, or the disk is full; nothing was written.
    """
    settings = checked(
        Options(
            train=Path(train),
            dataset=dataset,
            valid=valid if isinstance(valid, str | int | float) else Path(valid),
            test=None if test is None else Path(test),
            bodies=None if bodies is None else Path(bodies),
            output=Path(output),
            on_error=on_error,
            layout=layout,
            check_leaks=check_leaks,
        )
    )
    try:
        with staged(settings.output, settings.datasets) as staging:
            return _Conversion(settings, staging).run()
    except OSError as error:  # readers name their file, so this is about what is written
        raise ConversionError(
            f"--output={settings.output}: expected to write the data set, got: {error}."
        ) from error


class _Conversion:
    """The steps of one conversion, writing into a folder that is published when they are done."""

    def __init__(self, settings: Options, staging: Path) -> None:
        self.settings = settings
        self.staging = staging
        self.skipped = SkippedLines()
        self.on_bad_line: OnBadLine = self.skipped if settings.on_error == "skip" else stop
        self.catalogue = Catalogue()
        self.candidate_ids: set[str] = set()
        self.history_ids: set[str] = set()

    def run(self) -> dict[str, Any]:
        for folder in dict.fromkeys(self.settings.folders.values()):  # valid may be test as well
            self.catalogue.read(folder / NEWS_FILE, self.on_bad_line)
        impressions = self._write_impressions()
        known = self.catalogue.news
        missing = sorted((self.candidate_ids | self.history_ids) - known.keys())
        items = [*known.values(), *(News(news_id, "", "", "", "") for news_id in missing)]
        bodies = self._read_bodies(items)
        texts_changed = write_items(
            self._file("item"), items, None if bodies is None else bodies.texts
        )
        report = {
            "format": ATOMIC_FORMAT,
            "dataset": self.settings.dataset,
            "settings": self.settings.as_given(),
            "impressions": impressions,
            "items": len(items),
            "news": news_summary(self.catalogue),
            "ids_without_news_row": without_news_summary(
                missing, self.candidate_ids, self.history_ids
            ),
            "bodies": None if bodies is None else bodies_summary(bodies, len(items)),
            "texts_changed": texts_changed,
            "skipped_lines": self.skipped.summary(),
            "flat": self._write_flat(items, impressions),
        }
        if self.settings.check_leaks:
            files = {split: self._file(f"{split}.inter") for split in impressions}
            report["leaks"] = find_leaks(files)
        with open_atomic(self._file("report.json")) as file:
            json.dump(report, file, indent=2)
            file.write("\n")
        return report

    def _write_impressions(self) -> dict[str, dict[str, Any]]:
        tallies = {
            split: self._write_split(split, folder / IMPRESSIONS_FILE)
            for split, folder in self.settings.folders.items()
        }
        parts = {split: tally.summary() for split, tally in tallies.items()}
        valid = self.settings.valid
        if not isinstance(valid, Path):
            tally = tallies["train"]
            into_valid = (
                latest_fraction(tally.timestamps, valid)
                if isinstance(valid, float)
                else last_day(tally.timestamps)
            )
            cut_rows(self._file("train.inter"), self._file("valid.inter"), into_valid)
            parts |= {"train": tally.summary(~into_valid), "valid": tally.summary(into_valid)}
        return {split: parts[split] for split in ("train", "valid", "test") if split in parts}

    def _write_split(self, split: str, source: Path) -> Tally:
        tally = Tally()
        with open_atomic(self._file(f"{split}.inter")) as file:
            file.write(f"{INTER_HEADER}\n")
            for impression in read_behaviors(
                source, self.on_bad_line, labels_required=split != "test"
            ):
                tally.add(impression)
                file.write(impression_row(impression))
        self.candidate_ids |= tally.candidate_ids
        self.history_ids |= tally.history_ids
        return tally

    def _read_bodies(self, items: list[News]) -> Bodies | None:
        if self.settings.bodies is None:
            return None
        bodies = Bodies()
        bodies.read(self.settings.bodies, (item.news_id for item in items), self.on_bad_line)
        return bodies

    def _write_flat(
        self, items: list[News], impressions: dict[str, dict[str, Any]]
    ) -> dict[str, Any] | None:
        if self.settings.layout != "interaction":
            return None
        name = self.settings.datasets[1]
        write_flat_items(self.staging / name / f"{name}.item", items)
        return {
            "dataset": name,
            "rows": {
                split: write_flat_interactions(
                    self._file(f"{split}.inter"), self.staging / name / f"{name}.{split}.inter"
                )
                for split, part in impressions.items()
                if not part["unlabelled"]  # unknown labels can't be written
            },
        }

    def _file(self, kind: str) -> Path:
        name = self.settings.dataset
        return self.staging / name / f"{name}.{kind}"
