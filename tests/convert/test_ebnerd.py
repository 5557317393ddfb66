"""EB-NeRD's parquet files, in the published layout."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyarrow")

import pyarrow as pa
import pyarrow.parquet as pq
from ebnerd_folder import IMPRESSIONS, unlabelled, write_ebnerd
from plain_mind import read

from recbole_tinynews.convert import ConversionError, convert_news


def convert(place: Path, output: Path, **more: Any) -> dict[str, Any]:
    return convert_news(place, "eb", format="ebnerd", output=output, **{"valid": 0.5, **more})


def test_every_field_of_the_published_files_arrives(tmp_path: Path) -> None:
    report = convert(write_ebnerd(tmp_path / "eb"), tmp_path / "out", valid=0.4)
    written = tmp_path / "out" / "eb"
    rows = [row for split in ("train", "valid") for row in read(written / f"eb.{split}.inter")]
    first = ["48401", "22", "1684703210", "13", "11 12 13", "0 1 0"]
    assert rows == [
        [*first, "14", "2", "3", "0", "61.3", "100"],
        ["155390", "99", "1684913433", "", "11", "1", *[""] * 6],
        ["152513", "7", "1684913486", "14 11 13", "13 11", "0 0", "", "1", "", "1", "", ""],
    ]
    assert read(tmp_path / "out" / "eb" / "eb.item") == [
        ["11", "sport", "196", "En titel", "Et resume", "Brødtekst. Mere."],
        ["12", "nyheder", "", "NA", "", ""],
        ["13", "414", "", 'Med "tegn"', "", ""],
        ["14", "", "", "", "", ""],
    ]
    header = (tmp_path / "out" / "eb" / "eb.train.inter").read_text().split("\n")[0]
    assert header.split("labels:float_seq\t")[1] == (
        "context_article:token\tdevice:token\tsession:token\tsubscriber:float\t"
        "read_time:float\tscroll_percentage:float"
    )
    assert report["texts_changed"] == 2  # a tab, a line end
    assert report["ids_without_news_row"]["examples"] == ["14"]
    assert sum(part["empty_histories"] for part in report["impressions"].values()) == 1
    assert report["bodies"]["items_with_body"] == 1


def test_splits_share_the_articles_beside_them(tmp_path: Path) -> None:
    train = write_ebnerd(tmp_path / "eb")
    valid = write_ebnerd(tmp_path / "eb", split="validation")
    report = convert(train, tmp_path / "out", valid=valid)
    assert report["news"]["rows"] == {str(tmp_path / "eb" / "articles.parquet"): 3}


def test_the_test_set_has_no_clicks_and_a_line_for_each_impression_beyond_accuracy(
    tmp_path: Path,
) -> None:
    """A submission that lacks one of the 200,000 impressions with the id 0 is not accepted."""
    rows = [
        {**IMPRESSIONS[0], "impression_id": number, "user_id": 20 + place}
        for place, number in enumerate((5, 0, 0, 6))
    ]
    test = write_ebnerd(tmp_path / "testset", rows, split="test")
    path = test / "behaviors.parquet"
    unlabelled(path)
    flags = pa.array([False, True, True, False])
    pq.write_table(pq.read_table(path).append_column("is_beyond_accuracy", flags), path)
    report = convert(write_ebnerd(tmp_path / "eb"), tmp_path / "out", test=test)
    assert report["impressions"]["test"]["unlabelled"] == 4
    written = read(tmp_path / "out" / "eb" / "eb.test.inter")
    assert [row[0] for row in written] == ["5", "0", "0", "6"]
    assert {row[5] for row in written} == {""}


def test_an_unlabelled_set_cannot_be_trained_on(tmp_path: Path) -> None:
    train = write_ebnerd(tmp_path / "eb")
    unlabelled(train / "behaviors.parquet")
    with pytest.raises(ConversionError, match=r"a column article_ids_clicked \(only --test may"):
        convert(train, tmp_path / "out", on_error="skip")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("lacking", ["behaviors.parquet", "history.parquet", "articles.parquet"])
def test_a_file_that_is_not_there_is_named_before_anything_is_read(
    tmp_path: Path, lacking: str
) -> None:
    place = write_ebnerd(tmp_path / "eb")
    path = (place.parent if lacking == "articles.parquet" else place) / lacking
    path.unlink()
    with pytest.raises(ConversionError, match=f"--train=.*found no {lacking}"):
        convert(place, tmp_path / "out")


def test_a_column_that_is_missing_or_there_twice_or_of_another_type_is_named(
    tmp_path: Path,
) -> None:
    place = write_ebnerd(tmp_path / "eb")
    for path in (place / "behaviors.parquet", tmp_path / "eb" / "articles.parquet"):
        table = pq.read_table(path)
        pq.write_table(table.append_column(table.column_names[0], table.column(0)), path)
        with pytest.raises(ConversionError, match=f"{path.name}: expected each column once, got "):
            convert(place, tmp_path / "out")
        pq.write_table(table, path)
    path = place / "behaviors.parquet"
    table = pq.read_table(path)
    pq.write_table(table.drop_columns(["user_id"]), path)
    with pytest.raises(ConversionError, match=r"behaviors.parquet: expected a column user_id, fou"):
        convert(place, tmp_path / "out")
    at_once = table.column_names.index("impression_time")
    pq.write_table(table.set_column(at_once, "impression_time", pa.array(["x"] * 3)), path)
    with pytest.raises(ConversionError, match=r"impression_time: expected seconds since 1970"):
        convert(place, tmp_path / "out")


def test_text_that_is_not_utf8_is_a_bad_row_and_not_a_bad_file(tmp_path: Path) -> None:
    place = write_ebnerd(tmp_path / "eb")
    path = tmp_path / "eb" / "articles.parquet"
    table = pq.read_table(path)
    titles = pa.array([b"good", b"b\xffd", b"good"]).view(pa.string())
    pq.write_table(table.set_column(1, "title", titles), path)
    with pytest.raises(ConversionError, match=r"articles.parquet:2: column title: expected text"):
        convert(place, tmp_path / "out")
    assert convert(place, tmp_path / "out", on_error="skip")["news"]["distinct"] == 2


def test_ids_that_are_text_and_other_widths_of_lists_are_read_alike(tmp_path: Path) -> None:
    """Polars writes large lists, and releases of others have text for ids."""
    place = write_ebnerd(tmp_path / "eb")
    convert(place, tmp_path / "out")
    expected = read(tmp_path / "out" / "eb" / "eb.train.inter")
    path = place / "behaviors.parquet"
    table = pq.read_table(path)
    wide = pa.large_list(pa.large_string())
    for name in ("article_ids_inview", "article_ids_clicked"):
        cells = [[str(each) for each in cell] for cell in table[name].to_pylist()]
        number = table.column_names.index(name)
        table = table.set_column(number, name, pa.array(cells, wide))
    number = table.column_names.index("user_id")
    users = pa.array([str(each) for each in table["user_id"].to_pylist()]).dictionary_encode()
    pq.write_table(table.set_column(number, "user_id", users), path)
    convert(place, tmp_path / "out")
    assert read(tmp_path / "out" / "eb" / "eb.train.inter") == expected


def test_without_pyarrow_the_error_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = write_ebnerd(tmp_path / "eb")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ModuleNotFoundError, match=r"needs pyarrow.*\[parquet\]"):
        convert(place, tmp_path / "out")
