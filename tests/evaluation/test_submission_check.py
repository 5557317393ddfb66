from __future__ import annotations

import gzip
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from recbole_tinynews.evaluation.submission import SubmissionError, write_submission
from recbole_tinynews.evaluation.submission.__main__ import main
from recbole_tinynews.evaluation.submission.check import Counts, check_submission

CANDIDATES = {"1": 3, "2": 1, "x-9": 12}
GOOD = ["1 [2,1,3]\n", "2 [1]\n", "x-9 [12,1,2,3,4,5,6,7,8,9,10,11]\n"]


@pytest.fixture
def behaviors(tmp_path: Path) -> Path:
    path = tmp_path / "behaviors.tsv"
    rows = [
        f"{name}\tU1\t11/15/2019 8:55:22 AM\tN1 N2\t{' '.join(f'N{n}' for n in range(count))}\n"
        for name, count in CANDIDATES.items()
    ]
    path.write_text("".join(rows))
    return path


def zipped(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("_", "."), content)
    return path


def good_zip(path: Path) -> Path:
    return zipped(path, prediction_txt="".join(GOOD).encode())


def test_a_good_submission_passes_zipped_and_plain(tmp_path, behaviors, capsys) -> None:
    """A checker that refuses valid submissions would not be used."""
    plain = tmp_path / "prediction.txt"
    plain.write_text("".join(GOOD))
    for file in (good_zip(tmp_path / "a.zip"), plain):
        assert check_submission(file, behaviors) == Counts(3, 16)
        assert main([str(file), f"--behaviors={behaviors}"]) == 0
        assert "all 3 impressions (16 candidates)" in capsys.readouterr().out
    plain.write_text("".join(GOOD).removesuffix("\n"))  # the last line may lack its line end
    assert check_submission(plain, behaviors) == Counts(3, 16)


def test_labelled_or_gzipped_behaviors_count_the_same_candidates(tmp_path, behaviors) -> None:
    """The dev set is labelled, and is used to rehearse a submission."""
    labelled = behaviors.read_text().replace("N0", "N0-1")
    behaviors.write_bytes(gzip.compress(labelled.encode()))
    assert check_submission(good_zip(tmp_path / "a.zip"), behaviors) == Counts(3, 16)


def line(number: int, text: str) -> Callable[[list[str]], list[str]]:
    return lambda lines: [*lines[: number - 1], text, *lines[number:]]


DAMAGE: dict[str, tuple[Callable[[list[str]], list[str]], str]] = {
    "missing first": (
        lambda lines: lines[1:],
        r"line 1, expects impression '1' and a space, got '2 \[1\]'",
    ),
    "missing last": (
        lambda lines: lines[:-1],
        "line 3, expects impression 'x-9', got the end of the file",
    ),
    "nothing at all": (lambda _: [], "line 1, expects impression '1', got the end of the file"),
    "extra line": (
        lambda lines: [*lines, "3 [1]\n"],
        r"line 4, expects the end of the file, .* got '3 \[1\]\\n'",
    ),
    "empty last line": (lambda lines: [*lines, "\n"], "line 4, expects the end of the file"),
    "empty line between": (line(2, "\n2 [1]\n"), "line 2, expects impression '2' .* got ''"),
    "swapped order": (
        lambda lines: [lines[1], lines[0], lines[2]],
        "line 1, expects impression '1'",
    ),
    "wrong id": (line(2, "02 [1]\n"), r"line 2, expects impression '2' .* got '02 \[1\]'"),
    "tab for the space": (line(2, "2\t[1]\n"), r"line 2, expects impression '2' and a space"),
    "byte-order mark": (line(1, "\ufeff1 [2,1,3]\n"), r"line 1, .* got '\\ufeff1 "),
    "duplicate rank": (
        line(1, "1 [2,1,2]\n"),
        "line 1, expects each rank once, got 2 for candidate 1 and again for candidate 3",
    ),
    "rank 0": (
        line(1, "1 [1,0,2]\n"),
        r"line 1, expects a whole number of 1\.\.3 as the rank of candidate 2, got '0'",
    ),
    "rank too high": (line(1, "1 [1,2,4]\n"), "line 1, .* candidate 3, got '4'"),
    "negative rank": (line(1, "1 [1,2,-3]\n"), "line 1, .* candidate 3, got '-3'"),
    "float rank": (line(1, "1 [1.0,2,3]\n"), r"line 1, .* candidate 1, got '1\.0'"),
    "leading zero": (line(1, "1 [01,2,3]\n"), "line 1, .* candidate 1, got '01'"),
    "other digits": (line(1, "1 [1,2,\u0663]\n"), "line 1, .* candidate 3, got '\u0663'"),
    "no number": (line(1, "1 [1,2,]\n"), "line 1, .* candidate 3, got ''"),
    "spaces in the list": (line(1, "1 [2, 1, 3]\n"), "line 1, expects a list .* without spaces"),
    "two spaces": (line(1, "1  [2,1,3]\n"), "line 1, expects a list .* without spaces"),
    "space at the end": (line(1, "1 [2,1,3] \n"), "line 1, expects a list .* without spaces"),
    "too few": (line(1, "1 [2,1]\n"), "line 1, expects 3 ranks, .* got 2"),
    "too many": (line(2, "2 [1,2]\n"), "line 2, expects 1 ranks, .* got 2"),
    "empty list": (line(1, "1 []\n"), "line 1, expects 3 ranks, .* got 0"),
    "no list": (line(1, "1\n"), r"line 1, expects a list \[r1,r2,\.\.\.\] .* got ''"),
    "no brackets": (line(1, "1 2,1,3\n"), r"line 1, expects a list .* got '2,1,3'"),
    "cut off": (line(3, "x-9 [12,1,2"), r"line 3, expects a list .* got '\[12,1,2'"),
    "CRLF": (
        lambda lines: [each.replace("\n", "\r\n") for each in lines],
        r"line 1, expects \\n alone at its end, got \\r\\n",
    ),
}


