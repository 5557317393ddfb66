from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mind_folder import IMPRESSIONS, WriteMind

from recbole_tinynews.convert import ConversionError, convert_mind
from recbole_tinynews.convert import __main__ as command

TRAIN = ["1\tU1\t11/14/2019 1:00:00 AM\tN1\tN2-0 N3-1", "2\tU1\t11/14/2019 2:00:00 AM\t\tN2-1"]
NOTHING = {"impressions": 0, "clicks": 0, "examples": []}


@pytest.fixture
def leaks(write_mind: WriteMind, tmp_path: Path) -> Callable[..., dict]:
    """The leaks of a data set with the given splits."""

    def check(train: list[str] = TRAIN, **splits: list[str]) -> dict:
        folders = {name: write_mind(rows, name=name) for name, rows in splits.items()}
        folders.setdefault("valid", 0.5)
        report = convert_mind(
            write_mind(train), "tiny", output=tmp_path / "out", check_leaks=True, **folders
        )
        return report["leaks"]

    return check


def test_a_clicked_candidate_of_the_history_is_counted_by_click_and_impression(
    leaks: Callable[..., dict],
) -> None:
    """A model that recommends what was read already would win."""
    rows = [
        "5\tU1\t11/14/2019 1:00:00 AM\tN1 N2 N3\tN3-1 N1-1 N2-0",  # N2 was not clicked
        "6\tU1\t11/14/2019 1:00:01 AM\tN10 N21\tN1-1 N2-1 N0-0",  # part of an id is another id
        "7\tU1\t11/14/2019 1:00:02 AM\t\tN1-1",
        "8\tU1\t11/14/2019 1:00:03 AM\tN9\tN9-0 N8-0 N9-1",
    ]
    found = leaks(valid=rows)["clicked_in_history"]
    assert found["train"] == NOTHING
    assert found["valid"] == {
        "clicks": 3,
        "impressions": 2,
        "examples": ["impression 5 of U1, N3", "impression 8 of U1, N9"],
    }


def test_an_impression_is_recognised_unlabelled_shuffled_and_renumbered(
    leaks: Callable[..., dict],
) -> None:
    """MIND shuffles candidates; a copied impression under another id has the same answer."""
    test = ["77\tU1\t11/14/2019 1:00:00 AM\tN1\tN3 N2", "78\tU1\t11/14/2019 1:00:01 AM\tN1\tN3 N2"]
    found = leaks(valid=[TRAIN[1]], test=test)
    assert found["same_user_time_and_candidates"]["test in train"] == {
        "impressions": 1,
        "clicks": 0,
        "examples": ["impression 77 of U1"],
    }
    assert found["same_user_time_and_candidates"]["test in valid"] == NOTHING
    assert found["same_id_user_and_time"]["test in train"] == NOTHING


def test_the_counts_are_those_of_a_plain_double_loop(leaks: Callable[..., dict]) -> None:
    rng = random.Random(0)

    def rows() -> list[str]:
        return [
            f"{number}\tU{rng.randrange(3)}\t"
            f"11/14/2019 1:00:0{rng.randrange(3)} AM\t"
            + " ".join(f"N{rng.randrange(4)}" for _ in range(rng.randrange(3)))
            + "\t"
            + " ".join(
                f"N{n}-{rng.randrange(2)}" for n in rng.sample(range(4), rng.randrange(1, 4))
            )
            for number in range(60)
        ]

    early, late = rows(), rows()
    found = leaks(early, valid=late)
    split = [line.split("\t") for line in late]
    known = [line.split("\t") for line in early]
    shown = [(r[1], r[2], {part[:-2] for part in r[4].split(" ")}) for r in known]
    repeated = sum((r[1], r[2], {p[:-2] for p in r[4].split(" ")}) in shown for r in split)
    assert found["same_user_time_and_candidates"]["valid in train"]["impressions"] == repeated > 0
    same = [r for r in split if r[:3] in [k[:3] for k in known]]
    pair = found["same_id_user_and_time"]["valid in train"]
    assert pair["impressions"] == len(same) > 0
    assert pair["clicks"] == sum(r[4].count("-1") for r in same) > 0
    clicked = sum(
        part.endswith("-1") and part[:-2] in r[3].split(" ")
        for r in split
        for part in r[4].split(" ")
    )
    assert found["clicked_in_history"]["valid"]["clicks"] == clicked > 0


