from __future__ import annotations

import signal
import socket
import tempfile
from pathlib import Path

import pytest

from recbole_tinynews.__main__ import run_recbole as main
from recbole_tinynews.processes.launch import ProcessFailedError, launch, machine_flags


def test_recboles_flags_for_one_machine_take_a_port_that_is_free() -> None:
    """On a fixed port, two trainings on one machine would meet each other."""
    assert machine_flags(2, -1, 0, "localhost", 5678) == ["--standalone"]
    assert machine_flags(2, 2, 0, "localhost", 5678) == ["--standalone"]


def test_recboles_flags_for_several_machines_become_torchruns() -> None:
    assert machine_flags(4, 8, 4, "10.0.0.1", 29500) == [
        "--nnodes=2",
        "--node_rank=1",
        "--master_addr=10.0.0.1",
        "--master_port=29500",
    ]


@pytest.mark.parametrize(
    ("nproc", "world_size", "group_offset"),
    [(0, -1, 0), (4, 6, 0), (4, 8, 8), (4, 8, 2), (4, 8, -4), (-1, -1, 0)],
)
def test_processes_that_fit_no_machines_are_refused(
    nproc: int, world_size: int, group_offset: int, capsys: pytest.CaptureFixture
) -> None:
    """Torchrun would wait for machines that never come."""
    asked = {"nproc": nproc, "world_size": world_size, "group_offset": group_offset}
    with pytest.raises(SystemExit):
        main([f"--{name}={value}" for name, value in asked.items()])
    assert "multiples of nproc" in capsys.readouterr().err


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
        with pytest.raises(ProcessFailedError, match=r"process \d ended with status 3"):
            launch(2, "ends", [])
    else:
        launch(2, "ends", [])
    assert [signal.getsignal(number) for number in numbers] == before
    assert not list(tmp_path.glob("torchelastic_*"))  # each run left a folder there


def test_a_port_in_use_ends_in_one_line() -> None:
    """It ended in a traceback of torch's store, without a word about the flags."""
    with socket.socket() as taken:
        taken.bind(("localhost", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ProcessFailedError, match=f"{port}.* free port"):
            launch(1, "ends", [], machine_flags(1, 2, 0, "localhost", port))
