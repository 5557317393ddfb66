"""Count the seeded faults that the tests catch, in the code of two commits.

``faults.yaml`` lists faults: an id, its kind, a file, a text that occurs once there, its
replacement, and the tests of that room. ``before`` and ``after`` override these for one of the two
commits; ``before: null`` is a fault in code that came later.

Each fault is put into a copy of the commit's tree, and its tests run until the first failure. It
counts as caught if that test passes with the fault undone. Faults in ``results.csv`` are skipped,
so the same command resumes::

    python benchmarks/seeded_faults after
    python benchmarks/seeded_faults before --only one-trial-drawn-twice
    python benchmarks/seeded_faults after --check  # texts and tests exist in this working tree
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

HERE = Path(__file__).resolve().parent
ROOT, RESULTS = HERE.parent.parent, HERE / "results.csv"
COMMITS = {"before": "34df762", "after": "HEAD"}
COLUMNS = ("tree", "commit", "id", "kind", "outcome", "seconds", "test")
CAUGHT = "caught"
LIMIT = 240  # seconds for the tests of a fault
# Imported once, before forking: all that is slow and no module of the package.
SLOW = ("torch", "pandas", "sklearn", "matplotlib.pyplot", "hypothesis", "recbole.trainer")
SLOW += ("transformers.models.bert.modeling_bert", "scipy.stats")


class Fault(NamedTuple):
    """A text of a file, its replacement, and the tests that should notice."""

    id: str
    kind: str
    file: str
    old: str
    new: str
    tests: list[str]


def read_faults(tree: str) -> list[Fault]:
    faults = yaml.safe_load((HERE / "faults.yaml").read_text("utf-8"))
    own = [{name: each.pop(name, {}) for name in COMMITS}[tree] for each in faults]
    both = zip(faults, own, strict=True)
    return [Fault(**{**each, **other}) for each, other in both if other is not None]


def mistakes_of(faults: list[Fault], root: Path) -> Iterator[str]:
    """Why faults can't be seeded in the tree ``root``."""
    for fault in faults:
        file = root / fault.file
        count = file.read_text("utf-8").count(fault.old) if file.is_file() else 0
        if count != 1:
            yield f"{fault.id}: expects {fault.old!r} once in {file}, got it {count} times"
        yield from (f"{fault.id}: no {test}" for test in fault.tests if not (root / test).is_file())


def run_tests(root: Path, *arguments: str, limit: float = LIMIT) -> int | None:
    """The exit status of pytest in the tree ``root``; None: it ran past the limit."""
    child = os.fork()  # of a process that has imported what is slow
    if not child:
        try:
            os.setsid()
            output = os.open(root.parent / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(output, 1)
            os.dup2(output, 2)
            os.chdir(root)
            sys.path.insert(0, str(root))
            os.environ |= {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
            os.environ.pop("RECBOLE_TINYNEWS_DATA", None)  # tests marked `real` skip
            places = ["-o", f"cache_dir={root.parent / 'cache'}", f"--basetemp={root.parent / 't'}"]
            status = int(pytest.main(["-n0", *places, *arguments]))
            found = Path(import_module("recbole_tinynews").__file__ or "")
            os._exit(status if found.is_relative_to(root) else 8)
        finally:
            os._exit(9)
    end = time.monotonic() + limit
    while not (ended := os.waitpid(child, os.WNOHANG))[0] and time.monotonic() < end:
        time.sleep(0.1)
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # with the processes that tests have left
    if ended[0]:
        return os.waitstatus_to_exitcode(ended[1])
    os.waitpid(child, 0)
    return None


def failed_tests(root: Path) -> list[str]:
    """The tests that failed last."""
    file = root.parent / "cache" / "v" / "cache" / "lastfailed"
    failed = list(json.loads(file.read_text("utf-8"))) if file.is_file() else []
    file.unlink(missing_ok=True)
    return failed


def seed(fault: Fault, root: Path) -> tuple[str, str]:
    """Seed the fault, run its tests and undo it: the outcome, and the test that failed."""
    file = root / fault.file
    text = file.read_text("utf-8")
    file.write_text(text.replace(fault.old, fault.new), "utf-8")
    try:
        status = run_tests(root, "-x", *fault.tests)
    finally:
        file.write_text(text, "utf-8")
    if failed := failed_tests(root):
        return CAUGHT, failed[0]
    return {None: "timed out", 0: "not caught"}.get(status, f"pytest ended with {status}"), ""


def measure(tree: str, faults: list[Fault]) -> None:
    """Add a row to ``results.csv`` for each fault without one."""
    name = ["git", "rev-parse", "--short=7", COMMITS[tree]]
    commit = subprocess.check_output(name, cwd=ROOT, text=True).strip()
    rows = read_rows()
    known = {row["id"] for row in rows if row["tree"] == tree}
    with tempfile.TemporaryDirectory() as folder:
        root, archive = Path(folder) / "tree", Path(folder) / "tree.tar"
        subprocess.run(["git", "archive", "-o", archive, commit], cwd=ROOT, check=True)
        shutil.unpack_archive(archive, root)
        if mistakes := list(mistakes_of(faults, root)):
            sys.exit("\n".join(mistakes))
        for fault in (fault for fault in faults if fault.id not in known):
            began = time.perf_counter()
            outcome, test = seed(fault, root)
            seconds = str(round(time.perf_counter() - began))
            values = tree, commit, fault.id, fault.kind, outcome, seconds, test
            rows.append(dict(zip(COLUMNS, values, strict=True)))
            write(rows)
            print(f"{seconds:>4} s  {outcome}  {fault.id}  {test}", flush=True)
        caught = [row for row in rows if (row["tree"], row["outcome"]) == (tree, CAUGHT)]
        status = run_tests(root, *{row["test"] for row in caught}, limit=10 * LIMIT)
        if status not in (0, 1):
            sys.exit(f"Running the tests without faults failed, status {status}. Run it again.")
        failed = failed_tests(root)
        for row in caught:
            if any(test.startswith(row["test"]) for test in failed):
                row["outcome"] = "fails without the fault"
        write(rows)


def read_rows() -> list[dict[str, str]]:
    return list(csv.DictReader(RESULTS.open(newline=""))) if RESULTS.is_file() else []


def write(rows: list[dict[str, str]]) -> None:
    with RESULTS.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description="Count the seeded faults that the tests catch.")
    parser.add_argument("tree", choices=COMMITS)
    parser.add_argument("--check", action="store_true", help="only check this working tree")
    parser.add_argument("--only", nargs="+", metavar="ID", help="faults to seed; default: all")
    flags = parser.parse_args()
    faults = read_faults(flags.tree)
    if flags.check:
        sys.exit("\n".join(mistakes_of(faults, ROOT)) or None)
    chosen = [fault for fault in faults if flags.only is None or fault.id in flags.only]
    for module in SLOW:
        import_module(module)
    measure(flags.tree, chosen)
    for tree in COMMITS:
        rows = [row for row in read_rows() if row["tree"] == tree]
        print(f"{tree}:", *(f"{n} {o}" for o, n in Counter(r["outcome"] for r in rows).items()))
        print(*(f"  {r['outcome']}: {r['id']}\n" for r in rows if r["outcome"] != CAUGHT), sep="")


if __name__ == "__main__":
    main()
