"""Sections of ``NAME.report.json``, and its summary for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from recbole_tinynews.convert.catalogue import Bodies, Catalogue
from recbole_tinynews.convert.errors import EXAMPLES
from recbole_tinynews.convert.leaks import leak_notes

_OF_FORMATS = {
    ("articles_whose_text_changed", "ids"): "articles whose text changed, kept as it was first",
    ("adressa", "events_without_article"): "events without an article",
    ("ebnerd", "impressions_of_users_without_history"): "impressions of users without a history",
    ("ebnerd", "impressions_beyond_accuracy"): "impressions beyond accuracy",
    ("xmind", "articles_without_translation"): "articles without a translation, kept in English",
    ("xmind", "translated_differently_again"): "translations that differ from the first, not used",
}


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


def readable(reports: Sequence[dict[str, Any]]) -> str:
    """A text summary of a conversion's reports (one, or one per fold)."""
    lines = [line for report in reports for line in _of_one_data_set(report)]
    return "\n".join([*lines, *_of_the_news(reports[0])])


def _of_one_data_set(report: dict[str, Any]) -> Iterator[str]:
    if "fold" in report:
        fold = report["fold"]
        yield (
            f"{report['dataset']}: fold {fold['number']} of {fold['of']} by user, "
            f"{fold['test_users']:,} users are tested and {fold['other_users']:,} are not"
        )
    for split, part in report["impressions"].items():
        yield (
            f"{split:>5}: {part['impressions']:,} impressions, {part['candidates']:,} candidates, "
            + ("no labels" if part["unlabelled"] else f"{part['clicks']:,} clicks")
            + f", {part['first_time']} to {part['last_time']}"
        )
    if "leaks" in report:  # with --check-leaks
        for note in list(leak_notes(report["leaks"])) or ["none found"]:
            yield f" leak: {note}"


def _of_the_news(report: dict[str, Any]) -> Iterator[str]:
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
        what = "impressions with sampled candidates, which are not what was shown"
        notes[what] = drawn["impressions"]
    if report["bodies"] is not None:
        notes["items without body"] = report["bodies"]["items_without_body"]
    for (section, name), what in _OF_FORMATS.items():
        found = report.get(section, {}).get(name, 0)
        notes[what] = sum(found.values()) if isinstance(found, dict) else found
    yield from (f" note: {count:,} {what}" for what, count in notes.items() if count)
