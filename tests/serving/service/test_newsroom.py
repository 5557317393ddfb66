from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from served import Served

pytestmark = pytest.mark.usefixtures("_extra")

TABLE = pd.DataFrame({"id": ["a", "b", "c"], "title": ["word1", "word2 word3", ""]})


def counted(ranker) -> list[list[str]]:
    """The texts that a ranker encodes from now on."""
    calls: list[list[str]] = []
    encode = ranker.engine.encode

    def counting(columns):
        calls.append(columns["title"])
        return encode(columns)

    ranker.engine.encode = counting
    return calls


def opened(rankers, news: Path | None, indexes: list[Path], store=None):
    """The titles of a newsroom."""
    from recbole_tinynews.serving.serve import open_state
    from recbole_tinynews.serving.store import Store

    room = open_state(rankers, store or Store(), news, indexes)
    return {name: each.title for name, each in room.titles._titles.items()}


def write(path: Path, table: pd.DataFrame) -> Path:
    table.to_csv(path, index=False)
    return path


def test_saved_vectors_are_used_and_only_new_texts_encoded(
    student: Served, teacher: Served, tmp_path: Path
) -> None:
    indexes = [tmp_path / "student.index", tmp_path / "teacher.index"]
    news = write(tmp_path / "news.csv", TABLE)

    def started() -> tuple:
        rankers = {"student": student.load(), "teacher": teacher.load()}
        calls = [counted(each) for each in rankers.values()]
        return rankers, calls, opened(rankers, news, indexes)

    _, calls, titles = started()
    assert titles == {"a": "word1", "b": "word2 word3", "c": ""}
    assert [sum(map(len, each)) for each in calls] == [3, 3]
    before = [index.stat().st_mtime_ns for index in indexes]
    rankers, calls, _ = started()
    assert calls == [[], []]
    assert [index.stat().st_mtime_ns for index in indexes] == before
    assert rankers["teacher"].news_ids == ("a", "b", "c")
    write(news, pd.DataFrame({"id": ["b", "c", "d"], "title": ["word2 word3", "word4", "word5"]}))
    rankers, calls, titles = started()
    assert calls == [[["word4", "word5"]]] * 2
    assert sorted(rankers["student"].news_ids) == sorted(titles) == ["b", "c", "d"]
    fresh = student.load()
    fresh.add_news(titles)
    for each in ("b", "c", "d"):
        (one,), (other,) = (r.rank(["b"], [each]) for r in (fresh, rankers["student"]))
        assert one.score == pytest.approx(other.score, abs=1e-6)
    assert started()[1] == [[], []]


def test_vectors_of_another_recommender_are_made_anew(
    student: Served, teacher: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    news, index = write(tmp_path / "news.csv", TABLE), tmp_path / "index"
    opened({"teacher": teacher.load()}, news, [index])
    opened({"student": student.load()}, news, [index])
    assert "another recommender" in capsys.readouterr().out
    ranker = student.load()
    ranker.index.load(index)
    assert ranker.news_ids == ("a", "b", "c")


def test_a_file_that_is_no_index_is_not_overwritten(student: Served, tmp_path: Path) -> None:
    """--index=articles.csv would lose the articles."""
    news = write(tmp_path / "news.csv", TABLE)
    before = news.read_bytes()
    with pytest.raises(ValueError, match=r"news\.csv"):
        opened({"student": student.load()}, news, [news])
    assert news.read_bytes() == before


def test_an_article_that_was_taken_down_does_not_come_back_from_an_index(
    student: Served, tmp_path: Path
) -> None:
    """The store is what is served; an index beside it only saves encoding."""
    from recbole_tinynews.serving.store import Store, StoredArticle

    index, store = tmp_path / "index", Store(tmp_path / "store.db")
    store.put([StoredArticle(name, {"title": f"word{name}"}) for name in "123"])
    assert [*opened({"student": student.load()}, None, [index], store)] == ["1", "2", "3"]
    store.put([StoredArticle("2", None)])
    ranker = student.load()
    opened({"student": ranker}, None, [index], Store(tmp_path / "store.db"))
    assert ranker.news_ids == ("1", "3")
