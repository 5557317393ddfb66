from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mind_folder import WriteMind

from recbole_tinynews.convert import ConversionError, convert_news
from recbole_tinynews.convert import __main__ as command
from recbole_tinynews.convert.splits import last_day, latest_fraction

DAY = 86_400
TRAIN = ["1\tU1\t11/14/2019 1:00:00 AM\tN1\tN2-0 N3-1", "2\tU1\t11/14/2019 2:00:00 AM\t\tN2-1"]


def test_clicks_on_articles_of_the_history_are_counted_and_shown(
    write_mind: WriteMind, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A model that recommends what was read already would win."""
    rows = [
        "5\tU1\t11/14/2019 1:00:00 AM\tN1 N2 N3\tN3-1 N1-1 N2-0",  # N2 was not clicked
        "6\tU1\t11/14/2019 1:00:01 AM\tN10 N21\tN1-1 N2-1 N0-0",  # part of an id is another id
        "7\tU1\t11/14/2019 1:00:02 AM\t\tN1-1",
        "8\tU1\t11/14/2019 1:00:03 AM\tN9\tN9-0 N8-0 N9-1",
    ]
    flags = [f"--train={write_mind(TRAIN)}", f"--valid={write_mind(rows, name='valid')}"]
    assert command.main([*flags, "--dataset=tiny", f"--output={tmp_path / 'out'}"]) == 0
    lines = capsys.readouterr().out.split("\n")
    assert lines[0].endswith("2019-11-14T02:00:00Z")
    assert lines[1].endswith("; 3 clicks on articles of the history")


NEXT_DAY = [row.replace("11/14", "11/15") for row in TRAIN]


@pytest.fixture
def overlaps(
    write_mind: WriteMind, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> Callable[..., tuple[dict, str]]:
    """The overlaps in the report of the given splits, and the warnings."""

    def check(train: list[str], test: list[str], **more: Any) -> tuple[dict, str]:
        folders = {"test": write_mind(test, name="test"), "valid": 0.5, **more}
        report = convert_news(write_mind(train), "tiny", output=tmp_path / "out", **folders)
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
        "test in valid": {"impressions": 1, "examples": ["tiny.test.inter:4"]}
    }
    assert "1 impressions of test precede the end of valid: tiny.test.inter:4" in warning


def test_an_impression_is_recognised_unlabelled_shuffled_and_renumbered(
    overlaps: Callable[..., tuple],
) -> None:
    """MIND shuffles candidates; a copied impression under another id has the same answer."""
    copy = ["77\tU1\t11/14/2019 1:00:00 AM\tN1\tN3 N2", "78\tU1\t11/14/2019 3:00:00 AM\tN1\tN3 N2"]
    found, warning = overlaps(TRAIN, copy)
    only = {"impressions": 1, "examples": ["tiny.test.inter:2"]}
    assert found["shared"] == {"test in train": only}
    assert "1 impressions of test occur in train too: tiny.test.inter:2" in warning


def test_the_shared_impressions_are_those_of_a_plain_double_loop(
    overlaps: Callable[..., tuple],
) -> None:
    rng = random.Random(0)

    def rows() -> list[str]:
        return [
            f"{number}\tU{rng.randrange(3)}\t11/14/2019 1:00:0{rng.randrange(3)} AM\tN1\t"
            + " ".join(f"N{n}-{n % 2}" for n in rng.sample(range(4), rng.randrange(1, 4)))
            for number in range(60)
        ]

    def displays(rows: list[str]) -> list[tuple]:
        fields = [row.split("\t") for row in rows]
        return [(user, time, set(shown.split(" "))) for _, user, time, _, shown in fields]

    early, late = rows(), rows()
    repeated = sum(each in displays(early) for each in displays(late))
    later = [f"6{row.replace('11/14', '11/15')}" for row in TRAIN]
    found, _ = overlaps([*early, *later], late, valid=0.02)
    assert found["shared"]["test in train"]["impressions"] == repeated > 0


def test_the_last_day_is_a_calendar_day_and_not_the_last_24_hours() -> None:
    times = np.array([3 * DAY + 5, 2 * DAY - 1, 3 * DAY, 3 * DAY - 1])
    assert last_day(times).tolist() == [True, False, True, False]
    # days before 1970 are days too
    assert last_day(np.array([-1, -DAY, -DAY - 1])).tolist() == [True, True, False]


def test_equal_times_are_cut_by_their_place_in_the_file() -> None:
    """An unstable sort would split the impressions differently on another machine."""
    times = np.random.default_rng(0).integers(3, size=1000)
    latest = sorted(range(1000), key=lambda place: (times[place], place))[-100:]
    assert np.flatnonzero(latest_fraction(times, 0.1)).tolist() == sorted(latest)
