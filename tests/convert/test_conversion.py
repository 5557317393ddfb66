from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mind_folder import IMPRESSIONS, NEWS

from recbole_tinynews.convert import ConversionError, convert_news

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


def test_every_record_of_a_small_data_set_is_written_exactly(write_mind, convert, lines) -> None:
    convert(train=write_mind())
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


def test_the_report_counts_impressions_that_affect_metrics(write_mind, convert, lines) -> None:
    report = convert(train=write_mind())
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
    items = pd.read_csv(
        folder / "tiny" / "tiny.item",
        sep="\t",
        quoting=3,
        keep_default_na=False,
        lineterminator="\n",
        dtype=str,
        encoding="utf-8",
    )
    assert items["title:token_seq"].tolist()[: len(titles)] == titles
    assert items["abstract:token_seq"].tolist()[: len(titles)] == titles


def test_a_carriage_return_inside_a_title_is_a_counted_space(write_mind, convert, lines) -> None:
    """Kept, it would end the row for most readers; dropped silently, nobody would know."""
    report = convert(train=write_mind(news=["N1\ts\tg\tA\rB\tC\r\rD\t\t\t", *NEWS[1:]]))
    assert lines("item")[1] == "N1\ts\tg\tA B\tC  D"
    assert report["texts_changed"] == 2


def test_news_of_all_folders_are_merged_in_the_order_first_seen(write_mind, convert, lines) -> None:
    new = "N0\ta\tb\tt\t\t\t\t"
    report = convert(
        train=write_mind(news=[*NEWS, NEWS[0]]),
        test=write_mind(news=[new, *NEWS[:2]], name="test"),
    )
    assert [line.split("\t")[0] for line in lines("item")[1:]] == ["N1", "N2", "N3", "N0"]
    assert report["news"]["repeated"] == 3


def test_a_field_that_one_folder_lacks_is_taken_from_the_other(write_mind, convert, lines) -> None:
    """Samples of MIND leave out subcategories: pooled, the order of folders would decide them."""
    bare = ["N1\tsports\t\tA title\t \t\t\t", *NEWS[1:]]
    folders = [write_mind(news=bare), write_mind([f"1{row}" for row in IMPRESSIONS], name="more")]
    for train in (folders, folders[::-1]):
        report = convert(train=train)
        assert lines("item")[1] == "N1\tsports\tgolf\tA title\tAn abstract"
        assert (report["news"]["repeated"], report["news"]["filled"]) == (3, 1)
        assert report["news"]["empty_subcategories"] == 1


def test_texts_that_differ_in_white_space_alone_are_no_contradiction(
    write_mind, convert, lines
) -> None:
    report = convert(train=write_mind(news=[*NEWS, NEWS[0].replace("A title", " A   title")]))
    assert lines("item")[1] == "N1\tsports\tgolf\tA title\tAn abstract"
    assert (report["news"]["repeated"], report["news"]["filled"]) == (1, 0)


def test_urls_and_entities_may_differ_between_folders(write_mind, convert) -> None:
    moved = NEWS[0].replace("http://a\t[]", "http://elsewhere\t[{}]")
    report = convert(train=write_mind(), test=write_mind(news=[moved], name="test"))
    assert report["news"]["repeated"] == 1


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


def test_an_unlabelled_test_set_has_empty_labels(write_mind, convert, lines) -> None:
    test = write_mind(["9\tU1\t11/16/2019 1:00:00 AM\tN1\tN2 N3"], name="test")
    report = convert(train=write_mind(), test=test)
    assert lines("test.inter")[1:] == ["9\tU1\t1573866000\tN1\tN2 N3\t"]
    part = report["impressions"]["test"]
    assert (part["unlabelled"], part["clicks"], part["single_class"]) == (1, 0, 0)


def test_a_folder_for_validation_leaves_the_training_set_whole(write_mind, convert, lines) -> None:
    valid = write_mind(IMPRESSIONS[:1], name="valid")
    report = convert(train=write_mind(), valid=valid, test=valid)
    assert len(lines("train.inter")) == 4
    assert lines("valid.inter") == lines("test.inter")
    assert list(report["impressions"]) == ["train", "valid", "test"]
    assert report["news"]["repeated"] == 3  # in valid; read once, not twice


@pytest.mark.parametrize("fraction", [0.34, "0.34"])
def test_a_fraction_takes_the_latest_impressions(write_mind, convert, lines, fraction) -> None:
    convert(train=write_mind(reversed(IMPRESSIONS)), valid=fraction)
    assert [line.split("\t")[0] for line in lines("valid.inter")[1:]] == ["3"]
    assert [line.split("\t")[0] for line in lines("train.inter")[1:]] == ["2", "1"]


@pytest.mark.parametrize("packed", [False, True])
def test_bodies_go_to_their_news_whatever_the_order(
    write_mind, convert, lines, tmp_path, packed
) -> None:
    content = 'N3\tother\t"Body" of — N3\nN9\t\tnobody\'s\nN1\tA\tBody of N1\nN1\tA\tBody of N1\n'
    file = tmp_path / "bodies.tsv"  # known as gzip by its content
    file.write_bytes(gzip.compress(content.encode()) if packed else content.encode())
    report = convert(train=write_mind(), bodies=file)
    assert lines("item")[0].endswith("\tabstract:token_seq\tbody:token_seq")
    assert [line.split("\t")[5] for line in lines("item")[1:]] == [
        "Body of N1",
        "",
        '"Body" of — N3',
    ]
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
