"""Day by day over a test period: a recommender as it was, and updated every night.

    python benchmarks/updates.py FOLDER ... --dataset=ebnerd --data_path=DIR --output=DIR
        [--anew DAY FOLDER ...]

Each FOLDER is a finished recommender of another seed, with the data set that it was trained on.
Each day of the test impressions becomes a data set: the day itself as test, the newest hours before
it as validation, everything earlier as training. Days after the first, marked *, are updated with
clicks of earlier test days. ``--anew``: recommenders that were trained anew on the data set of a
day (OUTPUT/work/data, written first; stop the command, train, and run it again), seed by seed.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recbole_tinynews.benchmark.significance import compare
from recbole_tinynews.data.atomic_files import Indices, TokenIndex, concatenate, read_impressions
from recbole_tinynews.pipeline.config import NewsConfig
from recbole_tinynews.pipeline.outcome import evaluate_test
from recbole_tinynews.pipeline.quick_start import prepared
from recbole_tinynews.pipeline.update import settings_of, update

DAY, QUIET = 86_400, ("--use_gpu=False", "--show_progress=False")


def days_of(folder: Path, output: Path, hours: float) -> list[Path]:
    """Write a data set for each day from the first test impression on."""
    name, rows, head = folder.name, [], ""
    for split in ("train", "valid", "test"):
        with (folder / f"{name}.{split}.inter").open(encoding="utf-8") as file:
            head = next(file)
            rows += [(float(line.split("\t", 3)[2]), split, line) for line in file]
    tested = [stamp for stamp, split, _ in rows if split == "test"]
    start = min(tested)
    made = []
    for day in range(int((max(tested) - start) // DAY) + 1):
        begin = start + day * DAY
        bounds = {
            "train": (0, begin - hours * 3600),
            "valid": (begin - hours * 3600, begin),
            "test": (begin, begin + DAY),
        }
        made.append(output / f"{name}-day{day}")
        made[-1].mkdir(parents=True, exist_ok=True)
        for split, (low, high) in bounds.items():
            lines = [line for stamp, _, line in rows if low <= stamp < high]
            place = made[-1] / f"{made[-1].name}.{split}.inter"
            place.write_text(head + "".join(lines), encoding="utf-8")
        (made[-1] / f"{made[-1].name}.item").write_bytes((folder / f"{name}.item").read_bytes())
    return made


def tested(folder: Path, data: Path, place: Path, checkpoints: Path) -> None:
    """Write the metrics of each test impression, of a finished recommender."""
    if place.exists():
        return
    model_class, given = settings_of(folder, None)
    given |= {
        "data_path": str(data.parent),
        "checkpoint_dir": str(checkpoints),
        "eval_dump": str(place),
    }
    config = NewsConfig(model_class, data.name, config_dict=given, command_line=QUIET)
    with prepared(config) as (run, stages):
        run.make(stages[0])
        evaluate_test(run.factory, run.model(stages[0]))


def main() -> None:
    """Run all days of all seeds, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--data_path", required=True, type=Path)
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--since", type=float, help="newest click of FOLDERs, if they do not say")
    parser.add_argument("--anew", nargs="+", action="append", default=[], metavar="DAY FOLDER")
    parser.add_argument("--hours", type=float, default=6, help="of validation (default: 6)")
    flags = parser.parse_args()
    work = flags.output / "work"
    days = days_of(flags.data_path / flags.dataset, work / "data", flags.hours)
    log: list[dict[str, Any]] = []
    for seed, folder in enumerate(flags.folders):
        link = work / f"seed{seed}"
        link.unlink(missing_ok=True)
        link.symlink_to(folder.resolve())
        since = flags.since
        for day, data in enumerate(days):
            started = time.perf_counter()
            done = update(link, data, [*QUIET, f"--checkpoint_dir={work / 'saved'}"], since=since)
            seconds = time.perf_counter() - started
            since = None if done.is_better else since
            log.append(
                {
                    "seed": seed,
                    "day": day,
                    "seconds": round(seconds, 1),
                    "before": done.before["auc"],
                    "after": done.after["auc"],
                    "accepted": done.is_better,
                }
            )
            for system, place in (("stale", folder), ("updated", link.resolve())):
                dump = flags.output / f"{system}-day{day}-seed{seed}.csv"
                tested(place.resolve(), data, dump, work / "saved")
            pd.DataFrame(log).to_csv(flags.output / "updates.csv", index=False)
    print(table(flags.output, days, len(flags.folders)))
    for day, *anew in flags.anew:
        for seed, folder in enumerate(anew):
            dump = flags.output / f"anew-day{day}-seed{seed}.csv"
            tested(Path(folder).resolve(), days[int(day)], dump, work / "saved")
        for system in ("updated", "stale"):
            _, _, found, _ = compared(flags.output, days, int(day), len(anew), (system, "anew"))
            print(f"day {day}: {system} minus trained anew {_shown(found)}")


def table(output: Path, days: list[Path], seeds: int) -> str:
    """Means by day, and the tested differences of updated minus stale."""
    rows, differences, users, index = [], [], [], TokenIndex()
    for day in range(len(days)):
        two = ("updated", "stale")
        difference, of_users, found, stale = compared(output, days, day, seeds, two, index)
        differences.append(difference)
        users.append(of_users)
        rows.append([f"{day}{'*' if day else ''}", stale, _shown(found)])
    (found,) = compare([np.concatenate(differences, axis=1)], np.concatenate(users))
    lines = [f"| {day} | {stale:.2f} | {rest} |" for day, stale, rest in rows]
    head = "| day | stale | updated minus stale [95 %], p |\n| --- | --- | --- |"
    return "\n".join([head, *lines, f"| all | | {_shown(found)} |"])


def compared(
    output: Path,
    days: list[Path],
    day: int,
    seeds: int,
    systems: tuple[str, str],
    index: TokenIndex | None = None,
) -> tuple[Any, Any, Any, float]:
    """Differences in AUC on a day, its users, the test, and the mean of the second system."""
    data = days[day]
    one, other = (
        np.stack(
            [
                100 * pd.read_csv(output / f"{system}-day{day}-seed{seed}.csv")["auc"].to_numpy()
                for seed in range(seeds)
            ]
        )
        for system in systems
    )
    indices = Indices()
    indices.users = index or indices.users  # one for all days, to know their readers again
    shown = concatenate(read_impressions(data / f"{data.name}.test.inter", indices))
    kept = ~np.isnan(one[0])
    difference = (one - other)[:, kept]
    (found,) = compare([difference], shown.user[kept])
    return difference, shown.user[kept], found, other[:, kept].mean()


def _shown(found: Any) -> str:
    low, high, p, how = found.low, found.high, found.p, ""
    if low is None:  # few seeds
        low, high, p, how = found.fixed_low, found.fixed_high, found.fixed_p, ", seeds fixed"
    return f"{found.difference:+.2f} [{low:+.2f}, {high:+.2f}], p = {p:.3f}{how}"


if __name__ == "__main__":
    main()
