from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from mind_folder import IMPRESSIONS, NEWS, WriteMind

from recbole_tinynews.convert import ConversionError, convert_mind

GOOD = "7\tU1\t11/15/2019 1:00:00 AM\tN1\tN2-0 N3-1"

SPOILT = GOOD.index("N3") + 2  # the byte after N, counted from 1

BAD_IMPRESSIONS = {
    "too few columns": (GOOD.replace("\tN1\t", "\t"), "expected 5 tab-separated columns", "got 4"),
    "too many columns": (f"{GOOD}\tx", "expected 5 tab-separated columns", "got 6"),
    "blank line": ("", "expected 5 tab-separated columns", "got 1 in ''"),
    "unknown time": (GOOD.replace("1:00:00 AM", "13:00:00 PM"), "column 3", "'13:00:00 PM'"),
    "unknown date": (GOOD.replace("11/15", "2/30"), "column 3", "'2/30/2019'"),
    "a label missing": (GOOD.replace("N2-0", "N2"), "column 5", "-0 or -1 after candidate 1"),
    "a label that is no label": (GOOD.replace("-1", "-2"), "column 5", "got 'N3-2'"),
    "unlabelled": (
        "7\tU1\t11/15/2019 1:00:00 AM\tN1\tN2 N3",
        "column 5: expected -0 or -1 after each candidate",
        "got 'N2 N3'",
    ),
    "no candidates": (GOOD.replace("N2-0 N3-1", ""), "column 5", "at least one candidate"),
    "empty candidate": (GOOD.replace("N2-0", "-0"), "column 5", "got an empty one at place 1"),
    "empty history id": (GOOD.replace("\tN1\t", "\tN1  N2\t"), "column 4", "at place 2"),
    "history ends in a space": (GOOD.replace("\tN1\t", "\tN1 \t"), "column 4", "at place 2"),
    "no-break space in an id": (GOOD.replace("\tN1\t", "\tN\xa01\t"), "column 4", "'N\\xa01'"),
    "carriage return in an id": (GOOD.replace("N3-1", "N\r3-1"), "column 5", "'N\\r3'"),
    "empty impression id": (GOOD.removeprefix("7"), "column 1: expected an id", "got ''"),
    "empty user id": (GOOD.replace("U1", ""), "column 2: expected an id", "got ''"),
    "user id of spaces": (GOOD.replace("U1", "  "), "column 2: expected an id", "got '  '"),
    "user id with a space": (GOOD.replace("U1", "U 1"), "column 2", "without white space"),
    "impression id again": (GOOD.replace("7", "1", 1), "column 1", "of line 1 again"),
    "not UTF-8": (GOOD.replace("N3", "N\udcff"), "expected UTF-8", f"at byte {SPOILT} of the line"),
    "NUL": (GOOD.replace("N3", "N\0"), f"got a NUL byte at byte {SPOILT}", ""),
}
BAD_NEWS = {
    "too few columns": ("N4\ta\tb\tt\t\t\t", "expected 8 tab-separated columns", "got 7"),
    "a tab in the title": ("N4\ta\tb\tt\tt\t\t\t\t", "expected 8 tab-separated columns", "got 9"),
    "empty id": ("\ta\tb\tt\t\t\t\t", "column 1: expected an id", "got ''"),
    "id with a space": ("N 4\ta\tb\tt\t\t\t\t", "column 1", "without white space"),
    "not UTF-8": ("N4\ta\tb\t\udcff\t\t\t\t", "expected UTF-8", "at byte 8 of the line"),
    "NUL": ("N4\ta\tb\t\0\t\t\t\t", "got a NUL byte at byte 8", ""),
    "other title": (NEWS[0].replace("A title", "B"), "column 4", "news.tsv:1, 'A title', got 'B'"),
    "other category": (NEWS[0].replace("sports", "B"), "column 2", "news.tsv:1, 'sports', got 'B'"),
}
BAD_BODIES = {
    "too few columns": ("N1\tbody", "expected 3 tab-separated columns", "got 2"),
    "a tab in the body": ("N1\tt\tbody\tbody", "expected 3 tab-separated columns", "got 4"),
    "empty id": ("\tt\tbody", "column 1: expected an id", "got ''"),
    "other body": ("N2\tt\tother", "column 3", "has in line 1, got 'other'"),
}


