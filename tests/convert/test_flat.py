from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from mind_folder import IMPRESSIONS, NEWS, WriteMind

from recbole_tinynews.convert import ConversionError, convert_news
from recbole_tinynews.convert.atomic import NewsItem, write_flat_items


def test_every_candidate_is_a_row_that_stock_recbole_reads(
    write_mind: WriteMind, tmp_path: Path
) -> None:
    report = convert_news(write_mind(), "tiny", output=tmp_path, layout="interaction")
    flat = tmp_path / "tiny-flat"
    assert (flat / "tiny-flat.train.inter").read_bytes().decode() == (
        "user_id:token\titem_id:token\tlabel:float\ttimestamp:float\n"
        "U1\tN3\t0\t1573775999\nU1\tN2\t1\t1573775999\nU1\tN1\t0\t1573775999\n"
    )
    assert (flat / "tiny-flat.item").read_bytes().decode() == (
        "item_id:token\tcategory:token\tsubcategory:token\n"
        "N1\tsports\tgolf\nN2\tnews\tunknown\nN3\tunknown\tunknown\n"
    )
    assert report["flat"] == {"dataset": "tiny-flat", "rows": {"train": 3, "valid": 3}}
    assert (tmp_path / "tiny" / "tiny.train.inter").exists()


@pytest.mark.parametrize("category", ["", " ", "NA", "null", "#N/A", '"a', "a\rb", "None"])
def test_no_category_is_a_missing_cell_for_stock_recbole(
    write_mind: WriteMind, tmp_path: Path, category: str
) -> None:
    """On pandas 3 a missing token silently becomes the id -9223372036854775808."""
    train = write_mind(news=[f"N0\t{category}\t{category}\tt\t\t\t\t", *NEWS])
    convert_news(train, "tiny", output=tmp_path, layout="interaction")
    # As RecBole reads it: the Python engine, quoting and missing values left at their defaults.
    items = pd.read_csv(
        tmp_path / "tiny-flat" / "tiny-flat.item", delimiter="\t", dtype=str, engine="python"
    )
    assert len(items) == 4
    assert not items.isna().any(axis=None)


def test_a_category_with_a_tab_or_a_line_end_stays_in_its_cell(tmp_path: Path) -> None:
    """As parquet may have it: every later column, or row, would be another's."""
    news = [NewsItem("N1", "a\tb", "c\nd"), NewsItem("N2", "e", "f")]
    write_flat_items(tmp_path / "flat.item", news)
    rows = (tmp_path / "flat.item").read_text().splitlines()
    assert rows[1:] == ["N1\ta b\tc d", "N2\te\tf"]


@pytest.mark.parametrize("line", ["4\tNA\t{time}\tN1\tN1-0", '4\tU1\t{time}\tN1\t"N4-0 N1-1'])
def test_an_id_that_stock_recbole_would_misread_is_refused(
    write_mind: WriteMind, tmp_path: Path, line: str
) -> None:
    train = write_mind([*IMPRESSIONS, line.format(time="11/15/2019 1:00:00 AM")])
    with pytest.raises(ConversionError, match=r"stock RecBole can read, got '(NA|\"N4)'"):
        convert_news(train, "tiny", output=tmp_path / "out", layout="interaction")
    assert not (tmp_path / "out").exists()


def test_labels_that_nobody_knows_are_not_made_up(write_mind: WriteMind, tmp_path: Path) -> None:
    test = write_mind(["9\tU1\t11/16/2019 1:00:00 AM\tN1\tN2 N3"], name="test")
    report = convert_news(write_mind(), "tiny", test=test, output=tmp_path, layout="interaction")
    assert list(report["flat"]["rows"]) == ["train", "valid"]
    assert not (tmp_path / "tiny-flat" / "tiny-flat.test.inter").exists()
