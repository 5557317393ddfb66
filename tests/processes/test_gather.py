from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from cluster import HERE, run, torchrun

from recbole_tinynews.processes.gather import add_up
from recbole_tinynews.processes.group import ALONE, exchange, gather_array, here, told_by_first


@pytest.mark.whole
@pytest.mark.parametrize("processes", [2, 3])
def test_values_of_all_processes_are_put_together(tmp_path: Path, processes: int) -> None:
    """A gradient that is lost, or added twice, still trains something."""
    ended = run(torchrun(processes, HERE / "gather_values.py"), tmp_path)
    assert ended.returncode == 0, ended.stderr[-4000:]
    assert ended.stdout.count("all hold") == processes


def test_a_process_alone_asks_nobody() -> None:
    """Training in one process must not need a network."""
    assert here() == ALONE
    assert exchange(3) == [3]
    assert told_by_first("me") == "me"
    array, tensor = np.arange(3), torch.ones(2)
    assert gather_array(array) is array
    assert add_up(tensor) is tensor
