from __future__ import annotations

import csv
import resource
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from board import assert_accepted

from recbole_tinynews.evaluation import result_files
from recbole_tinynews.evaluation.metrics import auc, rank_impressions
from recbole_tinynews.evaluation.result_files import (
    SubmissionError,
    write_eval_dump,
    write_submission,
)

HEADER = "impression_id,auc,mrr,ndcg@5,ndcg@10\n"


@pytest.fixture
def ranked():
    """Four impressions: evaluated, all clicked, unlabelled, evaluated."""
    return rank_impressions(
        [0.5, 0.5, 1, 2, 1, 2, 3, 1, 2], [1, 0, 1, 1, -1, -1, 0, 0, 1], [0, 2, 4, 6, 9]
    )


def test_each_impression_has_its_line_and_skipped_ones_are_empty(tmp_path, ranked) -> None:
    """A significance test pairs lines of two systems: none may be missing or moved."""
    path = tmp_path / "new" / "folder" / "dump.csv"
    write_eval_dump(path, np.array(["1", "02", "3", "4"]), ranked, [5, 10])
    assert path.read_bytes().decode() == HEADER + (
        "1,0.5,0.5,0.6309297535714575,0.6309297535714575\n"
        "02,,,,\n"
        "3,,,,\n"
        "4,0.5,0.5,0.6309297535714575,0.6309297535714575\n"
    )
    assert [file.name for file in path.parent.iterdir()] == ["dump.csv"]


def test_ids_come_back_exactly_and_are_quoted_only_where_needed(tmp_path, ranked) -> None:
    """A leading zero or a comma lost in an id would pair the wrong impressions."""
    ids = ["007", "a,b", 'say "x"', " née "]
    write_eval_dump(tmp_path / "dump.csv", ids, ranked, [5, 10])
    text = (tmp_path / "dump.csv").read_text(encoding="utf-8")
    assert [line.split(",0.5,")[0] for line in text.splitlines()[1::3]] == ["007", " née "]
    assert '"a,b",,,,\n"say ""x""",,,,\n' in text
    with (tmp_path / "dump.csv").open(encoding="utf-8", newline="") as file:
        assert [row[0] for row in csv.reader(file)] == ["impression_id", *ids]


