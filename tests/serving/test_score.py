from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from served import Served, words_of
from tiny import status_of

from recbole_tinynews.serving import ranker as ranking
from recbole_tinynews.serving import score as command
from recbole_tinynews.serving.score import score

pa, parquet = map(pytest.importorskip, ("pyarrow", "pyarrow.parquet"))

NEWS = [f"N{number}" for number in range(1, 31)]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Articles, and 23 readers with their own candidates, in both kinds of files."""
    news = pd.DataFrame({"id": NEWS, "title": words_of(NEWS)})
    news.to_parquet(tmp_path / "news.parquet")
    draws = np.random.default_rng(3)
    users = pd.DataFrame({"user_id": [f"U{number}" for number in range(23)]})
    users["history"] = [draws.choice(NEWS, length).tolist() for length in np.arange(23) % 8]
    users["candidates"] = [draws.choice(NEWS, 5, replace=False).tolist() for _ in range(23)]
    users.to_parquet(tmp_path / "readers.parquet")
    users.to_parquet(tmp_path / "users.parquet", row_group_size=7)
    words = users.assign(
        history=users.history.str.join(" "), candidates=users.candidates.str.join(" ")
    )
    words.to_csv(tmp_path / "users.csv", index=False)
    return tmp_path


def read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)


def plain(student: Served, place: Path, top: int, own: bool) -> pd.DataFrame:
    """Each reader by ``rank`` alone."""
    ranker, rows = student.load_with_news(), []
    for user in pd.read_parquet(place / "readers.parquet").itertuples():
        clicked = [*user.history]
        shown = [*user.candidates] if own else [each for each in NEWS if each not in clicked]
        best = ranker.rank(clicked, shown)[:top]
        rows += [(user.user_id, *each[:2], place + 1) for place, each in enumerate(best)]
    return pd.DataFrame(rows, columns=["user_id", "candidate", "score", "rank"])


def assert_same(got: pd.DataFrame, expected: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(got, expected, check_dtype=False, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("users", "output"), [("users.parquet", "out.csv"), ("users.csv", "out.parquet")]
)
@pytest.mark.parametrize("own", [True, False])
def test_every_reader_gets_what_rank_gives(
    student: Served, place: Path, monkeypatch, users: str, output: str, own: bool
) -> None:
    """Chunks and row groups cross each other; no reader may be lost, doubled or swapped."""
    monkeypatch.setattr(command, "READERS_AT_ONCE", 3)
    monkeypatch.setattr(ranking, "SCORES_AT_ONCE", 60)  # of two users
    news = place / "news.parquet"
    table = read(place / users).drop(columns=[] if own else "candidates")
    if users.endswith(".csv"):
        table.to_csv(place / users, index=False)
    else:
        table.to_parquet(place / users, row_group_size=7)
    score(student.artifact.folder, news, place / users, place / output, top=4)
    assert_same(read(place / output), plain(student, place, 4, own))


def test_a_command_that_fails_leaves_the_earlier_rankings(
    student: Served, place: Path, monkeypatch
) -> None:
    """Half a table looks like a whole one: the readers of the other half would get nothing."""
    monkeypatch.setattr(command, "READERS_AT_ONCE", 3)
    users = pd.read_parquet(place / "users.parquet")
    users.at[20, "history"] = ["N77"]
    users.to_parquet(place / "gone.parquet")
    given = student.artifact.folder, place / "news.parquet"
    for output in (place / "out.parquet", place / "out.csv"):
        score(*given, place / "users.parquet", output, top=2)
        before = output.read_bytes()
        with pytest.raises(ValueError, match="N77"):
            score(*given, place / "gone.parquet", output, top=2)
        assert output.read_bytes() == before
    assert not [*place.glob(".*.partial")]


def test_what_cannot_be_scored_is_named(student: Served, place: Path, capsys) -> None:
    folder, news = str(student.artifact.folder), str(place / "news.parquet")
    common = [f"--recommender={folder}", f"--news={news}", f"--output={place / 'out.csv'}"]
    bad = pd.DataFrame({"user_id": ["U1"], "history": [["N1", "N77"]]})
    bad.to_parquet(place / "bad.parquet")
    (place / "no.parquet").write_text("nothing")
    for users, more, message in (
        ("none.parquet", [], "none.parquet"),
        ("none.csv", [], "none.csv"),
        ("bad.parquet", [], "'N77'"),
        ("no.parquet", [], "no.parquet"),
        ("news.parquet", [], "lack user_id, history and have"),
        ("users.json", [], "ends in .parquet or .csv"),
        ("users.csv", [f"--output={place / 'out'}"], "ends in .parquet or .csv"),
        ("users.csv", ["--top=0"], "top of at least 1"),
    ):
        assert status_of(command.main, [*common, f"--users={place / users}", *more]) == 1
        got = capsys.readouterr().err
        assert re.search(message, got), got
    assert not (place / "out.csv").exists()
    assert status_of(command.main, [*common, f"--users={place / 'users.parquet'}", "--top=2"]) == 0
    assert "out.csv is written" in capsys.readouterr().out
    assert len(read(place / "out.csv")) == 46


def test_articles_that_are_gone_are_left_out_and_counted(
    student: Served, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Histories name articles that a site has deleted long ago."""
    folder, news = student.artifact.folder, place / "news.parquet"
    users = pd.read_parquet(place / "users.parquet")
    users.history = [[*each, "N77"] for each in users.history]
    users.to_parquet(place / "gone.parquet")
    score(folder, news, place / "users.parquet", place / "one.csv", top=3)
    asked = [f"--recommender={folder}", f"--news={news}", f"--users={place / 'gone.parquet'}"]
    asked += [f"--output={place / 'two.csv'}", "--top=3", "--skip-unknown"]
    assert status_of(command.main, asked) == 0
    assert "23 unknown ids were left out" in capsys.readouterr().out
    assert_same(read(place / "two.csv"), read(place / "one.csv"))


