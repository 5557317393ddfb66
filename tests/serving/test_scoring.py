from __future__ import annotations

import multiprocessing
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from served import Served, words_of

from recbole_tinynews.serving import score as command
from recbole_tinynews.serving import scoring
from recbole_tinynews.serving.scoring import Scored, Shard, score
from recbole_tinynews.serving.user_file import read_rows_of

pytest.importorskip("pyarrow")

NEWS = [f"N{number}" for number in range(1, 31)]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Articles, and 23 users with their own candidates, in every kind of file."""
    news = pd.DataFrame({"id": NEWS, "title": words_of(NEWS)})
    news.to_parquet(tmp_path / "news.parquet")
    draws = np.random.default_rng(3)
    users = pd.DataFrame(
        {
            "user_id": [f"U{number}" for number in range(23)],
            "history": [draws.choice(NEWS, length).tolist() for length in np.arange(23) % 8],
            "candidates": [draws.choice(NEWS, 5, replace=False).tolist() for _ in range(23)],
        }
    )
    users.to_parquet(tmp_path / "users.parquet", row_group_size=7)
    (tmp_path / "folder").mkdir()
    users[:9].to_parquet(tmp_path / "folder" / "a.parquet")
    users[9:].to_parquet(tmp_path / "folder" / "b.parquet")
    words = users.assign(
        history=users.history.str.join(" "), candidates=users.candidates.str.join(" ")
    )
    words.to_csv(tmp_path / "users.csv", index=False)
    long = users[["user_id", "candidates"]].explode("candidates")
    long.columns = ["user_id", "candidate"]
    long.to_parquet(tmp_path / "candidates.parquet")
    long.to_csv(tmp_path / "candidates.csv", index=False)
    return tmp_path


def read(folder: Path) -> pd.DataFrame:
    parts = sorted(folder.glob("part-*"))
    return pd.concat(
        [pd.read_csv(p) if p.suffix == ".csv" else pd.read_parquet(p) for p in parts],
        ignore_index=True,
    )


def plain(student: Served, place: Path, top: int, own: bool) -> pd.DataFrame:
    """Each user by ``rank`` alone."""
    ranker, rows = student.load(), []
    for user in pd.read_parquet(place / "users.parquet").itertuples():
        clicked = [*user.history]
        shown = [*user.candidates] if own else [each for each in NEWS if each not in clicked]
        best = ranker.rank(clicked, shown, ids=True)[:top]
        rows += [(user.user_id, *each[:2], place + 1) for place, each in enumerate(best)]
    return pd.DataFrame(rows, columns=["user_id", "candidate", "score", "rank"])


def assert_same(got: pd.DataFrame, expected: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(got, expected, check_dtype=False, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("users", ["users.parquet", "folder", "users.csv"])
@pytest.mark.parametrize("candidates", ["all", None, "candidates.parquet", "candidates.csv"])
def test_every_user_gets_what_rank_gives(
    student: Served, place: Path, monkeypatch, users: str, candidates: str | None
) -> None:
    """Parts and row groups cross each other; no user may be lost, doubled or swapped."""
    monkeypatch.setattr(scoring, "USERS_AT_ONCE", 3)
    shown = candidates if candidates in ("all", None) else place / candidates
    done = score(
        student.artifact.folder,
        place / "news.parquet",
        place / users,
        place / "out",
        shown,
        top=4,
        users_of_a_part=5,
    )
    assert done.users == 23
    assert_same(read(place / "out"), plain(student, place, 4, own=candidates != "all"))


def test_shards_write_what_one_process_writes(student: Served, place: Path, monkeypatch) -> None:
    given = student.artifact.folder, place / "news.parquet", place / "users.parquet"
    score(*given, place / "one", top=3, users_of_a_part=4)
    assert score(*given, place / "two", top=3, users_of_a_part=4, shard=Shard(2, 2)).written == 3
    # the second shard encodes nothing
    monkeypatch.setattr(scoring.Ranker, "add_news", None)
    assert score(*given, place / "two", top=3, users_of_a_part=4, shard=Shard(1, 2)).written == 3
    assert_same(read(place / "two"), read(place / "one"))


def test_a_job_that_was_stopped_resumes(student: Served, place: Path, monkeypatch) -> None:
    """A part is complete or absent, so nothing is scored twice, and nothing is missing."""
    given = student.artifact.folder, place / "news.parquet", place / "users.parquet"
    write, written = scoring._write, []

    def stop(tables, path):
        if len(written) == 2:
            next(tables)
            raise KeyboardInterrupt
        written.append(path)
        write(tables, path)

    monkeypatch.setattr(scoring, "_write", stop)
    with pytest.raises(KeyboardInterrupt):
        score(*given, place / "out", top=3, users_of_a_part=5)
    assert len([*(place / "out").glob("part-*")]) == 2
    monkeypatch.setattr(scoring, "_write", write)
    (index,) = (each.name for each in (place / "out").glob("news-*.safetensors"))
    for name in ("job.json", index, "part-00003.parquet"):  # as a kill leaves them
        (place / "out" / f".{name}.0123abcd.partial").write_text("half")
    assert score(*given, place / "out", top=3, users_of_a_part=5) == Scored(3, 2, 13)
    assert score(*given, place / "out", top=3, users_of_a_part=5) == Scored(0, 5, 0)
    assert_same(read(place / "out"), plain(student, place, 3, own=False))
    assert not [*(place / "out").glob(".*.partial")]


@pytest.mark.parametrize("what", ["top", "users", "news", "candidates", "users_of_a_part"])
def test_a_folder_of_another_job_is_refused(student: Served, place: Path, what: str) -> None:
    """Its parts would be mixed with those of this one."""
    given = {
        "recommender": student.artifact.folder,
        "news": place / "news.parquet",
        "users": place / "users.parquet",
        "output": place / "out",
        "top": 3,
    }
    score(**given)
    if what == "news":
        table = pd.read_parquet(place / "news.parquet")
        table.title = table.title.str.upper()
        table.to_parquet(place / "news.parquet")
    other = {
        "top": 4,
        "users_of_a_part": 50,
        "users": place / "users.csv",
        "candidates": place / "candidates.csv",
    }
    with pytest.raises(ValueError, match=rf"another one: .*\b{what}\b"):
        score(**{**given, **({} if what == "news" else {what: other[what]})})


def test_what_cannot_be_scored_is_named(student: Served, place: Path, capsys) -> None:
    folder, news = str(student.artifact.folder), str(place / "news.parquet")
    common = [f"--recommender={folder}", f"--news={news}", f"--output={place / 'out'}"]
    bad = pd.DataFrame({"user_id": ["U1"], "history": [["N1", "N77"]]})
    bad.to_parquet(place / "bad.parquet")
    (place / "no.parquet").write_text("nothing")
    for users, more, message in (
        (place / "none.parquet", [], "nothing is there"),
        (place / "bad.parquet", [], "bad.parquet, rows 0 to 1: .*'N77'"),
        (place / "no.parquet", [], "not a parquet file"),
        (place / "news.parquet", [f"--output={place / 'out2'}"], "lack user_id, history and have"),
        (place / "users.parquet", ["--shard=3/2"], "i/n with 1 <= i <= n"),
        (place / "users.json", [], "nothing is there"),
        (
            place / "news.parquet",
            [f"--candidates={place / 'candidates.csv'}", f"--output={place / 'out4'}"],
            "lack user_id",
        ),
        (place / "users.parquet", [f"--candidates={place / 'none.csv'}"], "nothing is there"),
    ):
        assert command.main([*common, f"--users={users}", *more]) == 1
        got = capsys.readouterr().err
        assert re.search(message, got), got
    assert not [*(place / "out").glob("part-*")]
    asked = [*common, f"--users={place / 'users.parquet'}", f"--output={place / 'out3'}", "--top=2"]
    assert command.main(asked) == 0
    assert "1 parts written (23 users), 0 there" in capsys.readouterr().out
    assert len(read(place / "out3")) == 46


def test_articles_that_are_gone_are_left_out_and_counted(
    student: Served, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Histories name articles that a site has deleted long ago."""
    folder, news = student.artifact.folder, place / "news.parquet"
    users = pd.read_parquet(place / "users.parquet")
    users.history = [[*each, "N77"] for each in users.history]
    users.to_parquet(place / "gone.parquet")
    score(folder, news, place / "users.parquet", place / "one", top=3)
    done = score(folder, news, place / "gone.parquet", place / "two", top=3, skip_unknown=True)
    assert done.unknown == 23
    asked = [f"--recommender={folder}", f"--news={news}", f"--users={place / 'gone.parquet'}"]
    assert command.main([*asked, f"--output={place / 'three'}", "--unknown=skip"]) == 0
    assert "23 unknown ids left out" in capsys.readouterr().out
    assert_same(read(place / "two"), read(place / "one"))


