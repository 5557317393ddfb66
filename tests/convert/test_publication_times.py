"""The optional column ``published`` of ``NAME.item``."""

from __future__ import annotations

from pathlib import Path

import pytest
from plain_mind import read

from recbole_tinynews.convert import ConversionError, convert_news
from recbole_tinynews.data.atomic_files import read_news

NAMES = "item_id:token category:token subcategory:token title:token_seq abstract:token_seq"
TABLE = "user,time,clicked,title,{}\nu,10,a,A,1970-01-02\nu,20,b,B,\nu,30,a,A,{}\n"


def items(place: Path, format: str, output: Path, **more: object) -> tuple[str, list[list[str]]]:
    """The header and the last column of each row of the ``.item``."""
    convert_news(place, "x", format=format, output=output, valid=0.4, **more)
    path = output / "x" / "x.item"
    return path.read_text().split("\n")[0], [[row[0], row[-1]] for row in read(path)]


def test_a_table_has_it_in_a_column_that_may_be_named(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text(TABLE.format("published", ""))
    expected = f"{NAMES} published:float".replace(" ", "\t"), [["a", "86400"], ["b", ""]]
    assert items(table, "table", tmp_path) == expected
    table.write_text(TABLE.format("born", "86400.5"))
    assert items(table, "table", tmp_path, columns={"published": "born"}) == expected
    table.write_text(TABLE.format("born", ""))
    assert items(table, "table", tmp_path)[0] == NAMES.replace(" ", "\t")  # as without the role


def test_ebnerd_has_it_beside_the_body_and_no_other_column_is_read_differently(
    tmp_path: Path,
) -> None:
    pytest.importorskip("pyarrow")
    from ebnerd_folder import NEWS, at, write_ebnerd

    news = [{**NEWS[0], "published_time": at("2023-05-01 00:00:00")}, *NEWS[1:]]
    place = write_ebnerd(tmp_path / "eb", news=news)
    header, rows = items(place, "ebnerd", tmp_path)
    assert header.endswith("\tbody:token_seq\tpublished:float")
    assert rows[:2] == [["11", "1682899200"], ["12", ""]]
    with_times = read_news(tmp_path / "x" / "x.item")
    header, _ = items(write_ebnerd(tmp_path / "eb"), "ebnerd", tmp_path)
    assert header.endswith("\tbody:token_seq")
    without = read_news(tmp_path / "x" / "x.item")
    assert with_times.published == ["1682899200", "", "", ""]
    assert with_times._replace(published=without.published) == without


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ("u,10,a,A,soon", "column published: expected seconds since 1970"),
        ("u,10,a,A,1582934400000", "Divide milliseconds by 1000"),
    ],
)
def test_a_bad_time_is_named(tmp_path: Path, rows: str, expected: str) -> None:
    table = tmp_path / "t.csv"
    table.write_text(f"user,time,clicked,title,published\n{rows}\n")
    with pytest.raises(ConversionError, match=f":2: .*{expected}"):
        items(table, "table", tmp_path)


def test_two_times_of_one_article_are_a_contradiction(tmp_path: Path) -> None:
    """As two titles are: the age of an article would depend on the order of rows."""
    news, table = tmp_path / "news.csv", tmp_path / "t.csv"
    news.write_text("id,title,published\na,A,10\na,A,11\n")
    table.write_text("user,time,clicked\nu,1,a\nu,2,a\n")
    with pytest.raises(ConversionError, match=r"news\.csv:3: column published: expected the pub"):
        items(table, "table", tmp_path, news=[news])
