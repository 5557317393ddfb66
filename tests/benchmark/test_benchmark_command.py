from __future__ import annotations

from typing import Any

import pytest

from recbole_tinynews.benchmark import benchmark
from recbole_tinynews.benchmark.benchmark_command import main, seeds_of


class Recorded:
    """Stands for ``Benchmark``: keeps what it is asked, and ends as told."""

    output = "out"
    asked: dict[str, Any]
    ends: bool | BaseException

    def __init__(self, **arguments: Any) -> None:
        Recorded.asked = arguments

    def run(self) -> bool:
        if isinstance(self.ends, BaseException):
            raise self.ends
        return self.ends

    def report(self) -> list[str]:
        return ["table.md", "cold.md"]


@pytest.fixture(autouse=True)
def _recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "Benchmark", Recorded)


@pytest.mark.parametrize("text", ["1,x", "1,1", "1.5", "", "-1", "1,,2"])
def test_seeds_are_whole_numbers(text: str) -> None:
    """A result whose seed was read as another number can't be reproduced."""
    with pytest.raises(ValueError, match="--seeds must be different whole numbers"):
        seeds_of(text)


@pytest.mark.parametrize(
    ("ends", "status", "message"),
    [
        (False, 1, ""),  # a script that continues after a failed system publishes half a table
        (KeyboardInterrupt(), 130, "The same command resumes"),
        (ValueError("Delete the rows of another data set."), 1, ": Delete the rows of another"),
    ],
)
def test_the_exit_status_says_how_a_benchmark_ended(capsys, ends, status: int, message) -> None:
    """A traceback after hours, and nobody knows whether to begin again."""
    Recorded.ends = ends
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == status
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds=one"], "--seeds must be"),
        (["--seeds="], "--seeds must be"),
        (["--jobs=0"], "--jobs must be at least 1, got 0"),
        (["--epochs", "3"], "write --epochs=3"),
    ],
)
def test_a_mistake_ends_with_its_message_alone(capsys, arguments, message: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 1
    assert message in capsys.readouterr().err


def test_every_flag_reaches_the_benchmark() -> None:
    """One that is lost on the way costs the hours of another benchmark."""
    Recorded.ends = True
    arguments = ["--suite=tiny", "--seeds=3,1", "--systems=A,+b.py:C", "--plm=x", "--jobs=2"]
    main(arguments)
    assert Recorded.asked == {
        "suite": "tiny",
        "dataset": "mind-mini",
        "seeds": [3, 1],
        "systems": ["A", "+b.py:C"],
        "settings": {"plm": "x"},
        "jobs": 2,
        "output": None,
    }


def test_a_report_alone_runs_nothing(capsys) -> None:
    """Whoever wants a table of what is there should not wait hours for what is not."""
    Recorded.ends = AssertionError("it ran")
    main(["--report-only"])
    assert capsys.readouterr().out == "written   table.md, cold.md in out\n"
