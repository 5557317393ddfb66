from __future__ import annotations

import signal
import tempfile
from pathlib import Path

import pytest

from recbole_tinynews.__main__ import run_recbole as main
from recbole_tinynews.processes.launch import launch


@pytest.mark.parametrize(
    ("number", "answer"), [("0", " must be at least 1"), ("two", ": invalid int value")]
)
def test_a_number_of_processes_that_is_none_is_refused(
    capsys: pytest.CaptureFixture, number: str, answer: str
) -> None:
    """It would be one process, and nobody would know why it is slow."""
    with pytest.raises(SystemExit):
        main([f"--nproc={number}"])
    assert f"--nproc{answer}" in capsys.readouterr().err


def test_recboles_flags_for_one_machine_are_accepted_and_others_name_torchrun(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """RecBole's own command would end with 'no setting', or train on one machine alone."""
    alone = ["--world_size=-1", "--ip=localhost", "--port=5678", "--group_offset=0"]
    for flags in (["--world_size=4"], ["--group_offset=4"], [*alone, "--nproc=0"]):
        with pytest.raises(SystemExit):
            main(flags)
        assert ("torchrun" in capsys.readouterr().err) is (flags[0] not in alone)


@pytest.mark.whole
@pytest.mark.parametrize("status", [0, 3])
def test_a_process_that_fails_is_named_with_its_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    """A run that lost a process would end as if it had a result, and what follows ignore Ctrl-C."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
    before = [signal.getsignal(number) for number in numbers]
    (tmp_path / "ends.py").write_text(f"raise SystemExit({status})")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    if status:
        with pytest.raises(ValueError, match=r"process \d ended with status 3"):
            launch(2, "ends", [])
    else:
        launch(2, "ends", [])
    assert [signal.getsignal(number) for number in numbers] == before
    assert not list(tmp_path.glob("torchelastic_*"))  # each run left a folder there
