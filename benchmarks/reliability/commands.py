"""Commands on the tiny data of the unit tests, in processes of their own, and what they leave."""

from __future__ import annotations

import hashlib
import json
import math
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.figure  # noqa: F401  (imported once: a fork has it at once)
import numpy as np
import psutil
import transformers.models.bert.modeling_bert  # noqa: F401
import yaml
from tiny import DATASET, Tiny, write_bert, write_dataset

import recbole_tinynews.benchmark.benchmark
import recbole_tinynews.pipeline.quick_start  # noqa: F401
from recbole_tinynews.__main__ import run_recbole as main
from recbole_tinynews.files.whole import SUFFIX, remove
from recbole_tinynews.settings.registry import find_model, is_news_model

OUTPUT = "output.txt"  # of the last command, in its folder
NOT_COMPARED = ("log", "tensorboard", OUTPUT)
# of a result: the others are times, speeds, and what was reused
RESULT = ("model", "dataset", "seed", "valid", "test", "test_cold", "parameters")
MEASURED = ("seconds", "checksum")  # of metrics.json


def tiny_world(folder: Path) -> Tiny:
    """The tiny language model and data set, written by another process: torch starts threads."""
    tiny = Tiny(folder / "bert", folder / "data")

    def write() -> None:
        write_bert(tiny.plm)
        write_dataset(tiny.data)

    folder.mkdir(parents=True)
    checked(wait(forked(write, folder)), folder)
    return tiny


def prepare(tiny: Tiny, model: str, folder: Path, **settings: Any) -> Path:
    """A folder in which ``run`` can be called, with these settings."""
    folder.mkdir(parents=True)
    given = (
        tiny.settings(model, **settings)
        if is_news_model(find_model(model))
        else tiny.stock_settings(**settings)
    )
    (folder / "settings.yaml").write_text(yaml.safe_dump({**given, "model": model}))
    return folder


def started(folder: Path, *more: str) -> int:
    """Start the command of ``run_recbole.py`` in this folder; returns the process."""
    arguments = [
        f"--dataset={DATASET}",
        "--config_files=settings.yaml",
        "--result_file=result.json",
    ]
    return forked(lambda: main([*arguments, *more]), folder)


def run(folder: Path, *more: str) -> str:
    """Run it to its end, and return what it printed.

    Raises:
        FailedCommandError: its exit status is not 0.
    """
    return checked(wait(started(folder, *more)), folder)


class FailedCommandError(RuntimeError):
    """A command ended with another status than it should."""


def checked(status: int, folder: Path, *good: int) -> str:
    """What the command of this folder printed, if it ended with status 0 or one of ``good``.

    Raises:
        FailedCommandError: it ended with another one.
    """
    output = (folder / OUTPUT).read_text(encoding="utf-8", errors="replace")
    if status not in (0, *good):
        raise FailedCommandError(f"status {status}: {output.strip()[-600:]}")
    return output


def forked(work: Callable[[], Any], folder: Path) -> int:
    """Do the work in a process of its own, in this folder; imports take longer than trainings."""
    sys.stdout.flush()
    process = os.fork()
    if process:
        return process
    status = 1
    try:
        os.chdir(folder)
        output = os.open(OUTPUT, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(output, stream)
        work()
        status = 0
    except SystemExit as stop:
        status = int(stop.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def wait(process: int) -> int:
    """The exit status of a process; negative: the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


class Watched(NamedTuple):
    """The exit status of a process (None: it still runs), and how long it has computed."""

    status: int | None
    seconds: float


def watch(process: int, most: float = math.inf, with_children: bool = False) -> Watched:
    """Watch a process until it ends, or has computed for ``most`` seconds.

    These are seconds of processors: on a machine that others use, an equal time comes at an equal
    place of a run.
    """
    seconds = 0.0
    while seconds < most:
        with suppress(psutil.Error):  # it has just ended
            own = psutil.Process(process)
            children = own.children(recursive=True) if with_children else ()
            seconds = max(seconds, sum(map(_computed, (own, *children))))
        found, status = os.waitpid(process, os.WNOHANG)
        if found:
            return Watched(os.waitstatus_to_exitcode(status), seconds)
        time.sleep(0.05 if with_children else 0.01)  # looking for children takes milliseconds
    return Watched(None, seconds)


def _computed(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system + times.children_user + times.children_system


def side_by_side(work: Callable[..., Any], tasks: Sequence[tuple], jobs: int) -> Iterator[Any]:
    """What ``work`` returns for each task, in so many processes; in the order in which they end."""
    with ProcessPoolExecutor(jobs, mp_context=get_context("fork")) as pool:
        for each in as_completed([pool.submit(work, *task) for task in tasks]):
            yield each.result()


def remove_partials(folder: Path) -> int:
    """Remove partial files, which a run does only where it writes the same again; their number."""
    places = sorted(folder.rglob(f".*{SUFFIX}"))
    for place in places:
        remove(place)
    return len(places)


def contents(folder: Path) -> dict[str, Any]:
    """Every file of a folder by its path, as what two equal runs have in common."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    names = [path.relative_to(folder).as_posix() for path in files]
    return {
        name: _content(path)
        for name, path in zip(names, files, strict=True)
        if not any(part in NOT_COMPARED for part in name.split("/"))
    }


def _content(path: Path) -> Any:
    if path.suffix == ".npz":  # a zip, which has the time
        with np.load(path) as arrays:
            return {name: arrays[name].tobytes() for name in arrays}
    if path.name == "metrics.json":
        found = json.loads(path.read_text(encoding="utf-8"))
        return {name: value for name, value in found.items() if name not in MEASURED}
    if path.name == "result.json":
        found = json.loads(path.read_text(encoding="utf-8"))
        stages = [stage["fingerprint"] for stage in found["stages"]]
        return [found[name] for name in RESULT], stages, found.get("teachers", {}).get("test")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def differences(found: dict[str, Any], expected: dict[str, Any], most: int = 3) -> list[str]:
    """What differs between two folders, a line each."""
    words: Sequence[tuple[str, list[str]]] = (
        ("is missing", sorted(expected.keys() - found.keys())),
        ("is left behind", sorted(found.keys() - expected.keys())),
        ("differs", [n for n in expected if n in found and found[n] != expected[n]]),
    )
    return [f"{name} {what}" for what, names in words for name in names[:most]]
