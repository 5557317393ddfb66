from __future__ import annotations

import numpy as np
import pytest
import torch
from cluster import in_processes

from recbole_tinynews.processes.group import (
    ALONE,
    all_gather_object,
    all_reduce,
    broadcast,
    gather_array,
    process_group,
)


@pytest.mark.whole
def test_values_of_all_processes_are_put_together() -> None:
    """A gradient that is lost, or added twice, still trains something."""
    in_processes(3, "gather_values")


def test_a_process_alone_asks_nobody() -> None:
    """Training in one process must not need a network."""
    assert process_group() == ALONE
    assert all_gather_object(3) == [3]
    assert broadcast("me") == "me"
    array, tensor = np.arange(3), torch.ones(2)
    assert gather_array(array) is array
    assert all_reduce(tensor) is tensor
