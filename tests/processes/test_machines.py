"""Two machines of one process each, both of them this one, with RecBole's flags."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from cluster import SECONDS, environment
from tiny import DATASET, Tiny

pytestmark = pytest.mark.whole

SCRIPT = Path(__file__).parents[2] / "run_recbole.py"


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("localhost", 0))
        return listening.getsockname()[1]


def start(tiny: Tiny, folder: Path, *flags: str) -> subprocess.Popen[str]:
    """Start a training whose result and stages are written into ``folder``."""
    settings = {
        **tiny.settings("PLMNR"),
        "max_steps": 6,
        "train_batch_size": 12,
        "checkpoint_dir": folder / "saved",
        "result_file": folder / "result.json",
    }
    given = [f"--{name}={value}" for name, value in settings.items()]
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), "--model=PLMNR", f"-d{DATASET}", *given, *flags],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_two_machines_end_with_the_result_of_one(tiny: Tiny, tmp_path: Path) -> None:
    """Ranks that count from 0 on each machine would train two models into one folder."""
    results = []
    port = free_port()
    place = ["--nproc=1", "--world_size=2", "--ip=localhost", f"--port={port}"]
    for name, machines in (
        ("one", [[]]),
        ("two", [[*place, f"--group_offset={offset}"] for offset in (0, 1)]),
    ):
        folder = tmp_path / name
        folder.mkdir()
        started = [start(tiny, folder, *flags) for flags in machines]
        try:
            printed = [process.communicate(timeout=SECONDS)[0] for process in started]
        finally:
            for process in started:
                process.kill()
        assert [process.returncode for process in started] == [0] * len(started), printed
        assert ["auc" in each for each in printed] == [True, False][: len(started)]  # one speaks
        results.append(json.loads((folder / "result.json").read_text()))
    for part in ("valid", "test"):
        assert results[1][part] == pytest.approx(results[0][part], abs=1e-3)
