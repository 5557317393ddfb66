"""Leaks of labels, sections of ``NAME.report.json``, and its summary for the terminal."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from itertools import combinations, compress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recbole_tinynews.bars import progress_bar
from recbole_tinynews.convert.atomic import InterRow, read_inter
from recbole_tinynews.convert.catalogue import Bodies, Catalogue
from recbole_tinynews.convert.errors import EXAMPLES, ConversionError
from recbole_tinynews.convert.tally import Part
from recbole_tinynews.convert.timestamps import iso

NOTES = {
    "clicked_in_history": "clicks on news that are already in the history",
    "same_user_time_and_candidates": "impressions that occur in both splits",
    "same_id_user_and_time": "impressions whose id, user and time occur in both splits",
}
_FORMAT_NOTES = {
    ("articles_whose_text_changed", "ids"): "articles whose text changed, the first one kept",
    ("adressa", "events_without_article"): "events without an article",
    ("ebnerd", "impressions_of_users_without_history"): "impressions of users without a history",
    ("ebnerd", "impressions_beyond_accuracy"): "impressions beyond accuracy",
    ("xmind", "articles_without_translation"): "articles without a translation, kept in English",
    ("xmind", "translated_differently_again"): "translations that differ from the first, not used",
}


def check_order(parts: Mapping[str, Part]) -> None:
    """Raise ``ConversionError`` if the test set precedes the training set: they were swapped."""
    if "test" not in parts:
        return
    end, start = parts["test"].timestamps.max(), parts["train"].timestamps.min()
    if end < start:
        raise ConversionError(
            f"--test: expected impressions later than those of --train, got a test set that ends "
            f"({iso(int(end))}) before the training set starts ({iso(int(start))}). Swap --train "
            "and --test."
        )


def find_overlaps(
    parts: Mapping[str, Part], files: Mapping[str, Path]
) -> dict[str, dict[str, Any]]:
    """Report section on impressions that an earlier split has, or that precede its end."""
    overlaps: dict[str, dict[str, Any]] = {}
    for early, late in combinations(parts, 2):
        ours, theirs = parts[late], parts[early]
        for kind, mask in (
            ("shared", np.isin(ours.displays, theirs.displays)),
            ("earlier", ours.timestamps < theirs.timestamps.max()),
        ):
            if mask.any():
                overlaps.setdefault(kind, {})[f"{late} in {early}"] = {
                    "impressions": int(mask.sum()),
                    "examples": _examples(files[late], mask),
                }
    return overlaps


def overlap_notes(overlaps: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Iterator[str]:
    """Warnings for each kind of overlap and pair of splits."""
    for kind, places in overlaps.items():
        for place, found in places.items():
            late, _, early = place.partition(" in ")
            what = f"occur in {early} too" if kind == "shared" else f"precede the end of {early}"
            some = ", ".join(found["examples"])
            yield f"{found['impressions']:,} impressions of {late} {what}: {some}"


def find_leaks(parts: Mapping[str, Part], files: Mapping[str, Path]) -> dict[str, dict[str, Any]]:
    """Report section on leaks within and between splits, from the finished files."""
    splits = {split: _read(path) for split, path in files.items()}
    leaks: dict[str, dict[str, Any]] = {kind: {} for kind in NOTES}
    leaks["clicked_in_history"] = {split: read.known for split, read in splits.items()}
    for early, late in combinations(parts, 2):
        for kind, ours, theirs in (
            ("same_user_time_and_candidates", parts[late].displays, parts[early].displays),
            ("same_id_user_and_time", splits[late].identities, splits[early].identities),
        ):
            repeated = np.isin(ours, theirs)
            leaks[kind][f"{late} in {early}"] = {
                "impressions": int(repeated.sum()),
                "clicks": int(parts[late].clicks[repeated].sum()),
                "examples": _examples(files[late], repeated),
            }
    return leaks


def leak_notes(leaks: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Iterator[str]:
    """Warnings for each kind of leak and place."""
    for kind, places in leaks.items():
        for place, found in places.items():
            if found["impressions"]:
                unit = "clicks" if kind == "clicked_in_history" else "impressions"
                yield f"{place}: {found[unit]:,} {NOTES[kind]}, such as {found['examples'][0]}"


class _Split(NamedTuple):
    """Hashes of (id, user, time), ``[impressions]``, and clicks on news in the history."""

    identities: NDArray[np.int64]
    known: dict[str, Any]


def _read(path: Path) -> _Split:
    identities = array("q")
    clicks = impressions = 0
    examples: list[str] = []
    for row in progress_bar(read_inter(path), desc=f"Leaks {path.name}", unit=" rows"):
        identities.append(hash(row[:3]))
        clicked = compress(row.candidates.split(" "), map("1".__eq__, row.labels[::2]))
        history = f" {row.history} "
        known = [news_id for news_id in clicked if f" {news_id} " in history]
        clicks += len(known)
        impressions += bool(known)
        if known and len(examples) < EXAMPLES:
            examples.append(f"{_named(row)}, {known[0]}")
    counts = {"clicks": clicks, "impressions": impressions, "examples": examples}
    return _Split(np.array(identities, np.int64), counts)


def _examples(path: Path, mask: NDArray[np.bool_]) -> list[str]:
    """The first impressions in a file that a mask, ``[impressions]``, selects."""
    wanted = np.flatnonzero(mask)[:EXAMPLES].tolist()
    rows = enumerate(read_inter(path))
    return [next(_named(row) for place, row in rows if place == number) for number in wanted]


def _named(row: InterRow) -> str:
    return f"impression {row.impression_id} of {row.user_id}"


def news_summary(catalogue: Catalogue) -> dict[str, Any]:
    """Report section on rows of articles."""
    news = catalogue.news.values()
    return {
        "rows": {str(path): rows for path, rows in catalogue.rows.items()},
        "distinct": len(news),
        "repeated_in_one_file_with_the_same_text": catalogue.repeated_in_file,
        "repeated_across_files_with_the_same_text": catalogue.repeated_across_files,
        "repeated_with_empty_fields_of_one_filled": catalogue.repeated_with_empty_fields,
        "repeated_with_other_white_space": catalogue.repeated_with_other_white_space,
        "empty_titles": sum(not record.title.strip() for record in news),
        "empty_abstracts": sum(not record.abstract.strip() for record in news),
        "empty_categories": sum(not record.category.strip() for record in news),
        "empty_subcategories": sum(not record.subcategory.strip() for record in news),
    }


def bodies_summary(bodies: Bodies, items: int) -> dict[str, Any]:
    """Report section on article bodies."""
    return {
        "rows": bodies.rows,
        "items_with_body": len(bodies.texts),
        "items_without_body": items - len(bodies.texts),
        "repeated_with_the_same_text": bodies.repeated,
        "ids_without_news": len(bodies.without_news),
        "ids_without_news_examples": sorted(bodies.without_news)[:EXAMPLES],
    }


def readable(report: dict[str, Any]) -> str:
    """A text summary of a conversion's report."""
    return "\n".join([*_lines_of_impressions(report), *_lines_of_news(report)])


