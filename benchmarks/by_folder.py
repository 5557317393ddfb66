"""Results of a test set that pools several folders: of each folder, and of some of them together.

    python benchmarks/by_folder.py RESULTS --test=DIR [--test=DIR ...] [--together=NAME,NAME ...]
        [--pair=SYSTEM,OTHER ...]

RESULTS is a folder of ``run_benchmark.py``; ``--test`` as for the conversion, in its order and with
no line dropped. Percent, means over seeds; impressions of several folders count equally. Pairs:
difference in AUC with a 95 % interval over users (and seeds, from three on).
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np

from recbole_tinynews.benchmark.results import (
    METRICS,
    RESULTS,
    ResultsFile,
    impression_set,
    impressions_file,
    read_files,
)
from recbole_tinynews.benchmark.significance import compare

SHOWN = METRICS.index("auc"), METRICS.index("ndcg@10")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("--test", type=Path, action="append", required=True)
    parser.add_argument("--together", action="append", default=[])
    parser.add_argument("--pair", action="append", default=[])
    options = parser.parse_args()
    counts = [len((each / "behaviors.tsv").read_bytes().splitlines()) for each in options.test]
    part_of = np.repeat(np.arange(len(counts)), counts)
    names = [each.name for each in options.test]
    parts = {name: part_of == place for place, name in enumerate(names)}
    for listed in options.together:
        some = listed.split(",")
        parts[" + ".join(some)] = np.isin(part_of, [names.index(each) for each in some])

    files: dict[str, dict[int, Path]] = defaultdict(dict)
    for (system, seed, _), row in ResultsFile(options.results / RESULTS).rows.items():
        file = impressions_file(options.results, system, seed, row["settings"])
        if file.is_file():  # of several settings, the last ones
            files[system][seed] = file
    read = read_files(files)
    values, users, _ = impression_set(read)
    ranked = ~np.isnan(next(iter(next(iter(read.values())).values())).values[:, 0])
    if len(ranked) != len(part_of):
        parser.error(f"{options.results} has {len(ranked)} impressions, --test {len(part_of)}.")
    parts = {name: mask[ranked] for name, mask in parts.items()}

    print("| system | seeds | " + " | ".join(parts) + " |")
    print("| --- | ---: |" + " ---: |" * len(parts))
    for system, of_seeds in values.items():
        mean = np.mean([*of_seeds.values()], axis=0)
        cells = [
            " / ".join(f"{100 * mean[mask, metric].mean():.1f}" for metric in SHOWN)
            for mask in parts.values()
        ]
        print(f"| {system} | {len(of_seeds)} | " + " | ".join(cells) + " |")
    pairs = [pair.split(",") for pair in options.pair]
    for name, mask in parts.items() if pairs else ():
        differences = []
        for a, b in pairs:
            seeds = sorted(values[a].keys() & values[b].keys())
            differences.append(np.stack([(values[a][s] - values[b][s])[mask, 0] for s in seeds]))
        _, of_users = np.unique(users[mask], return_inverse=True)
        for pair, found in zip(pairs, compare(differences, of_users), strict=True):
            low, high, p = found.low, found.high, found.p
            if low is None or high is None or p is None:
                low, high, p = found.fixed_low, found.fixed_high, found.fixed_p
            print(
                f"{name}: {pair[0]} - {pair[1]}: {100 * found.difference:+.2f} "
                f"[{100 * low:+.2f}, {100 * high:+.2f}], p = {p:.4f}, {found.seeds} seeds"
            )


if __name__ == "__main__":
    main()