def test_leaks_are_a_warning_in_the_summary_and_no_error(
    write_mind: WriteMind, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = write_mind(["1\tU1\t11/14/2019 1:00:00 AM\tN3\tN3-1 N2-0", *IMPRESSIONS[1:]])
    flags = [f"--train={train}", "--dataset=tiny", f"--output={tmp_path / 'out'}"]
    assert command.main([*flags, "--check-leaks", f"--test={train}"]) == 0
    printed = capsys.readouterr().out
    assert "leak: train: 1 clicks on news that are already in the history" in printed
    assert "leak: test in train: 1 impressions that occur in both splits" in printed


def test_a_report_without_a_check_is_silent_about_leaks(
    write_mind: WriteMind, tmp_path: Path
) -> None:
    """An empty entry would look like a check that found nothing."""
    train = write_mind()
    report = convert_mind(train, "tiny", output=tmp_path / "out")
    checked = convert_mind(train, "tiny", output=tmp_path / "out", check_leaks=True)
    assert "leaks" not in report
    del checked["leaks"]
    assert report == checked


def test_a_check_that_found_nothing_says_so(
    write_mind: WriteMind, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Silence could mean that nothing was checked."""
    train = write_mind([*TRAIN, "3\tU1\t11/15/2019 2:00:00 AM\t\tN2-1"])
    flags = [f"--train={train}", "--dataset=tiny", f"--output={tmp_path / 'out'}"]
    assert command.main([*flags, "--check-leaks"]) == 0
    assert "leak: none found" in capsys.readouterr().out


NEXT_DAY = [row.replace("11/14", "11/15") for row in TRAIN]


@pytest.fixture
def overlaps(
    write_mind: WriteMind, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> Callable[..., tuple[dict, str]]:
    """The overlaps in the report of the given splits, and the warnings."""

    def check(train: list[str], test: list[str], **more: Any) -> tuple[dict, str]:
        folders = {"test": write_mind(test, name="test"), "valid": 0.5, **more}
        report = convert_mind(write_mind(train), "tiny", output=tmp_path / "out", **folders)
        return report.get("overlaps", {}), caplog.text

    return check


def test_splits_in_the_order_of_time_are_no_overlap(overlaps: Callable[..., tuple]) -> None:
    """A warning that always comes is not read. Equal times are no overlap either."""
    assert overlaps(TRAIN, [TRAIN[1].replace("2\tU1", "9\tU2"), *NEXT_DAY]) == ({}, "")


def test_swapped_train_and_test_are_refused(overlaps: Callable[..., tuple], tmp_path: Path) -> None:
    """Trained on the future, a model scores well on the past."""
    with pytest.raises(ConversionError, match=r"Swap --train and --test"):
        overlaps(NEXT_DAY, TRAIN)
    assert not (tmp_path / "out").exists()


def test_a_test_set_that_begins_before_the_training_ends_is_a_warning_with_examples(
    overlaps: Callable[..., tuple],
) -> None:
    early = "9\tU2\t11/14/2019 1:59:59 AM\t\tN1-1"
    found, warning = overlaps(TRAIN, [*NEXT_DAY, early])
    assert found["earlier"] == {
        "test in valid": {"impressions": 1, "examples": ["impression 9 of U2"]}
    }
    assert "1 impressions of test precede the end of valid: impression 9 of U2" in warning


def test_the_same_folder_as_train_and_test_is_a_warning_without_a_check_of_leaks(
    write_mind: WriteMind, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_mind()
    report = convert_mind(folder, "tiny", test=folder, output=tmp_path / "out")
    shared = {pair: each["impressions"] for pair, each in report["overlaps"]["shared"].items()}
    assert shared == {"test in train": 1, "test in valid": 2}
    assert "1 impressions of test occur in train too: impression 1 of U1" in caplog.text
