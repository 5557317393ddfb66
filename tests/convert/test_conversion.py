from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mind_folder import IMPRESSIONS, NEWS, WriteMind

from recbole_tinynews.convert import ConversionError, convert_news
from recbole_tinynews.convert.__main__ import main
from recbole_tinynews.convert.atomic import NewsItem, write_flat_items
from recbole_tinynews.convert.conversion import read_places
from recbole_tinynews.convert.readers.mind import MindReader
from recbole_tinynews.convert.readers.reader import Options

Convert = Callable[..., dict]


@pytest.fixture
def convert(tmp_path: Path) -> Convert:
    """Convert into ``tmp_path / "out"`` under the name ``tiny``."""
    return lambda **settings: convert_news(dataset="tiny", output=tmp_path / "out", **settings)


@pytest.fixture
def lines(tmp_path: Path) -> Callable[[str], list[str]]:
    """The lines of one written file, header first."""

    def read(kind: str) -> list[str]:
        content = (tmp_path / "out" / "tiny" / f"tiny.{kind}").read_bytes()
        assert content.endswith(b"\n")
        return content.decode().split("\n")[:-1]

    return read


def test_every_record_of_a_small_data_set_is_written_exactly_and_reported(
    write_mind, convert, lines
) -> None:
    """The report counts impressions that affect metrics."""
    report = convert(train=write_mind())
    assert lines("train.inter") == [
        "impression_id:token\tuser_id:token\ttimestamp:float\thistory:token_seq\t"
        "candidates:token_seq\tlabels:float_seq",
        "1\tU1\t1573775999\tN1 N2\tN3 N2 N1\t0 1 0",
    ]
    assert lines("valid.inter")[1:] == [
        "2\tU2\t1573776300\t\tN1\t1",
        "3\tU1\t1573819500\tN1\tN2 N2\t0 0",
    ]
    assert lines("item") == [
        "item_id:token\tcategory:token\tsubcategory:token\ttitle:token_seq\tabstract:token_seq",
        "N1\tsports\tgolf\tA title\tAn abstract",
        'N2\tnews\t\t"Quoted" from the start\t',
        "N3\tnull\tNA\tNA\tnan",
    ]
    assert report == json.loads("\n".join(lines("report.json")))
    assert report["impressions"]["valid"] == {
        "impressions": 2,
        "candidates": 3,
        "clicks": 1,
        "clicks_on_history": 0,
        "empty_histories": 1,
        "without_click": 1,
        "only_clicks": 1,
        "single_class": 2,
        "unlabelled": 0,
        "with_repeated_candidates": 1,
        "first_time": "2019-11-15T00:05:00Z",
        "last_time": "2019-11-15T12:05:00Z",
    }
    assert report["skipped_lines"] == {"total": 0, "kinds": {}}
    assert report["settings"]["valid"] == "last-day"
    assert report["format"] == 1


text = st.text(st.characters(codec="utf-8", exclude_characters="\t\n\r\0"))


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None
)
@given(titles=st.lists(text, min_size=1, max_size=5), end=st.sampled_from(["\n", "\r\n"]))
def test_pandas_reads_back_the_very_titles(tmp_path_factory, titles, end) -> None:
    """One lost quote or one extra line end moves every later title to another article."""
    folder = tmp_path_factory.mktemp("mind")
    rows = [f"N{i}\ta\tb\t{title}\t{title}\t\t\t" for i, title in enumerate(titles)]
    (folder / "news.tsv").write_bytes(end.join(rows).encode())
    (folder / "behaviors.tsv").write_bytes(end.join(IMPRESSIONS).encode())
    convert_news(folder, "tiny", output=folder)
    how = {"sep": "\t", "quoting": 3, "lineterminator": "\n", "keep_default_na": False}
    items = pd.read_csv(folder / "tiny" / "tiny.item", dtype=str, **how)
    assert items["title:token_seq"].tolist()[: len(titles)] == titles
    assert items["abstract:token_seq"].tolist()[: len(titles)] == titles


