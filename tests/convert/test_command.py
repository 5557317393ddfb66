from __future__ import annotations

from pathlib import Path

import pytest
from mind_folder import IMPRESSIONS, WriteMind

from recbole_tinynews.convert import __main__ as command


def flags(train: Path, output: Path, *more: str) -> list[str]:
    return [f"--train={train}", "--dataset=tiny", f"--output={output}", *more]


def test_the_command_converts_and_sums_up(
    write_mind: WriteMind, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = write_mind([*IMPRESSIONS, "bad"])
    more = ("--on-error=skip", "--layout=interaction", f"--test={train}", "--valid=0.4")
    assert command.main(flags(train, tmp_path / "out", *more)) == 0
    printed = capsys.readouterr().out
    assert "train: 2 impressions, 4 candidates, 2 clicks, 2019-11-14T23:59:59Z to" in printed
    assert "note: 2 bad lines dropped" in printed  # the test folder is the same
    assert "out/tiny/" in printed
    assert "out/tiny-flat/" in printed
    assert (tmp_path / "out" / "tiny" / "tiny.test.inter").exists()


def test_a_bad_line_gives_a_message_with_a_remedy_and_no_traceback(
    write_mind: WriteMind, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(flags(write_mind([*IMPRESSIONS, "bad"]), tmp_path / "out")) == 1
    message = capsys.readouterr().err
    assert "behaviors.tsv:4: expected 5 tab-separated columns" in message
    assert "--on-error=skip" in message
    assert "Traceback" not in message


@pytest.mark.parametrize(
    "arguments", [[], ["--train=a"], ["--dataset=a"], ["--train=a", "--dataset=b", "--vald=c"]]
)
def test_a_misspelt_command_is_told_apart_from_bad_input(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        command.main(arguments)
    assert caught.value.code == 2
