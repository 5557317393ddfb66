from __future__ import annotations

import pytest

from recbole_tinynews.benchmark import benchmark
from recbole_tinynews.benchmark.command import main, seeds_of


@pytest.mark.parametrize("text", ["1,x", "1,1", "1.5", "", "-1", "1,,2"])
def test_seeds_are_whole_numbers(text: str) -> None:
    """A result whose seed was read as another number can't be reproduced."""
    with pytest.raises(ValueError, match="--seeds expects different whole numbers"):
        seeds_of(text)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--suite=papers"], "No suite is named"),
        (["--seeds=one"], "--seeds expects"),
        (["--systems=TinyBERT_9"], "no system 'TinyBERT_9'"),
        (["--jobs=0"], "--jobs expects at least 1"),
        (["--epochs", "3"], "write --epochs=3"),
    ],
)
def test_a_mistake_ends_with_its_message_alone(capsys, arguments, message: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("succeeds", [True, False])
def test_the_exit_status_says_whether_every_system_ran(monkeypatch, succeeds: bool) -> None:
    """A script that continues after a failed system would publish half a table."""
    asked: list[dict] = []

    class RecordingBenchmark:
        def __init__(self, **arguments) -> None:
            asked.append(arguments)

        def run(self) -> bool:
            return succeeds

    monkeypatch.setattr(benchmark, "Benchmark", RecordingBenchmark)
    arguments = ["--suite=tiny", "--seeds=3,1", "--systems=A,+b.py:C", "--plm=x", "--jobs=2"]
    arguments += ["--nproc=3", "--no-speed"]
    if succeeds:
        main(arguments)
    else:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 1
    expected = {
        "suite": "tiny",
        "dataset": "mind-mini",
        "seeds": [3, 1],
        "systems": ["A", "+b.py:C"],
        "settings": {"plm": "x"},
        "jobs": 2,
        "output": None,
        "processes": 3,
        "speed": False,
    }
    assert asked == [expected]


def test_a_report_alone_runs_nothing(monkeypatch, capsys) -> None:
    """Whoever wants a table of what is there should not wait hours for what is not."""

    class ReportingBenchmark:
        output = "out"

        def __init__(self, **arguments) -> None:
            pass

        def report(self) -> list[str]:
            return ["table.md", "table.tex"]

    monkeypatch.setattr(benchmark, "Benchmark", ReportingBenchmark)
    main(["--report-only"])
    assert capsys.readouterr().out == "written   table.md, table.tex in out\n"


def test_ctrl_c_says_what_is_kept(monkeypatch, capsys) -> None:
    """A traceback after hours, and nobody knows whether to begin again."""

    class StoppedBenchmark:
        def __init__(self, **arguments) -> None:
            pass

        def run(self) -> bool:
            raise KeyboardInterrupt

    monkeypatch.setattr(benchmark, "Benchmark", StoppedBenchmark)
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 130
    assert "the same command resumes" in capsys.readouterr().err


def test_results_that_cannot_be_compared_are_one_line(monkeypatch, capsys) -> None:
    """What to delete was said at the end of a traceback."""

    class RefusingBenchmark:
        def __init__(self, **arguments) -> None:
            pass

        def run(self) -> bool:
            raise ValueError("Delete the rows of another data set.")

    monkeypatch.setattr(benchmark, "Benchmark", RefusingBenchmark)
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 1
    assert capsys.readouterr().err.endswith(": Delete the rows of another data set.\n")