def test_users_that_are_numbers_find_their_candidates(student: Served, place: Path) -> None:
    """A csv has text where parquet has numbers: nobody would be ranked, without a word."""
    given = student.artifact.folder, place / "news.parquet"
    score(*given, place / "users.parquet", place / "one", place / "candidates.csv", top=3)
    for name in ("users.parquet", "candidates.csv"):
        old = place / name
        table = pd.read_parquet(old) if old.suffix == ".parquet" else pd.read_csv(old)
        table.user_id = table.user_id.str[1:].astype(int)
        new = place / f"numbered-{name}"
        table.to_parquet(new) if old.suffix == ".parquet" else table.to_csv(new, index=False)
    files = place / "numbered-users.parquet", place / "two", place / "numbered-candidates.csv"
    score(*given, *files, top=3)
    got = read(place / "two")
    assert got.user_id.dtype == np.int64
    assert_same(got.assign(user_id="U" + got.user_id.astype(str)), read(place / "one"))


@pytest.mark.parametrize("kind", [object, float, "category"])
def test_candidates_find_their_users_whatever_kind_their_ids_have(kind: Any, tmp_path) -> None:
    """A column of numbers with a missing one is of floats, and 7.0 is no other user than 7."""
    rows = pd.DataFrame({"user_id": [7, 8, 9, 7], "candidate": [*"abcd"]})
    rows.astype({"user_id": kind}).to_parquet(tmp_path / "candidates.parquet")
    for users in (pd.Series([7, 9]), pd.Series([7.0, 9.0]), pd.Series(["7", "9"], dtype=object)):
        found = read_rows_of(tmp_path / "candidates.parquet", "user_id", users)
        assert found.candidate.tolist() == ["a", "c", "d"]
        assert found.user_id.tolist() == [users[0], users[1], users[0]]
        assert {*map(type, found.user_id)} == {type(users.tolist()[0])}