def test_readers_that_have_nothing_to_rank_change_no_type(
    student: Served, place: Path, monkeypatch
) -> None:
    """The first table of a file decides the types of its columns: an empty one has none."""
    monkeypatch.setattr(command, "READERS_AT_ONCE", 3)
    users = pd.read_parquet(place / "users.parquet")
    users.user_id = users.user_id.str[1:].astype(int)
    users.loc[:6, "candidates"] = None
    users.to_parquet(place / "some.parquet")
    users[:0].to_parquet(place / "nobody.parquet")
    given = student.artifact.folder, place / "news.parquet"
    score(*given, place / "some.parquet", place / "out.parquet")
    out = read(place / "out.parquet")
    assert out.user_id.dtype == np.int64
    assert out.user_id.unique().tolist() == [*range(7, 23)]
    score(*given, place / "nobody.parquet", place / "none.parquet")
    columns = read(place / "none.parquet").columns.tolist()
    assert columns == ["user_id", "candidate", "score", "rank"]


def test_a_csv_keeps_the_zeros_of_its_ids(student: Served, place: Path) -> None:
    """Reader 007 would be another one after the ranking: 7."""
    users = pd.DataFrame({"user_id": ["007", "", "0"], "history": ["", "N1", "N2 N3"]})
    users.to_csv(place / "zeros.csv", index=False)
    given = student.artifact.folder, place / "news.parquet"
    score(*given, place / "zeros.csv", place / "out.parquet", top=1)
    assert read(place / "out.parquet").user_id.tolist() == ["007", "", "0"]


def test_an_id_stays_whole_beside_a_missing_one(student: Served, place: Path) -> None:
    """As a float it would be another reader's: 9007199254740992."""
    users = pa.table({"user_id": [2**53 + 1, None], "history": [["N1"], ["N2"]]})
    parquet.write_table(users, place / "ids.parquet")
    given = student.artifact.folder, place / "news.parquet", place / "ids.parquet"
    score(*given, place / "out.csv", top=1)
    _, first, second = (place / "out.csv").read_text().splitlines()
    assert (first.split(",")[0], second.split(",")[0]) == (str(2**53 + 1), "")