def test_values_come_back_to_the_last_bit(tmp_path, many_impressions) -> None:
    """Values rounded for display would have ties that distort a significance test."""
    ranked = rank_impressions(*many_impressions)
    ids = np.arange(len(ranked.evaluated)).astype(str)
    write_eval_dump(tmp_path / "dump.csv", ids, ranked, [1])
    with (tmp_path / "dump.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["impression_id", "auc", "mrr", "ndcg@1"]
    assert [float(row["auc"]) for row in rows if row["auc"]] == auc(ranked).tolist()
    assert [row["auc"] != "" for row in rows] == ranked.evaluated.tolist()


def test_further_metrics_are_further_columns_with_gaps_of_their_own(tmp_path, ranked) -> None:
    """A metric of one's own may know more impressions than AUC does, or fewer."""
    path = tmp_path / "dump.csv"
    others = {"mine": np.array([0.25, 1.0, np.nan, np.nan]), "auc": np.zeros(4)}
    write_eval_dump(path, ["1", "2", "3", "4"], ranked, [1], others)
    assert path.read_text() == (
        "impression_id,auc,mrr,ndcg@1,mine\n1,0.5,0.5,0.0,0.25\n2,,,,1.0\n3,,,,\n4,0.5,0.5,0.0,\n"
    )


def test_ids_of_another_split_are_refused_and_an_older_dump_stays(tmp_path, ranked) -> None:
    """A plain zip would cut the longer one silently."""
    path = tmp_path / "dump.csv"
    path.write_text("older")
    with pytest.raises(ValueError, match="expects 4 ids, one for each ranked impression, got 3"):
        write_eval_dump(path, ["1", "2", "3"], ranked)
    assert path.read_text() == "older"


def lines_of(path: Path) -> list[str]:
    with ZipFile(path) as archive:
        assert archive.namelist() == ["prediction.txt"]
        assert archive.testzip() is None
        return archive.read("prediction.txt").decode().splitlines(keepends=True)


def plain_line(name: str, scores: list[float]) -> str:
    order = sorted(range(len(scores)), key=lambda c: (scores[c], c), reverse=True)
    ranks = [order.index(candidate) + 1 for candidate in range(len(scores))]
    return f"{name} [{','.join(map(str, ranks))}]\n"


def test_ranks_are_those_of_a_plain_loop(tmp_path, many_impressions, monkeypatch) -> None:
    """Covers ties, -0.0 and 0.0, and 1 to 300 candidates; one place off is a wrong rank."""
    monkeypatch.setattr(result_files, "_BLOCK", 333)  # several blocks, the last one not full
    rows = many_impressions.split()
    ids = np.arange(1, len(rows) + 1).astype(str)
    write_submission(tmp_path / "a.zip", ids, many_impressions.scores, many_impressions.offsets)
    expected = [
        plain_line(name, scores.tolist()) for name, (scores, _) in zip(ids, rows, strict=True)
    ]
    assert lines_of(tmp_path / "a.zip") == expected


@pytest.mark.parametrize(
    ("leaderboard", "member"), [("mind", "prediction.txt"), ("ebnerd", "predictions.txt")]
)
def test_a_leaderboard_accepts_what_is_written(
    tmp_path, many_impressions, monkeypatch, leaderboard: str, member: str
) -> None:
    """A server answers hours later, and doesn't name the line. EB-NeRD repeats the id 0."""
    monkeypatch.setattr(result_files, "_BLOCK", 333)
    scores, _, offsets = many_impressions
    scores = np.where(np.arange(len(scores)) % 7, scores, np.inf)  # the ends of the numbers too
    ids = [str(max(0, number)) for number in range(-200, len(offsets) - 201)]
    ids[-3:] = ["007", "x-9", "née"]
    write_submission(tmp_path / "a.zip", ids, scores, offsets, leaderboard=leaderboard)
    assert_accepted(tmp_path / "a.zip", ids, np.diff(offsets).tolist(), member)


@pytest.mark.parametrize("wrong", ["", "a b", "a\u2028b", "a\n"])
def test_an_id_that_would_not_stay_one_word_is_refused(tmp_path, wrong) -> None:
    """Split at white space, its line would have three words, or be two lines."""
    with pytest.raises(SubmissionError, match="ids without white space"):
        write_submission(tmp_path / "a.zip", ["1", wrong], np.zeros(2), np.arange(3))
    assert list(tmp_path.iterdir()) == []


def test_nan_is_blamed_on_its_impression(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(result_files, "_BLOCK", 1)
    with pytest.raises(SubmissionError, match="scored impression 8 with NaN"):
        write_submission(tmp_path / "a.zip", ["7", "8"], np.array([0.0, np.nan]), np.arange(3))


@pytest.mark.parametrize(
    ("ids", "offsets"), [(["1"], [0, 1, 2]), (["1", "2"], [0, 1, 3]), (["1", "2"], [0, 1, 1])]
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, ids, offsets) -> None:
    """A plain zip of the two would leave out the last impressions silently."""
    with pytest.raises(ValueError, match="an id for each impression and a score for each"):
        write_submission(tmp_path / "a.zip", ids, np.zeros(2), np.array(offsets))


def test_equal_scores_make_equal_files(tmp_path) -> None:
    """Two runs can then be compared by their checksums."""
    for name in ("a.zip", "b.zip"):
        write_submission(tmp_path / name, ["1"], np.array([2.0, 1.0]), np.array([0, 2]))
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_a_full_disk_is_named_and_leaves_only_the_older_file(tmp_path) -> None:
    """Half a zip under the final name would be noticed by the leaderboard only."""
    path = tmp_path / "a.zip"
    path.write_text("older")
    scores = np.random.default_rng(0).normal(size=400_000)
    ids, offsets = np.arange(4_000).astype(str), np.arange(0, 400_001, 100)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(OSError, match=r"a\.zip could not be written: .*too large"):
            write_submission(path, ids, scores, offsets)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_text() == "older"
    assert [file.name for file in tmp_path.iterdir()] == ["a.zip"]
