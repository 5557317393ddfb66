"""Two machines of one process each, both of them this one, started by torchrun."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from cluster import SECONDS, environment
from tiny import DATASET, Tiny, free_port

from recbole_tinynews.__main__ import run_recbole as main

pytestmark = pytest.mark.whole

SCRIPT = Path(__file__).parents[2] / "run_recbole.py"


def flags(tiny: Tiny, folder: Path) -> list[str]:
    """Those of a training whose result and stages are written into ``folder``."""
    settings = {
        **tiny.settings("PLMNR"),
        "max_steps": 6,
        "train_batch_size": 12,
        "checkpoint_dir": folder / "saved",
        "result_file": folder / "result.json",
    }
    return ["--model=PLMNR", f"-d{DATASET}", *(f"--{k}={v}" for k, v in settings.items())]


@pytest.mark.long
def test_two_machines_end_with_the_result_of_one(tiny: Tiny, tmp_path: Path) -> None:
    """Ranks that count from 0 on each machine would train two models into one folder."""
    one, two = tmp_path / "one", tmp_path / "two"
    main(flags(tiny, one))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc_per_node=1"]
    torchrun += ["--master_addr=localhost", f"--master_port={free_port()}"]
    machines = [
        subprocess.Popen(
            [*torchrun, f"--node_rank={rank}", str(SCRIPT), *flags(tiny, two)],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        printed = [machine.communicate(timeout=SECONDS)[0] for machine in machines]
    finally:
        for machine in machines:
            machine.kill()
    assert [machine.returncode for machine in machines] == [0, 0], printed
    assert "auc" in printed[0]
    assert "auc" not in printed[1]  # the first process speaks
    results = [json.loads((folder / "result.json").read_text()) for folder in (one, two)]
    for part in ("valid", "test"):
        assert results[1][part] == pytest.approx(results[0][part], abs=1e-3)
