"""Checks of data that parses but is probably wrong: truncated, swapped, or of another data set."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from recbole_tinynews.data.atomic_files import ItemColumns

LONGER = 1.5  # titles relative to abstracts; in MIND a third
MANY_UNKNOWN = 0.1  # of candidates; none in MIND


def check_articles(file: Path, news: ItemColumns) -> Iterator[str]:
    """Warnings about the texts of ``NAME.item``; ``ValueError`` if there are no articles."""
    if not news.item_id:
        raise ValueError(
            f"{file} expects articles, got only a header. Convert the data set again with "
            "python -m recbole_tinynews.convert."
        )
    titles, abstracts = (list(filter(None, texts)) for texts in (news.title, news.abstract))
    if not titles:
        yield f"{file}: all {len(news.title)} titles are empty"
    elif abstracts and fmean(map(len, titles)) > LONGER * fmean(map(len, abstracts)):
        yield (
            f"{file}: titles are longer than abstracts, {fmean(map(len, titles)):.0f} characters "
            f"on average and {fmean(map(len, abstracts)):.0f}. Are the two columns swapped?"
        )


def check_candidates(file: Path, candidates: NDArray[np.int32], known: int) -> Iterator[str]:
    """A warning if many (``ValueError`` if all) candidates have no row among the ``known`` ids."""
    unknown = float((candidates >= known).mean()) if len(candidates) else 0.0
    if unknown == 1:
        raise ValueError(
            f"{file} expects candidates of the .item file beside it, but it has none of the "
            f"{len(candidates):,}. The two files are of different data sets: convert them together."
        )
    if unknown >= MANY_UNKNOWN:
        yield f"{file}: {unknown:.0%} of the candidates are not in the .item file and have no text"


def check_report(file: Path, rows: Mapping[str, int], articles: int) -> Iterator[str]:
    """Warnings where the report, if any, differs from the rows per split or articles read."""
    try:
        report = json.loads(file.read_text(encoding="utf-8"))
        written = {name: part["impressions"] for name, part in report["impressions"].items()}
        items = int(report["items"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return  # the report is optional
    for split, count in rows.items():
        if count != written.get(split, count):
            yield f"{file} says {written[split]} impressions of {split}, but {count} were read"
    if articles != items:
        yield f"{file} says {items} articles, but {articles} were read"