def test_a_carriage_return_inside_a_title_is_a_counted_space(write_mind, convert, lines) -> None:
    """Kept, it would end the row for most readers; dropped silently, nobody would know."""
    report = convert(train=write_mind(news=["N1\ts\tg\tA\rB\tC\r\rD\t\t\t", *NEWS[1:]]))
    assert lines("item")[1] == "N1\ts\tg\tA B\tC  D"
    assert report["texts_changed"] == 2


def test_news_of_all_folders_are_merged_in_the_order_first_seen(write_mind, convert, lines) -> None:
    """Urls, entities and white space may differ."""
    new, moved = "N0\ta\tb\tt\t\t\t\t", NEWS[1].replace("http://b\t[]", "http://elsewhere\t[{}]")
    spaced = NEWS[0].replace("A title", " A   title")
    test = write_mind(news=[new, NEWS[0], moved], name="test")
    report = convert(train=write_mind(news=[*NEWS, spaced]), test=test)
    assert [line.split("\t")[0] for line in lines("item")[1:]] == ["N1", "N2", "N3", "N0"]
    assert lines("item")[1] == "N1\tsports\tgolf\tA title\tAn abstract"
    assert (report["news"]["repeated"], report["news"]["filled"]) == (3, 0)


def test_a_field_that_one_folder_lacks_is_taken_from_the_other(write_mind, convert, lines) -> None:
    """Samples of MIND leave out subcategories: pooled, the order of folders would decide them."""
    bare = ["N1\tsports\t\tA title\t \t\t\t", *NEWS[1:]]
    folders = [write_mind(news=bare), write_mind([f"1{row}" for row in IMPRESSIONS], name="more")]
    for train in (folders, folders[::-1]):
        report = convert(train=train)
        assert lines("item")[1] == "N1\tsports\tgolf\tA title\tAn abstract"
        assert (report["news"]["repeated"], report["news"]["filled"]) == (3, 1)
        assert report["news"]["empty_subcategories"] == 1


def test_ids_without_news_row_are_kept_and_counted(write_mind, convert, lines) -> None:
    """Dropping an unknown candidate would change the ranking that is measured."""
    report = convert(
        train=write_mind([*IMPRESSIONS, "4\tU9\t11/15/2019 1:00:00 AM\tN8\tN9-0 N1-1"])
    )
    assert lines("item")[4:] == ["N8\t\t\t\t", "N9\t\t\t\t"]
    assert report["items"] == 5
    assert report["ids_without_news_row"] == {
        "ids": 2,
        "among_candidates": 1,
        "among_histories": 1,
        "examples": ["N8", "N9"],
    }


@pytest.mark.parametrize("packed", [False, True])
def test_bodies_go_to_their_news_whatever_the_order(
    write_mind, convert, lines, tmp_path, packed
) -> None:
    content = 'N3\tother\t"Body" of — N3\nN9\t\tnobody\'s\nN1\tA\tBody of N1\nN1\tA\tBody of N1\n'
    file = tmp_path / "bodies.tsv"  # known as gzip by its content
    file.write_bytes(gzip.compress(content.encode()) if packed else content.encode())
    report = convert(train=write_mind(), bodies=file)
    assert lines("item")[0].endswith("\tabstract:token_seq\tbody:token_seq")
    bodies = [line.split("\t")[5] for line in lines("item")[1:]]
    assert bodies == ["Body of N1", "", '"Body" of — N3']
    assert report["bodies"] == {
        "rows": 4,
        "items_with_body": 2,
        "items_without_body": 1,
        "repeated_with_the_same_text": 1,
        "ids_without_news": 1,
        "ids_without_news_examples": ["N9"],
    }


def test_a_file_of_the_last_conversion_is_not_taken_for_a_new_one(
    write_mind, convert, tmp_path
) -> None:
    """A test set left over from other data would be evaluated silently."""
    train = write_mind()
    convert(train=train, test=train)
    (tmp_path / "out" / "tiny" / "tiny.oracle.json").write_text("{}")
    convert(train=train)
    assert {file.name for file in (tmp_path / "out" / "tiny").iterdir()} == {
        "tiny.item",
        "tiny.train.inter",
        "tiny.valid.inter",
        "tiny.report.json",
        "tiny.oracle.json",  # written by somebody else: not removed
    }


