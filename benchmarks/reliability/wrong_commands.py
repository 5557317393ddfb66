"""Command lines that cannot work: each ends soon, in words, and leaves nothing behind."""

from __future__ import annotations

import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import commands
from outcome import Outcome
from tiny import DATASET, Tiny
from tqdm import tqdm

from recbole_tinynews.__main__ import COMMANDS, main
from recbole_tinynews.serving.loading import load  # noqa: F401  (imported once: a fork has it)

LONGEST = 10  # seconds
NUMBERS = ("learning_rate", "train_batch_size", "history_length", "negatives", "max_title_length")
NONSENSE = (
    *(
        "abc",
        "[",
        "[1,2]",
        "{a: 1}",
        "nan",
        "-3",
        "1e400",
        "''",
        "0",
        "true",
        "*a",
        "!!python/none",
    ),
    *("[" * 2_000, "9" * 5_000, "\u202e1", "1 2", "{{}}", "&a [*a]"),
)
NOT_THERE = ("nowhere", "", ".", "/", "/dev/null", "x" * 300, "a\nb", "~root/x", "settings.yaml")
PLACES = {
    "run": ("--data_path", "--plm", "--dataset", "--config_files"),
    "benchmark": ("--suite", "--dataset", "--systems", "--data_path"),
    "search": ("--space", "--model", "--dataset"),
    "convert": ("--train", "--test", "--bodies", "--news"),
    "student": ("--plm", "--texts"),
    "update": ("--from",),
    "score": ("--recommender", "--news", "--users"),
}
FOLDERS = ("serve", "export")  # of a recommender, without a flag
MORE = (
    *(["run", "--nproc=0"], ["run", "--nproc=2", "--world_size=2"], ["run", "--gpu_id=x"]),
    *(["benchmark", "--seeds=a"], ["benchmark", "--jobs=0"]),
    *(["search", "--trials=0"], ["convert", "--format=no"]),
    *(["convert", "--valid=2"], ["convert", "--download=all"]),
    *(["serve", ".", "--port=99999"], ["serve"]),
    *(
        ["export", ".", "--to=pdf", "--output=o"],
        ["export", ".", "--trim_vocabulary=x.csv"],
        ["score"],
    ),
    *(["student", "--layers=x"], ["update", "--rollback"]),
)


def measure(folder: Path, count: int, seed: int) -> Outcome:
    """Give so many wrong command lines."""
    tiny = commands.tiny_world(folder / "tiny")
    rng = random.Random(seed)
    figures: Counter[str] = Counter()
    failures: list[str] = []
    slowest = 0.0
    for number in tqdm(range(count), unit=" commands", mininterval=5):
        line = _line(rng, tiny) if number >= len(MORE) else [*MORE[number]]
        place = folder / str(number)
        place.mkdir()
        (place / "settings.yaml").write_text("epochs: [1\n")
        began = time.perf_counter()
        status = commands.wait(commands.forked(_command(line), place))
        seconds = time.perf_counter() - began
        slowest = max(slowest, seconds)
        known = line[0] if line[0] in COMMANDS else "none"
        figures.update({"wrong commands": 1, f"of {known}": 1})
        said = (place / commands.OUTPUT).read_text(encoding="utf-8", errors="replace")
        left = sorted({each.name for each in place.iterdir()} - {commands.OUTPUT, "settings.yaml"})
        for wrong, what in (
            (status <= 0, f"status {status}"),
            ("Traceback" in said, "a traceback"),
            (not said.strip(), "nothing said"),
            (seconds > LONGEST, f"{seconds:.0f} s"),
            (bool(left), f"left {left}"),
        ):
            if wrong:
                failures.append(f"{' '.join(line)!r:.300}: {what}: {said[-300:]!r}")
    return Outcome({**figures, "slowest, s": round(slowest, 1)}, failures)


def _command(line: list[str]) -> Callable[[], None]:
    def work() -> None:
        sys.argv = ["recbole-tinynews", *line]
        os.environ["HF_HUB_OFFLINE"] = "1"
        main()

    return work


def _line(rng: random.Random, tiny: Tiny) -> list[str]:
    """A good command with one thing wrong."""
    good = ["run", "--model=PLMNR", f"--dataset={DATASET}", f"--data_path={tiny.data}"]
    good += [f"--plm={tiny.plm}", "--use_gpu=False"]
    kind = rng.randrange(5)
    if kind == 0:
        return [*good, f"--{rng.choice(NUMBERS)}={rng.choice(NONSENSE)}"]
    if kind == 1:
        name = rng.choice(NUMBERS)
        place = rng.randrange(1, len(name))
        misspelt = name[:place] + rng.choice("xq_9") + name[place:]
        return [*good, f"--{misspelt}=1"]
    if kind == 2:
        command = rng.choice(FOLDERS)
        more = {"export": ["--to=hf", "--output=out"]}.get(command, [])
        return [command, rng.choice(NOT_THERE), *more]
    if kind == 3:
        word = rng.choice(["runn", "--", "-x", "", "\x07", "PLMNR", "x" * 10_000, "--model="])
        return [word, *good[1 : rng.randrange(1, len(good))]]
    command = rng.choice([*PLACES])
    flag, given = rng.choice(PLACES[command]), rng.choice(NOT_THERE)
    if flag == "--config_files":  # empty: none
        given = given or "nowhere"
    kept = [] if command != "run" else [each for each in good[1:] if not each.startswith(flag)]
    return [command, *kept, f"{flag}={given}"]
