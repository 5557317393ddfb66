from __future__ import annotations

import pytest

from recbole_tinynews.processes.launch import Machines


def flags_of(*given: str | None) -> list[str]:
    return Machines.asked_for(*given).flags()


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