def cases(bad: dict[str, tuple[str, str, str]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("line", "expected", "got"), bad.values(), ids=bad)


@pytest.fixture
def refused(tmp_path: Path) -> Callable[..., str]:
    """The message of a conversion that must fail and leave no file."""

    def convert(**settings: object) -> str:
        output = tmp_path / "out"
        with pytest.raises(ConversionError) as caught:
            convert_mind(dataset="tiny", output=output, **settings)
        assert not output.exists()
        return str(caught.value)

    return convert


@cases(BAD_IMPRESSIONS)
def test_a_bad_impression_is_named_by_file_line_and_column(
    write_mind: WriteMind, refused: Callable[..., str], line: str, expected: str, got: str
) -> None:
    train = write_mind([*IMPRESSIONS, line, GOOD])
    message = refused(train=train)
    assert message.startswith(f"{train / 'behaviors.tsv'}:4: ")
    assert expected in message
    assert got in message


@cases(BAD_NEWS)
def test_a_bad_article_is_named_by_file_line_and_column(
    write_mind: WriteMind, refused: Callable[..., str], line: str, expected: str, got: str
) -> None:
    train = write_mind(news=[*NEWS, line])
    message = refused(train=train)
    assert message.startswith(f"{train / 'news.tsv'}:4: ")
    assert expected in message
    assert got in message


@cases(BAD_BODIES)
def test_a_bad_body_is_named_by_file_line_and_column(
    write_mind: WriteMind,
    tmp_path: Path,
    refused: Callable[..., str],
    line: str,
    expected: str,
    got: str,
) -> None:
    file = tmp_path / "bodies.tsv"
    file.write_text(f"N2\tt\tbody\n{line}\n")
    message = refused(train=write_mind(), bodies=file)
    assert message.startswith(f"{file}:2: ")
    assert expected in message
    assert got in message


@pytest.mark.parametrize("line", [case[0] for case in BAD_IMPRESSIONS.values()])
def test_skipping_drops_the_bad_impression_alone_and_counts_it(
    write_mind: WriteMind, tmp_path: Path, line: str
) -> None:
    train = write_mind([*IMPRESSIONS, line, GOOD])
    report = convert_mind(train, "tiny", output=tmp_path / "out", on_error="skip")
    parts = report["impressions"]
    assert parts["train"]["impressions"] + parts["valid"]["impressions"] == 4
    (kind,) = report["skipped_lines"]["kinds"].values()
    assert kind["count"] == report["skipped_lines"]["total"] == 1
    assert kind["examples"][0].startswith(f"{train / 'behaviors.tsv'}:4: ")


@pytest.mark.parametrize("line", [case[0] for case in BAD_NEWS.values()])
def test_skipping_drops_the_bad_article_alone_and_counts_it(
    write_mind: WriteMind, tmp_path: Path, line: str
) -> None:
    train = write_mind(news=[*NEWS, line])
    report = convert_mind(train, "tiny", output=tmp_path / "out", on_error="skip")
    assert report["skipped_lines"]["total"] == 1
    items = (tmp_path / "out" / "tiny" / "tiny.item").read_text().splitlines()
    assert items[1] == "N1\tsports\tgolf\tA title\tAn abstract"
    assert len(items) == 4


def test_a_date_on_a_dropped_line_does_not_move_the_last_day(
    write_mind: WriteMind, tmp_path: Path
) -> None:
    """One bad line of the year 2099 would leave nothing else for validation."""
    train = write_mind([*IMPRESSIONS, "4\tU1\t1/1/2099 1:00:00 AM\tN1\tN2"])
    report = convert_mind(train, "tiny", output=tmp_path / "out", on_error="skip")
    assert report["impressions"]["valid"]["impressions"] == 2


def test_only_the_first_of_many_bad_lines_are_listed(write_mind: WriteMind, tmp_path: Path) -> None:
    train = write_mind([*IMPRESSIONS, *["bad"] * 50])
    report = convert_mind(train, "tiny", output=tmp_path / "out", on_error="skip")
    (kind,) = report["skipped_lines"]["kinds"].values()
    assert (kind["count"], len(kind["examples"])) == (50, 5)


UNLABELLED = [re.sub(r"-[01](?= |$)", "", line) for line in IMPRESSIONS]


def test_labelled_among_unlabelled_is_an_error(
    write_mind: WriteMind, refused: Callable[..., str]
) -> None:
    test = write_mind([*UNLABELLED, GOOD], name="test")
    message = refused(train=write_mind(), test=test)
    assert message.startswith(f"{test / 'behaviors.tsv'}:4: column 5: expected candidates without")


def test_unlabelled_among_labelled_is_an_error_in_a_test_set_too(
    write_mind: WriteMind, refused: Callable[..., str]
) -> None:
    test = write_mind([GOOD, *UNLABELLED], name="test")
    message = refused(train=write_mind(), test=test)
    assert message.startswith(f"{test / 'behaviors.tsv'}:2: column 5: expected -0 or -1 after each")


def test_skipping_does_not_drop_most_of_a_file_for_its_first_line(
    write_mind: WriteMind, refused: Callable[..., str]
) -> None:
    test = write_mind([GOOD, *UNLABELLED], name="test")
    message = refused(train=write_mind(), test=test, on_error="skip")
    assert "got 3 without and 1 with" in message


@pytest.mark.parametrize("split", ["train", "valid"])
def test_an_unlabelled_set_cannot_be_trained_or_validated_on(
    write_mind: WriteMind, refused: Callable[..., str], split: str
) -> None:
    folders = {"train": write_mind(), "valid": write_mind(name="valid")}
    folders[split] = write_mind(UNLABELLED, name="unlabelled")
    assert "only --test may go without labels" in refused(**folders)


@pytest.mark.parametrize("on_error", ["stop", "skip"])
@pytest.mark.parametrize("file", ["behaviors.tsv", "news.tsv"])
class TestWholeFiles:
    def test_an_empty_file_is_an_error(self, write_mind, refused, file, on_error) -> None:
        train = write_mind()
        (train / file).write_bytes(b"")
        assert "got an empty file" in refused(train=train, on_error=on_error)

    def test_a_missing_file_is_an_error(self, write_mind, refused, file, on_error) -> None:
        train = write_mind()
        (train / file).unlink()
        assert f"found no {file}" in refused(train=train, on_error=on_error)

    def test_a_folder_in_place_of_a_file_is_an_error(
        self, write_mind, refused, file, on_error
    ) -> None:
        train = write_mind()
        (train / file).unlink()
        (train / file).mkdir()
        assert f"found no {file}" in refused(train=train, on_error=on_error)

    def test_a_file_without_a_usable_line_is_an_error(
        self, write_mind, refused, file, on_error
    ) -> None:
        train = write_mind()
        (train / file).write_text("nothing\nof\nuse\n")
        message = refused(train=train, on_error=on_error)
        assert ("no line that can be used" in message) == (on_error == "skip")


def test_a_missing_folder_is_an_error(
    write_mind: WriteMind, refused: Callable[..., str], tmp_path: Path
) -> None:
    train = write_mind()
    assert "found nothing there" in refused(train=tmp_path / "none")
    assert "found nothing there" in refused(train=train, test=tmp_path / "none")
    message = refused(train=train, valid="lastday")
    assert "--valid=lastday" in message
    assert "also takes last-day or a fraction" in message
    assert "found a file" in refused(train=train / "news.tsv")


@pytest.mark.parametrize("content", [None, b"", b"\x1f\x8b\x08broken"])
def test_unusable_bodies_are_an_error(
    write_mind: WriteMind, refused: Callable[..., str], tmp_path: Path, content: bytes | None
) -> None:
    file = tmp_path / "bodies.tsv.gz"
    if content is not None:
        file.write_bytes(content)
    assert str(file) in refused(train=write_mind(), bodies=file, on_error="skip")


@pytest.mark.parametrize(
    "name", ["", "a/b", "a\\b", "..", ".hidden", "-x", "a b", "a\tb", "a-flat"]
)
def test_a_name_that_is_no_folder_name_is_refused(
    write_mind: WriteMind, tmp_path: Path, name: str
) -> None:
    with pytest.raises(ConversionError, match="--dataset="):
        convert_mind(write_mind(), name, output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("fraction", [0, 1, -0.1, "0.0", "1e9", "nan", "inf", 0.001, 0.999])
def test_a_fraction_that_leaves_a_side_empty_is_refused(
    write_mind: WriteMind, refused: Callable[..., str], fraction: float | str
) -> None:
    assert "--valid=" in refused(train=write_mind(), valid=fraction)


def test_last_day_of_a_single_day_says_what_to_do(
    write_mind: WriteMind, refused: Callable[..., str]
) -> None:
    message = refused(train=write_mind(IMPRESSIONS[1:]))
    assert "at least two days, got only 2019-11-15" in message
    assert "--valid=0.1" in message


def test_a_failed_conversion_leaves_the_earlier_one_as_it_was(
    write_mind: WriteMind, tmp_path: Path
) -> None:
    train, output = write_mind(), tmp_path / "out"
    convert_mind(train, "tiny", output=output)
    before = {file: file.read_bytes() for file in (output / "tiny").iterdir()}
    with (train / "behaviors.tsv").open("a") as file:
        file.write("bad\n")
    with pytest.raises(ConversionError):
        convert_mind(train, "tiny", output=output)
    assert {file: file.read_bytes() for file in (output / "tiny").iterdir()} == before
    assert [folder.name for folder in output.iterdir()] == ["tiny"]
