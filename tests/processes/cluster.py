"""Programs in several gloo processes on this machine, as torchrun starts them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

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


def torchrun(processes: int, *program: str | Path) -> list[str]:
    """The command that runs a program in so many processes; ``standalone`` takes a free port."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return [*command, f"--nproc_per_node={processes}", *map(str, program)]


def alone(*program: str | Path) -> list[str]:
    """The command that runs a program in one process, without torchrun."""
    return [sys.executable, *map(str, program)]


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, in ``folder``."""
    return subprocess.run(
        command,
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
