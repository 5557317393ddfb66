"""Programs in several gloo processes on this machine."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from torch.distributed.run import main

from recbole_tinynews.processes.launch import SIGNALS

HERE = Path(__file__).parent
SECONDS = 600  # a hang must not hold up the tests for ever


def environment() -> dict[str, str]:
    """That of the tests, with one thread for each process and this checkout's package."""
    paths = [str(HERE.parents[1]), str(HERE.parent), os.environ.get("PYTHONPATH", "")]
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("COV")},
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "PYTHONWARNINGS": "ignore",
    }


def in_processes(processes: int, module: str, *arguments: str | Path) -> None:
    """Run a module of this folder in so many processes, forked from one that stays imported."""
    forked = ["--start-method=forkserver", "--run-path", str(HERE / f"{module}.py")]
    here = ["--standalone", f"--nproc_per_node={processes}", f"--log-dir={os.devnull}"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        handlers = {number: signal.getsignal(number) for number in SIGNALS}
        try:
            main([*here, *forked, *map(str, arguments)])
        finally:  # torchrun keeps its own, and tests of Ctrl-C would meet them
            for number, handler in handlers.items():
                signal.signal(number, handler)