def test_blank_lines_shift_nobody(student: Served, place: Path) -> None:
    """A user would be scored twice, and the file's last ones never."""
    given = student.artifact.folder, place / "news.parquet"
    score(*given, place / "users.csv", place / "one", top=3, users_of_a_part=5)
    head, first, *rest = (place / "users.csv").read_text().splitlines()
    (place / "blank.csv").write_text("\n".join([head, first, "", *rest, "", ""]))
    assert score(*given, place / "blank.csv", place / "two", top=3, users_of_a_part=5).users == 23
    assert_same(read(place / "two"), read(place / "one"))


def stopped(*_: object) -> None:
    raise KeyboardInterrupt


def test_the_articles_of_a_command_that_failed_are_not_kept(student: Served, place: Path) -> None:
    """The next one would rank them, and name others as those that it ranked."""
    table = pd.read_parquet(place / "news.parquet")
    table.assign(title=table.title[::-1].to_numpy()).to_parquet(place / "other.parquet")
    folder, users = student.artifact.folder, place / "users.parquet"
    with pytest.raises(FileNotFoundError):
        score(folder, place / "other.parquet", users, place / "out", place / "typo.csv", top=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scoring, "_check_same_job", stopped)
        with pytest.raises(KeyboardInterrupt):
            score(folder, place / "other.parquet", users, place / "out", top=3)
    pd.DataFrame({"id": ["a"], "headline": ["x"]}).to_parquet(place / "untitled.parquet")
    with pytest.raises(ValueError, match="title"):
        score(folder, place / "untitled.parquet", users, place / "out", top=3)
    score(folder, place / "news.parquet", users, place / "out", top=3)
    assert_same(read(place / "out"), plain(student, place, 3, own=False))


@pytest.mark.whole
def test_shards_in_processes_of_their_own_share_the_articles(student: Served, place: Path) -> None:
    """Two machines start at once: one encodes, the other waits and maps the file."""
    asked = [
        f"--recommender={student.artifact.folder}",
        f"--news={place / 'news.parquet'}",
        f"--users={place / 'users.parquet'}",
        f"--output={place / 'out'}",
        "--top=3",
    ]
    forks = multiprocessing.get_context("fork")  # which import nothing anew
    running = [forks.Process(target=_shard, args=([*asked, f"--shard={i}/2"],)) for i in (1, 2)]
    for each in running:
        each.start()
    for each in running:
        each.join(120)
    assert [each.exitcode for each in running] == [0, 0]
    assert_same(read(place / "out"), plain(student, place, 3, own=False))


def _shard(arguments: list[str]) -> None:
    torch.set_num_threads(1)
    sys.exit(command.main(arguments))
