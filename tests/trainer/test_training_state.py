from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from recbole_tinynews.trainer.checkpoints import (
    NEEDED,
    PROGRESS,
    newest_state,
    put_state,
    save_state,
    saved_step,
    take_state,
)


def saved(folder: Path, left_out: str = "") -> Path:
    """A state of a small model after one step; returns its progress.json."""
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    progress: dict[str, Any] = {
        **dict.fromkeys(NEEDED),
        **{"step": 7, "round": 0, "cur_step": 0, "losses": {"sums": [1.5]}},
    }
    progress.pop(left_out, None)
    save_state(folder, take_state(model, optimizer, progress))
    return folder / "step-7" / PROGRESS


def without(name: str) -> Callable[[dict[str, Any]], Any]:
    return lambda progress: {key: value for key, value in progress.items() if key != name}


@pytest.mark.parametrize(
    "change",
    [
        *map(without, (*NEEDED, "checksum")),
        lambda progress: [progress],
        lambda progress: None,
        lambda progress: {},
        lambda progress: {**progress, "losses": {}},
        lambda progress: {**progress, "optimizer": {}, "step": 8},
    ],
)
def test_a_progress_that_is_valid_and_incomplete_is_skipped_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, change: Callable[[dict[str, Any]], Any]
) -> None:
    """It ended each run of the same command with a KeyError, until someone deleted the folder."""
    file = saved(tmp_path)
    assert newest_state(tmp_path) is not None
    file.write_text(json.dumps(change(json.loads(file.read_text()))))
    assert newest_state(tmp_path) is None
    assert "is no state to resume from" in caplog.text


def test_an_intact_state_that_lacks_a_value_is_skipped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its checksum fits, as in a state of another version; the run would end in a KeyError."""
    saved(tmp_path, left_out="best_valid_score")
    assert newest_state(tmp_path) is None
    assert "lacks best_valid_score" in caplog.text


def test_a_folder_of_another_name_is_no_state(tmp_path: Path) -> None:
    """int() of its name ended the run."""
    (tmp_path / "step-copy").mkdir()
    assert saved_step(tmp_path) is None
    assert newest_state(tmp_path) is None


def test_buffers_are_resumed_with_the_weights(tmp_path: Path) -> None:
    """A user encoder with BatchNorm would go on with the weights, but not the means, it had."""
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.randn(8, 2)).square().sum().backward()
    optimizer.step()
    progress = dict.fromkeys({*NEEDED} - {"groups", "optimizer"}) | {"step": 1}
    save_state(tmp_path, take_state(model, optimizer, progress))
    other = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    state = newest_state(tmp_path)
    assert state is not None
    put_state(other, torch.optim.Adam(other.parameters()), state)
    torch.testing.assert_close(other.state_dict(), model.state_dict(), rtol=0, atol=0)