@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.parametrize("zip_it", [True, False], ids=["zip", "txt"])
def test_the_first_bad_line_is_named(tmp_path, behaviors, kind, zip_it, capsys) -> None:
    """MIND's server answers hours later, and does not name the line."""
    damage, message = DAMAGE[kind]
    content = "".join(damage(GOOD)).encode()
    file = tmp_path / "submission"
    if zip_it:
        zipped(file, prediction_txt=content)
    else:
        file.write_bytes(content)
    with pytest.raises(SubmissionError, match=f"submission, {message}"):
        check_submission(file, behaviors)
    assert main([str(file), f"--behaviors={behaviors}"]) == 1
    assert "Traceback" not in capsys.readouterr().err


def test_text_that_is_not_utf_8_is_named_by_its_line(tmp_path, behaviors) -> None:
    file = zipped(tmp_path / "a.zip", prediction_txt=b"1 [2,1,3]\n\xff [1]\n")
    with pytest.raises(SubmissionError, match="line 2, expects UTF-8"):
        check_submission(file, behaviors)


@pytest.mark.parametrize(
    ("members", "got"),
    [
        ({"prediction_txt": b"", "notes_txt": b""}, r"got prediction\.txt, notes\.txt"),
        ({"predictions_txt": b""}, r"got predictions\.txt"),
        ({"folder/prediction_txt": b""}, r"got folder/prediction\.txt"),
        ({}, "got nothing"),
    ],
)
def test_a_zip_that_holds_something_else_is_refused(tmp_path, behaviors, members, got) -> None:
    """The server looks for one name, and finds none, or the wrong one."""
    file = zipped(tmp_path / "a.zip", **members)
    with pytest.raises(SubmissionError, match=rf"holds prediction\.txt alone, {got}"):
        check_submission(file, behaviors)


def test_a_cut_off_zip_is_refused(tmp_path, behaviors) -> None:
    """An interrupted upload leaves such a file."""
    file = good_zip(tmp_path / "a.zip")
    file.write_bytes(file.read_bytes()[:-30])
    with pytest.raises(SubmissionError, match="expects a complete zip"):
        check_submission(file, behaviors)


def test_a_zip_with_a_changed_byte_is_refused(tmp_path, behaviors) -> None:
    """Without compression the changed text reads well; only the checksum shows the change."""
    file = tmp_path / "a.zip"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("prediction.txt", "".join(GOOD))
    file.write_bytes(file.read_bytes().replace(b"[2,1,3]", b"[3,1,2]"))
    with pytest.raises(SubmissionError, match=r"expects a complete zip, .* CRC"):
        check_submission(file, behaviors)


@pytest.mark.parametrize(
    ("rows", "message"),
    [("1\tU1\tnow\tN1\n", "line 1, expects 5 tab-separated columns, got 4"), (None, "no such")],
)
def test_wrong_behaviors_are_not_blamed_on_the_submission(tmp_path, rows, message, capsys) -> None:
    """With news.tsv given by mistake, a good submission would be called wrong."""
    behaviors = tmp_path / "other.tsv"
    if rows is not None:
        behaviors.write_text(rows)
    assert main([str(good_zip(tmp_path / "a.zip")), f"--behaviors={behaviors}"]) == 1
    error = capsys.readouterr().err
    assert "other.tsv" in error
    assert message in error
    assert "Traceback" not in error


def test_a_file_that_is_not_there_is_named(tmp_path, behaviors, capsys) -> None:
    assert main([str(tmp_path / "no.zip"), f"--behaviors={behaviors}"]) == 1
    assert "no.zip" in capsys.readouterr().err


def test_ebnerds_submission_is_compared_with_its_parquet_file(tmp_path: Path) -> None:
    """Its zip has another file inside, and many of its impressions have the id 0."""
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    shown = {"impression_id": [7, 0, 0], "article_ids_inview": [[1, 2], [3], [3]]}
    parquet.write_table(pa.table(shown), tmp_path / "behaviors.parquet")
    scores, offsets = np.array([0.1, 0.2, 0.3, 0.4]), np.array([0, 2, 3, 4])
    for leaderboard in ("mind", "ebnerd"):
        path = tmp_path / f"{leaderboard}.zip"
        write_submission(path, ["7", "0", "0"], scores, offsets, leaderboard=leaderboard)
    behaviors = tmp_path / "behaviors.parquet"
    assert check_submission(tmp_path / "ebnerd.zip", behaviors) == Counts(3, 4)
    with zipfile.ZipFile(tmp_path / "ebnerd.zip") as archive:
        assert archive.read("predictions.txt") == b"7 [2,1]\n0 [1]\n0 [1]\n"
    with pytest.raises(SubmissionError, match=r"holds predictions.txt alone, got prediction.txt"):
        check_submission(tmp_path / "mind.zip", behaviors)
