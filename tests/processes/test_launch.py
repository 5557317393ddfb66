from __future__ import annotations

import signal
import socket
import tempfile
from pathlib import Path

import pytest

from recbole_tinynews import version
from recbole_tinynews.processes import launch as launch_module
from recbole_tinynews.processes.launch import Machines, ProcessFailedError, launch


def flags_of(*given: str | None) -> list[str]:
    names = ("nproc", "world_size", "group_offset", "ip", "port")
    return Machines.from_flags(dict(zip(names, given, strict=True))).flags()


def test_recboles_flags_for_one_machine_take_a_port_that_is_free() -> None:
    """On a fixed port, two trainings on one machine would meet each other."""
    assert flags_of("2", None, None, None, None) == ["--standalone", "--nproc_per_node=2"]
    assert flags_of("2", "-1", "0", "localhost", "5678") == ["--standalone", "--nproc_per_node=2"]


def test_recboles_flags_for_several_machines_become_torchruns() -> None:
    assert flags_of("4", "8", "4", "10.0.0.1", "29500") == [
        "--nproc_per_node=4",
        "--nnodes=2",
        "--node_rank=1",
        "--master_addr=10.0.0.1",
        "--master_port=29500",
    ]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("0", None, None, None, None), "--nproc expects a whole number of at least 1, got 0"),
        (("two", None, None, None, None), "got two"),
        (("4", "6", "0", None, None), "multiples of nproc"),
        (("4", "8", "8", None, None), "multiples of nproc"),
        (("4", "8", "2", None, None), "multiples of nproc"),
    ],
)
def test_processes_that_fit_no_machines_are_refused(given: tuple, message: str) -> None:
    """Torchrun would wait for machines that never come."""
    with pytest.raises(ValueError, match=message):
        flags_of(*given)


@pytest.mark.whole
@pytest.mark.parametrize("status", [0, 3])
def test_ctrl_c_is_what_it_was_once_the_processes_have_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    """A benchmark that goes on after a training in processes would end with a traceback."""
    (tmp_path / "ends.py").write_text(f"raise SystemExit({status})")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(launch_module, "start_method", lambda: "spawn")  # imports less
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
    before = [signal.getsignal(number) for number in numbers]
    if status:
        with pytest.raises(ProcessFailedError, match="ended with status 3"):
            launch(Machines(1, 1), tmp_path / "ends.py", [])
    else:
        launch(Machines(1, 1), tmp_path / "ends.py", [])
    assert [signal.getsignal(number) for number in numbers] == before
    assert not list(tmp_path.glob("torchelastic_*"))  # each run left a folder there


def test_a_port_in_use_ends_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """It ended in a traceback of torch's store, without a word about the flags."""
    monkeypatch.setattr(launch_module, "start_method", lambda: "spawn")
    with socket.socket() as taken:
        taken.bind(("localhost", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ProcessFailedError, match=f"localhost:{port}: .* free port"):
            launch(Machines(1, 2, port=port), version.__file__, [])
