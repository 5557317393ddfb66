"""The command line of a search, where it ends before the first trial."""

from __future__ import annotations

from pathlib import Path

import pytest

from recbole_tinynews.search.search_command import main


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--space=nope.yaml"], "nope.yaml can't be read as yaml: [Errno 2] No such"),
        (["--space=space.yaml", "--trials=0"], "startup_trials expect at least 1"),
        (["--space=space.yaml", "--temperature=2"], "temperature is on the command line too"),
        (["--space=space.yaml", "--learnin_rate=2"], "Did you mean learning_rate"),
    ],
)
def test_a_mistake_is_one_message_and_leaves_no_study(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A study of a mistaken command would be resumed by the next one."""
    (tmp_path / "space.yaml").write_text("temperature: [1.0, 2.0]\n")
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "saved").exists()


def test_a_storage_that_cannot_be_opened_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """SQLAlchemy's errors are of no kind that a command expects."""
    (tmp_path / "space.yaml").write_text("temperature: [1.0, 2.0]\n")
    with pytest.raises(SystemExit) as ended:
        main(["--space=space.yaml", "--storage=postgres://me:secret@here/db"])
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert "that can be opened and written, got one of postgres://: " in said
    assert "secret" not in said