def _lines_of_impressions(report: dict[str, Any]) -> Iterator[str]:
    for path, table in report.get("tables", {}).items():
        yield f" rows: {path} is a table of {table['rows']}: {table['recognised_by']}"
    for split, part in report["impressions"].items():
        yield (
            f"{split:>5}: {part['impressions']:,} impressions, {part['candidates']:,} candidates, "
            + ("no labels" if part["unlabelled"] else f"{part['clicks']:,} clicks")
            + f", {part['first_time']} to {part['last_time']}"
        )
    if "leaks" in report:  # with --check-leaks
        for note in list(leak_notes(report["leaks"])) or ["none found"]:
            yield f" leak: {note}"


def _lines_of_news(report: dict[str, Any]) -> Iterator[str]:
    yield f" news: {report['news']['distinct']:,}, {report['items']:,} items"
    repeated = report["news"]["repeated_with_empty_fields_of_one_filled"]
    notes = {
        "repeats with a field that is empty in one row, filled from the other": repeated,
        "ids without a news row, kept with empty text": report["ids_without_news_row"]["ids"],
        "empty titles": report["news"]["empty_titles"],
        "texts with a tab or line end inside, now a space": report["texts_changed"],
        "bad lines dropped": report["skipped_lines"]["total"],
    }
    if drawn := report.get("sampled_candidates"):
        what = "impressions with sampled candidates, not those that were shown"
        notes[what] = drawn["impressions"]
    if report["bodies"] is not None:
        notes["items without body"] = report["bodies"]["items_without_body"]
    for (section, name), what in _FORMAT_NOTES.items():
        found = report.get(section, {}).get(name, 0)
        notes[what] = sum(found.values()) if isinstance(found, dict) else found
    yield from (f" note: {count:,} {what}" for what, count in notes.items() if count)