def test_wrong_settings_are_all_reported_at_once(tmp_path) -> None:
    with pytest.raises(ConversionError) as caught:
        convert_news(tmp_path / "none", "a/b", valid=1.5, test=tmp_path, on_error="ignore")
    for part in ("--train=", "--dataset='a/b'", "--valid=1.5", "--on-error=ignore", "no news.tsv"):
        assert part in str(caught.value)
    with pytest.raises(ConversionError, match="at least one folder"):
        convert_news([], "tiny", output=tmp_path / "out")


def test_ids_that_two_folders_share_become_unique(write_mind: WriteMind) -> None:
    """MIND counts the impressions of each folder from 1, and results are told apart by id."""
    given = [["1", "1/2"], ["1", "1/2"], ["1", "8"]]
    folders = [
        write_mind([f"{id_}\tU{n}\t11/15/2019 1:00:00 AM\t\tN1-1" for id_ in ids], name=str(n))
        for n, ids in enumerate(given)
    ]
    ids = [each.impression_id for each in read_places(MindReader(Options()), folders, True)]
    assert ids == ["1", "1/2", "1/2/2", "1/2/2/2", "1/3", "8"]
    alone = read_places(MindReader(Options()), folders[1:2], True)
    assert [each.impression_id for each in alone] == ["1", "1/2"]


def test_an_impression_that_two_folders_share_is_refused(
    write_mind: WriteMind, tmp_path: Path
) -> None:
    """It would be trained on, or tested, twice."""
    folders = [write_mind(), write_mind(IMPRESSIONS[1:2], name="more")]
    with pytest.raises(ConversionError, match="got 2 of U2 at the same time again"):
        convert_news(folders, "tiny", output=tmp_path / "out", on_error="skip")


def test_of_several_folders_none_is_forgotten(write_mind: WriteMind, tmp_path: Path) -> None:
    """Of a flag that is given twice the last one alone would count, without a word."""
    later = [row.replace("11/15", "11/16") for row in IMPRESSIONS[1:]]
    of_others = [[row.replace("\tU", f"\t{user}") for row in IMPRESSIONS] for user in "VW"]
    pooled = {"train": [write_mind(), write_mind(later, name="more")]}
    pooled["test"] = [write_mind(rows, name=f"test {rows[0][2]}") for rows in of_others]
    flags = [f"--{split}={folder}" for split in pooled for folder in pooled[split]]
    assert main([*flags, "--dataset=tiny", f"--output={tmp_path / 'out'}"]) == 0
    report = json.loads((tmp_path / "out" / "tiny" / "tiny.report.json").read_text())
    counts = {split: part["impressions"] for split, part in report["impressions"].items()}
    assert counts == {"train": 3, "valid": 2, "test": 6}
    for split, folders in pooled.items():
        assert report["settings"][split] == [*map(str, folders)]


def flags(train: Path, output: Path, *more: str) -> list[str]:
    return [f"--train={train}", "--dataset=tiny", f"--output={output}", *more]


def test_the_command_converts_and_sums_up(
    write_mind: WriteMind, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = write_mind([*IMPRESSIONS, "bad"])
    more = ("--on-error=skip", "--layout=interaction", f"--test={train}", "--valid=0.4")
    assert main(flags(train, tmp_path / "out", *more)) == 0
    printed = capsys.readouterr().out
    assert "train: 2 impressions, 4 candidates, 2 clicks, 2019-11-14T23:59:59Z to" in printed
    assert "note: 2 bad lines dropped" in printed  # the test folder is the same
    assert "out/tiny/" in printed
    assert "out/tiny-flat/" in printed
    assert (tmp_path / "out" / "tiny" / "tiny.test.inter").exists()


def test_a_bad_line_gives_a_message_with_a_remedy_and_no_traceback(
    write_mind: WriteMind, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(flags(write_mind([*IMPRESSIONS, "bad"]), tmp_path / "out")) == 1
    message = capsys.readouterr().err
    assert "behaviors.tsv:4: expected 5 tab-separated columns" in message
    assert "--on-error=skip" in message
    assert "Traceback" not in message


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
