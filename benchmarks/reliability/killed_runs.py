"""``kill -9`` at random moments, and the same command until it ends as an undisturbed run does."""

from __future__ import annotations

import csv
import os
import random
import signal
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import commands
from benchmark_rows import FEW_STEPS, write_suite
from outcome import Outcome
from tiny import DATASET, SETTINGS, Tiny
from tqdm import tqdm

from recbole_tinynews.benchmark import jobs as benchmark_jobs
from recbole_tinynews.benchmark.benchmark_command import main
from recbole_tinynews.benchmark.results import COLD, METRICS
from recbole_tinynews.model.student import LayerStudent
from recbole_tinynews.pipeline.systems import SYSTEMS
from recbole_tinynews.settings.registry import find_model

BENCHMARK = "benchmark"
MODELS = (*SYSTEMS, "PLMNR", "LightGCN")
# dropout, so that random states count; states, copies and tables that a kill can cut off
CHOSEN = {"save_steps": 1, "plm_dropout": 0.2, "use_cache": True}
SHIPPED = {"history_cache_steps": 10, "warmup_steps": 10}  # of ebnerd.yaml: more state to resume
STEPS = 16  # of each stage, several passes: else few would be killed in the middle of a training
LONGER = {
    f"{stage}{name}": value
    for stage in (
        "",
        "pretrain_teacher_",
        "post_train_teacher_",
        "post_train_student_",
        "finetune_teacher_",
    )
    for name, value in (("epochs", 4), ("max_steps", STEPS))
}
RESUMED = "Resuming from step"
ROWS = "PLM-NR_1,Tiny-NewsRec_2"


class Command(NamedTuple):
    """A command that is killed: how to start it in a folder, and what it leaves."""

    prepare: Callable[[Path], Any]
    start: Callable[[Path], int]
    contents: Callable[[Path], dict[str, Any]]
    whole_groups: bool  # whether it starts processes, which may be killed with it


def measure(folder: Path, kills: int, seed: int, jobs: int) -> Outcome:
    """Kill so many runs, shared among the benchmark and all models, ``jobs`` commands at a time."""
    tiny = commands.tiny_world(folder / "tiny")
    names = [BENCHMARK, *MODELS][:kills]  # the longest first
    tasks = [
        (tiny, name, folder / name, kills // len(names) + (n < kills % len(names)), seed)
        for n, name in enumerate(names)
    ]
    figures: Counter[str] = Counter(commands=len(names))
    failures: list[str] = []
    with tqdm(total=kills, unit=" kills", mininterval=5) as bar:
        for found in commands.side_by_side(_killed, tasks, jobs):
            figures.update(found.figures)
            failures += found.failures
            bar.update(found.figures["kills"])
    return Outcome(dict(figures), failures)


def _killed(tiny: Tiny, name: str, folder: Path, kills: int, seed: int) -> Outcome:
    """Kill a command so often, in new folders whenever it has come to its end."""
    command = _benchmark(tiny) if name == BENCHMARK else _model(tiny, name)
    rng = random.Random(f"{seed} {name}")
    undisturbed = folder / "undisturbed"
    command.prepare(undisturbed)
    seconds = _to_the_end(command, undisturbed)  # that it computes
    expected = command.contents(undisturbed)
    failures: list[str] = []
    done = runs = partials = resumed = 0
    while done < kills and not failures:
        place = folder / f"killed-{runs}"
        command.prepare(place)
        try:
            while done < kills and _killed_once(command, place, rng.uniform(0, seconds), rng):
                done += 1
            _to_the_end(command, place)
            resumed += _resumed(place)
            partials += commands.remove_partials(place)
            _to_the_end(command, place)  # reuses everything
        except commands.FailedCommandError as problem:
            failures.append(f"{name}, {place.name}: {problem}")
        else:
            different = commands.differences(command.contents(place), expected)
            failures += [f"{name}, {place.name}: {difference}" for difference in different]
        runs += 1
    figures = {"kills": done, "trainings resumed in the middle": resumed, "runs to the end": runs}
    return Outcome({**figures, "partial files after kills": partials}, failures)


def _resumed(place: Path) -> int:
    """How many trainings the runs in this folder have resumed, those that were killed too."""
    logs = (place / "saved").rglob("*.log")
    return sum(log.read_text(encoding="utf-8").count(RESUMED) for log in logs)


def _killed_once(command: Command, place: Path, moment: float, rng: random.Random) -> bool:
    """Start the command, kill it after computing so long; False if it ended before."""
    process = command.start(place)
    status = commands.watch(process, moment, command.whole_groups).status
    if status is None:
        if command.whole_groups and rng.random() < 0.5:
            with suppress(ProcessLookupError):  # it has not made its group yet
                os.killpg(process, signal.SIGKILL)
        os.kill(process, signal.SIGKILL)
        status = commands.wait(process)
    commands.checked(status, place, -signal.SIGKILL)
    return status == -signal.SIGKILL


def _to_the_end(command: Command, place: Path) -> float:
    """Run it to its end; returns for how long it computed."""
    status, seconds = commands.watch(command.start(place), with_children=command.whole_groups)
    assert status is not None, "it is watched until it ends"
    commands.checked(status, place)
    return seconds


def _model(tiny: Tiny, model: str) -> Command:
    return Command(
        lambda place: commands.prepare(tiny, model, place, **_of(model)),
        commands.started,
        commands.contents,
        whole_groups=False,
    )


def _of(model: str) -> dict[str, Any]:
    """RecBole's models start again, and have no states."""
    if model == "LightGCN":
        return {}
    chosen = {**CHOSEN, **SHIPPED}
    if issubclass(find_model(model), LayerStudent):  # it compares states, and keeps no vectors
        del chosen["history_cache_steps"]
    return {**chosen, **LONGER} if model in SYSTEMS else {**chosen, "epochs": 4}


def _benchmark(tiny: Tiny) -> Command:
    """``run_benchmark.py`` on two systems."""
    of_rows = ("num_hidden_layers", "show_progress")
    settings = {
        **SETTINGS,
        **FEW_STEPS,
        **CHOSEN,
        **SHIPPED,
        **LONGER,
        "plm": tiny.plm,
        "data_path": tiny.data,
    }
    flags = [f"--{name}={value}" for name, value in settings.items() if name not in of_rows]

    def prepare(place: Path) -> None:
        place.mkdir(parents=True)
        write_suite(place)

    def start(place: Path) -> int:
        asked = [f"--suite={place / 'few.yaml'}", f"--dataset={DATASET}", f"--systems={ROWS}"]

        def work() -> None:
            os.setsid()
            benchmark_jobs.START_METHOD = (
                "fork"  # half of the kills would meet a process that imports
            )
            main([*asked, "--output=out", *flags])

        return commands.forked(work, place)

    return Command(prepare, start, _results, whole_groups=True)


def _results(place: Path) -> dict[str, Any]:
    """What a benchmark leaves; of tables and figures, which show speeds, their names."""
    found = commands.contents(place)
    tables = [name for name in found if name.startswith("out/") and not name.endswith(".npz")]
    found.update(dict.fromkeys(tables))
    with (place / "out" / "results.csv").open(encoding="utf-8", newline="") as file:
        shown = ("system", "seed", *METRICS, *COLD, "parameters", "settings")
        found["out/results.csv"] = [[row[name] for name in shown] for row in csv.DictReader(file)]
    return found
