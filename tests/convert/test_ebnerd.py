"""EB-NeRD's parquet files, in the published layout."""

from __future__ import annotations

import os
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyarrow")

import pyarrow as pa
import pyarrow.parquet as pq
from ebnerd_folder import (
    IMPRESSIONS,
    of_seconds,
    unlabelled,
    write_ebnerd,
    write_parquet,
)
from plain_mind import read

from recbole_tinynews.convert import ConversionError, convert_news


def convert(place: Path, output: Path, **more: Any) -> dict[str, Any]:
    return convert_news(place, "eb", format="ebnerd", output=output, **{"valid": 0.5, **more})


def test_every_field_of_the_published_files_arrives(tmp_path: Path) -> None:
    report = convert(write_ebnerd(tmp_path / "eb"), tmp_path / "out", valid=0.4)
    rows = [
        row
        for split in ("train", "valid")
        for row in read(tmp_path / "out" / "eb" / f"eb.{split}.inter")
    ]
    assert rows == [
        ["48401", "22", "1684703210", "13", "11 12 13", "0 1 0", "14", "2", "3", "0"],
        ["155390", "99", "1684913433", "", "11", "1", "", "", "", ""],
        ["152513", "7", "1684913486", "14 11 13", "13 11", "0 0", "", "1", "", "1"],
    ]
    assert read(tmp_path / "out" / "eb" / "eb.item") == [
        ["11", "sport", "196", "En titel", "Et resume", "Brødtekst. Mere."],
        ["12", "nyheder", "", "NA", "", ""],
        ["13", "414", "", 'Med "tegn"', "", ""],
        ["14", "", "", "", "", ""],
    ]
    assert report["texts_changed"] == 2  # a tab, a line end
    assert report["ids_without_news_row"]["examples"] == ["14"]
    without = report["ebnerd"]["impressions_of_users_without_history"]
    assert list(without.values()) == [1]
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
    assert report["ebnerd"]["impressions_beyond_accuracy"] == 2
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


def test_a_column_that_is_missing_or_of_another_type_is_named(tmp_path: Path) -> None:
    place = write_ebnerd(tmp_path / "eb")
    path = place / "behaviors.parquet"
    table = pq.read_table(path)
    pq.write_table(table.drop_columns(["user_id"]), path)
    with pytest.raises(ConversionError, match=r"behaviors.parquet: expected a column user_id, fou"):
        convert(place, tmp_path / "out")
    at_once = table.column_names.index("impression_time")
    pq.write_table(table.set_column(at_once, "impression_time", pa.array(["x"] * 3)), path)
    with pytest.raises(ConversionError, match=r"impression_time: expected seconds since 1970"):
        convert(place, tmp_path / "out")


def test_a_column_that_is_there_twice_is_named(tmp_path: Path) -> None:
    place = write_ebnerd(tmp_path / "eb")
    for path in (place / "behaviors.parquet", tmp_path / "eb" / "articles.parquet"):
        table = pq.read_table(path)
        pq.write_table(table.append_column(table.column_names[0], table.column(0)), path)
        with pytest.raises(ConversionError, match=f"{path.name}: expected each column once, got "):
            convert(place, tmp_path / "out")
        pq.write_table(table, path)


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
    with pytest.raises(ConversionError, match=r"\[parquet\]"):
        convert(place, tmp_path / "out")


@pytest.mark.real
def test_real_impressions_convert_from_parquet_as_from_mind(tmp_path: Path) -> None:
    """The published layout is written from the same impressions, so nothing else may differ."""
    data = os.environ.get("RECBOLE_TINYNEWS_DATA")
    if not data:
        pytest.skip("RECBOLE_TINYNEWS_DATA names no folder with real impressions of EB-NeRD")
    source = Path(data) / "ebnerd"
    report = convert_news(source / "train", "mind", test=source / "dev", output=tmp_path)
    for name, split in (("train", "train"), ("dev", "validation")):
        write_as_published(source / name, tmp_path / f"ebnerd_{name}", split)
    again = convert_news(
        tmp_path / "ebnerd_train" / "train",
        "eb",
        format="ebnerd",
        test=tmp_path / "ebnerd_dev" / "validation",
        output=tmp_path,
    )
    assert again["impressions"] == report["impressions"]
    assert again["impressions"]["test"]["impressions"] == 12_522
    for split in ("train", "valid", "test"):
        expected = read(tmp_path / "mind" / f"mind.{split}.inter")
        assert read(tmp_path / "eb" / f"eb.{split}.inter") == [
            [number, bare(user), time, bare(history), bare(shown), labels]
            for number, user, time, history, shown, labels in expected
        ]
    expected = {bare(row[0]): row[1:] for row in read(tmp_path / "mind" / "mind.item")}
    assert {row[0]: row[1:] for row in read(tmp_path / "eb" / "eb.item")} == expected


def bare(ids: str) -> str:
    """The ids as EB-NeRD has them, which MIND's format gives a letter."""
    return " ".join(each[1:] for each in ids.split())


def write_as_published(mind: Path, bundle: Path, split: str) -> None:
    """The files of a bundle from a folder in MIND's format, whose histories are per user."""
    news = []
    for line in (mind / "news.tsv").read_text(encoding="utf-8").split("\n")[:-1]:
        name, category, subcategory, title, abstract = line.split("\t")[:5]
        texts = {"title": title, "subtitle": abstract, "category_str": category}
        numbers = {
            "category": int(category),
            "subcategory": [int(each) for each in subcategory.split()],
        }
        news.append({"article_id": int(name[1:]), **texts, **numbers})
    rows, histories = [], {}
    for line in (mind / "behaviors.tsv").read_text(encoding="utf-8").split("\n")[:-1]:
        number, user, time, history, shown = line.split("\t")
        pairs = [each.rpartition("-") for each in shown.split()]
        clicks = [int(each) for each in bare(history).split()]
        assert histories.setdefault(int(user[1:]), clicks) == clicks
        moment = datetime.strptime(time, "%m/%d/%Y %I:%M:%S %p")
        rows.append(
            {"impression_id": int(number), "user_id": int(user[1:]), "impression_time": moment}
            | {"article_ids_inview": [int(name[1:]) for name, _, _ in pairs]}
            | {"article_ids_clicked": [int(name[1:]) for name, _, label in pairs if label == "1"]}
        )
    write_parquet(bundle / "articles.parquet", news, 1_000)
    write_parquet(bundle / split / "behaviors.parquet", rows, 5_000)
    of_users = [
        {"user_id": user, "article_id_fixed": clicks}
        | {"impression_time_fixed": [of_seconds(second) for second in range(len(clicks))]}
        for user, clicks in histories.items()
    ]
    write_parquet(bundle / split / "history.parquet", of_users, 500)
