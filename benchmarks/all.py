"""Run every benchmark at a small size and write its figures to a csv, one row for each figure.

python benchmarks/all.py [--output=bench.csv]
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SMALL = {
    "train_step": ["--batches=2"],
    "encode": ["--news=256"],
    "evaluate": ["--every=16", "--impressions=20000"],
    "data": ["--size=demo"],
    "distributed": ["--batches=1", "--runs=1", "--steps=2", "--batch-size=8"],
    "submission": ["--impressions=5000"],
    "score": ["--users=20000"],
    "serve": ["--requests=200"],
    "rank_now": ["--events=100000"],
}


def figures(name: str, arguments: list[str]) -> dict[str, Any]:
    """Run a benchmark, show its output, and return the figures that it prints as its last line."""
    command = [sys.executable, str(Path(__file__).with_name(f"{name}.py")), *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    last = ""
    for line in process.stdout:
        print(line, end="", flush=True)
        last = line
    if process.wait():
        raise SystemExit(f"{name} failed with status {process.returncode}.")
    return json.loads(last)


def flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every figure in nested dictionaries, with its dotted path.

    >>> list(flat({"a": {"b": 1}, "c": 2}))
    [('a.b', 1), ('c', 2)]
    """
    if not isinstance(value, dict):
        yield name, value
        return
    for key, item in value.items():
        yield from flat(item, f"{name}.{key}" if name else key)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("bench.csv"))
    output = parser.parse_args().output
    with output.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["benchmark", "figure", "value"])
        for name, arguments in SMALL.items():
            print(f"== {name} {' '.join(arguments)}", flush=True)
            for figure, value in flat(figures(name, arguments)):
                table.writerow([name, figure, value])
            file.flush()
    print(f"\nwritten: {output}")


if __name__ == "__main__":
    main()
