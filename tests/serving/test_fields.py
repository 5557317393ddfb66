"""Recommenders that read more of an article than its title."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from served import Served, in_order_given, serve
from tiny import DATASET, Tiny

from recbole_tinynews.data.atomic_files import read_news, read_news_file
from recbole_tinynews.export.finished import FinishedRecommender
from recbole_tinynews.serving import ranker as ranking
from recbole_tinynews.serving.article_index import FIELDS
from recbole_tinynews.serving.loading import load

CASES: list[tuple[str, dict[str, Any]]] = [
    ("NAML", {}),
    ("NAML", {"news_encoder": "plm", "views": ["category", "title"]}),
    ("NAML", {"news_text": "title_abstract", "views": ["title", "body", "subcategory"]}),
    ("NAML", {"views": ["abstract"]}),
    ("NRMS", {"news_encoder": "plm", "views": ["abstract"], "news_text": "title_abstract"}),
    ("TANR", {}),
    ("TANR", {"news_encoder": "plm"}),
]


def fields_of(tiny: Tiny) -> dict[str, dict[str, str]]:
    """All fields of the articles of the data set, by id."""
    news = read_news(tiny.data / DATASET / f"{DATASET}.item")
    rows = zip(*(getattr(news, name) for name in FIELDS), strict=True)
    return {
        name: dict(zip(FIELDS, row, strict=True))
        for name, row in zip(news.item_id, rows, strict=True)
    }


@pytest.fixture(scope="module")
def naml(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Served:
    place = str(tmp_path_factory.mktemp("naml") / "saved")
    return serve(tiny, "NAML", max_steps=2, checkpoint_dir=place)


@pytest.mark.parametrize(("model", "settings"), CASES)
def test_fields_are_ranked_as_evaluation_ranks_the_articles(
    tiny: Tiny, model, settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a view left out, or a category of another number, no score would look wrong."""
    monkeypatch.setattr(ranking, "USERS_AT_ONCE", 3)
    served = serve(tiny, model, max_steps=2, **settings)
    histories, candidates, expected = served.impressions()
    ranker, fields = served.load(), fields_of(tiny)
    by_fields = ranker.rank(
        [[fields[each] for each in clicks] for clicks in histories],
        [[{"id": each, **fields[each]} for each in shown] for shown in candidates],
    )
    added = load(served.artifact.folder)
    added.add_news(pd.DataFrame([{"id": name, **each} for name, each in fields.items()]))
    for ranked in (by_fields, added.rank(histories, candidates)):
        for row, scores in enumerate(expected):
            np.testing.assert_allclose(in_order_given(ranked[row]), scores, atol=1e-5)
            assert {each.candidate for each in ranked[row]} == {*candidates[row]}


def test_a_category_that_is_new_is_none(naml: Served, tiny: Tiny) -> None:
    """Any number in its place would be another category."""
    ranker, article = naml.load(), fields_of(tiny)["N7"]
    given = [{**article, "category": name} for name in ("unheard of", "", "[PAD]")]
    scores = in_order_given(ranker.rank([], [article, *given]))
    assert scores[1] == scores[2] == scores[3] != scores[0]
    assert scores[1] == in_order_given(
        ranker.rank([], [{k: v for k, v in article.items() if k != "category"}])
    )


def test_the_best_leave_out_what_was_clicked_by_its_fields_too(naml: Served, tiny: Tiny) -> None:
    table = read_news_file(tiny.data / DATASET / f"{DATASET}.item")
    ranker, fields = naml.load(), fields_of(tiny)
    ranker.add_news(table)
    best = ranker.top(["N5", "N6"], 40)
    same = ranker.top(["N5", fields["N6"]], 40)
    assert [each.candidate for each in same] == [each.candidate for each in best]
    assert [each.score for each in same] == pytest.approx([each.score for each in best])
    assert not {"N5", "N6"} & {each.candidate for each in best}
    assert ranker.encode([fields["N6"], "word1"]).shape == (2, 16)


@pytest.mark.parametrize(
    ("article", "error", "message"),
    [
        ({"titel": "a"}, ValueError, r"got 'titel'. Did you mean title\?"),
        ({"abstract": "a"}, ValueError, "expects a title, got abstract"),
        ({"title": 3}, TypeError, "got 3 as title"),
        ({"id": "N1", "title": "a", "category": None}, TypeError, "got None as category"),
    ],
)
def test_fields_that_are_none_are_refused(naml: Served, article, error, message) -> None:
    """A misspelt one would be read as an empty one."""
    with pytest.raises(error, match=message):
        naml.load().rank([], [article])


def test_changed_names_of_categories_are_refused(naml: Served, tmp_path: Path) -> None:
    """By other numbers, every article would be of another category."""
    folder = Path(shutil.copytree(naml.artifact.folder, tmp_path / "copy"))
    place = folder / "plm" / "categories.json"
    assert json.loads(place.read_text())["category"][0] == "sports"
    place.write_text(place.read_text().replace("sports", "health"))
    with pytest.raises(ValueError, match=r"plm/categories\.json is missing or changed"):
        load(folder)


def test_export_says_what_it_cannot_express(naml: Served) -> None:
    with pytest.raises(ValueError, match=r"NAML reads or scores in its own way \(ViewsEncoder\)"):
        FinishedRecommender(naml.artifact.folder)


def test_columns_that_are_not_read_may_hold_anything(tiny: Tiny) -> None:
    """A table of articles has categories without a name; a recommender of titles asks for none."""
    ranker = serve(tiny, max_steps=2).load()
    ranker.add_news(pd.DataFrame({"id": ["a"], "title": ["word1"], "category": [float("nan")]}))
    assert ranker.news_ids == ("a",)
