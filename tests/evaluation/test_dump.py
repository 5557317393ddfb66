from __future__ import annotations

import csv

import numpy as np
import pytest

from recbole_tinynews.evaluation.dump import write_eval_dump
from recbole_tinynews.evaluation.metrics import auc, rank_impressions

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


def test_a_dump_of_an_unlabelled_split_holds_its_ids(tmp_path) -> None:
    """A split without labels must not crash a run after hours of training."""
    write_eval_dump(tmp_path / "dump.csv", ["8"], rank_impressions([1, 2], [-1, -1], [0, 2]))
    assert (tmp_path / "dump.csv").read_text() == HEADER + "8,,,,\n"


def test_ids_of_another_split_are_refused_and_an_older_dump_stays(tmp_path, ranked) -> None:
    """A plain zip would cut the longer one silently."""
    path = tmp_path / "dump.csv"
    path.write_text("older")
    with pytest.raises(ValueError, match="expects 4 ids, one for each ranked impression, got 3"):
        write_eval_dump(path, ["1", "2", "3"], ranked)
    assert path.read_text() == "older"


def test_a_failed_write_leaves_the_older_dump_and_no_partial_file(tmp_path, ranked) -> None:
    """Half a dump under the final name looks like a whole one of fewer impressions."""
    path = tmp_path / "dump.csv"
    path.write_text("older")
    with pytest.raises(UnicodeEncodeError):
        write_eval_dump(path, ["1", "2", "3", "\ud800"], ranked)  # cannot be written as UTF-8
    assert path.read_text() == "older"
    assert [file.name for file in tmp_path.iterdir()] == ["dump.csv"]
