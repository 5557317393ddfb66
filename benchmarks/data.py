"""How long conversion and loading take, in how much memory, and how fast batches come.

The input is synthetic and MIND-shaped (``tools.mind_mini``), as large as MIND-demo and MIND-small;
MIND-large takes some 10 minutes and 6 GB of disk and runs only with ``--size=large``. Each step
runs in a separate process, so that its peak memory can be measured. The table shows the seconds of
the work and, in brackets, of the whole process with its imports.

    python benchmarks/data.py [--size=demo --size=small] [--folder=DIR]
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

NAME = "synthetic"
BATCH_SIZES = (32, 128)
LOADER_SECONDS = 3.0
LIMITS = {"convert": (120, 6), "load again": (10, 3)}  # of MIND-large: seconds, GB


class Size(NamedTuple):
    """Number of articles, users and impressions in a release of MIND; dev is the test set."""

    news: int
    users: int
    impressions: int
    test_impressions: int
    valid_impressions: int = 1  # validation is taken from the training impressions


SIZES = {
    "demo": Size(28_000, 5_000, 22_000, 7_500),
    "small": Size(65_000, 94_000, 157_000, 73_000),
    "large": Size(130_000, 877_000, 2_233_000, 376_000),
}


# The steps, each run in a separate process. Each returns its figures.


def generate(folder: Path, size: str) -> dict[str, Any]:
    from synthetic import Settings
    from synthetic import generate as write

    began = time.perf_counter()
    write(folder / "raw", Settings(**SIZES[size]._asdict()))
    return {"seconds": time.perf_counter() - began}


def convert(folder: Path, _: str) -> dict[str, Any]:
    from recbole_tinynews.convert import convert_news

    began = time.perf_counter()
    report = convert_news(
        folder / "raw" / "train", NAME, test=folder / "raw" / "test", output=folder / "dataset"
    )
    seconds = time.perf_counter() - began
    parts = report["impressions"].values()
    counts = {key: sum(part[key] for part in parts) for key in ("impressions", "candidates")}
    return {"seconds": seconds, **counts}


def load(folder: Path, _: str) -> dict[str, Any]:
    return _loaded(folder)[1]


def batches(folder: Path, _: str) -> dict[str, Any]:
    from recbole_tinynews.data.dataloader import ClickDataLoader

    rates = {}
    for batch_size in BATCH_SIZES:
        (config, dataset), _figures = _loaded(folder, train_batch_size=batch_size)
        loader = ClickDataLoader(config, dataset.build()[0])
        count, began = 0, time.perf_counter()
        while time.perf_counter() - began < LOADER_SECONDS:
            for _batch in loader:
                count += 1
                if time.perf_counter() - began >= LOADER_SECONDS:
                    break
        rates[str(batch_size)] = round(count / (time.perf_counter() - began), 1)
    return {"seconds": LOADER_SECONDS * len(rates), "batches_per_second": rates}


def _loaded(folder: Path, **more: Any) -> tuple[tuple[Any, Any], dict[str, Any]]:
    from recbole_tinynews.data.dataset import NewsDataset
    from recbole_tinynews.pipeline.config import NewsConfig

    began = time.perf_counter()
    places = {"data_path": str(folder / "dataset"), "checkpoint_dir": str(folder / "saved")}
    config = NewsConfig("PLMNR", NAME, config_dict=places | {"use_gpu": False} | more)
    dataset = NewsDataset(config)
    return (config, dataset), {"seconds": time.perf_counter() - began}


STEPS: dict[str, Callable[[Path, str], dict[str, Any]]] = {
    "generate": generate,
    "convert": convert,
    "load first": load,
    "load again": load,
    "batches": batches,
}


def run_step(step: str, folder: Path, size: str) -> None:
    """Run one step, in a process started for it, and print its figures as the last line."""
    figures = STEPS[step](folder, size)
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    unit = 2**30 if sys.platform == "darwin" else 2**20  # macOS counts bytes
    print(json.dumps({**figures, "peak_gb": kilobytes / unit}))


# The parent


def measure(size: str, folder: Path) -> dict[str, Any]:
    """Run all steps of a size; prints a table line as each step ends."""
    results: dict[str, Any] = {}
    for step in STEPS:
        command = [sys.executable, __file__, f"--step={step}", f"--size={size}"]
        began = time.perf_counter()
        process = subprocess.run(
            [*command, f"--folder={folder}"], stdout=subprocess.PIPE, text=True, check=False
        )
        whole = time.perf_counter() - began
        if process.returncode:
            raise SystemExit(f"{size}: {step} failed with status {process.returncode}.")
        figures = json.loads(process.stdout.splitlines()[-1])
        results[step] = {"process_seconds": whole, **figures}
        print(_line(size, step, results[step]), flush=True)
    return results


def _line(size: str, step: str, figures: dict[str, Any]) -> str:
    line = f"{size:6} {step:11}{figures['seconds']:9.2f} ({figures['process_seconds']:7.2f})"
    line += f"{figures['peak_gb']:9.2f}"
    if "candidates" in figures:
        line += f"   {figures['impressions']:,} impressions, {figures['candidates']:,} candidates"
    if "batches_per_second" in figures:
        rates = figures["batches_per_second"].items()
        line += "   " + ", ".join(f"{rate:,.0f} batches/s of {batch}" for batch, rate in rates)
    if size == "large" and step in LIMITS:
        seconds, gigabytes = LIMITS[step]
        met = figures["seconds"] < seconds and figures["peak_gb"] < gigabytes
        line += f"   {'within' if met else 'BEYOND'} {seconds} s, {gigabytes} GB"
    return line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", action="append", choices=SIZES, help="(default: demo, small)")
    parser.add_argument("--folder", type=Path, help="for temporary files (default: the system's)")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)  # for the child
    options = parser.parse_args()
    if options.step is not None:
        run_step(options.step, options.folder, options.size[0])
        return

    print(f"{'size':6} {'step':11}{'seconds':>9} ({'process':>7}){'peak GB':>9}")
    results = {}
    for size in options.size or ("demo", "small"):
        folder = Path(tempfile.mkdtemp(prefix="recbole-tinynews-", dir=options.folder))
        try:
            results[size] = measure(size, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    print()
    from measure import finish  # imports torch, which must not count as memory of a step

    finish("data", {"sizes": results})


if __name__ == "__main__":
    main()
