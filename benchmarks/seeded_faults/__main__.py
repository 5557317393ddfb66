"""Count the seeded faults that the tests catch, in the code of two commits.

``faults.yaml`` lists faults: an id, its kind, a file, a text that occurs once there, its
replacement, and the tests of that room. ``before`` and ``after`` override these for one of the two
commits; ``before: null`` is a fault in code that came later.

Each fault is put into a copy of the commit's tree, and its tests run until the first failure. It
counts as caught if that test passes with the fault undone. Faults that ``results.csv`` has of the
same commit are skipped, so the same command resumes; rows of an earlier one are replaced::

    python benchmarks/seeded_faults after
    python benchmarks/seeded_faults before --only one-trial-drawn-twice
    python benchmarks/seeded_faults after --check  # texts and tests exist in this working tree
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest
import yaml

HERE = Path(__file__).resolve().parent
ROOT, RESULTS = HERE.parent.parent, HERE / "results.csv"
COMMITS = {"before": "34df762", "after": "HEAD"}
COLUMNS = ["tree", "commit", "id", "kind", "outcome", "seconds", "test"]
CAUGHT, LIMIT = "caught", 240.0  # seconds for the tests of a fault
# Imported once, before forking: what is slow, and no module of the package.
SLOW = ("torch", "sklearn", "hypothesis", "recbole.trainer", "transformers.models.bert")


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


def failed_tests(root: Path, *arguments: str, limit: float | None = LIMIT) -> list[str] | None:
    """Run pytest in the tree ``root``; None: it ran past the limit."""
    cache = root.parent / "cache"
    shutil.rmtree(cache, ignore_errors=True)
    options = ["-n0", "-o", f"cache_dir={cache}", f"--basetemp={root.parent / 't'}", *arguments]
    child = multiprocessing.get_context("fork").Process(target=run_pytest, args=(root, options))
    child.start()
    child.join(limit)
    with suppress(ProcessLookupError):
        os.killpg(child.pid or 0, signal.SIGKILL)  # with the processes that tests have left
    child.join()
    if child.exitcode in (0, -signal.SIGKILL):
        return None if child.exitcode else []
    return list(json.loads((cache / "v" / "cache" / "lastfailed").read_text("utf-8")))


def run_pytest(root: Path, options: list[str]) -> None:
    os.setsid()
    with (root.parent / "output.txt").open("w") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    os.chdir(root)
    sys.path.insert(0, str(root))
    os.environ |= {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    os.environ.pop("RECBOLE_TINYNEWS_DATA", None)  # tests marked `real` skip
    os._exit(pytest.main(options))


def seed(fault: Fault, root: Path) -> tuple[str, str]:
    """Seed the fault, run its tests and undo it: the outcome, and the test that failed."""
    file = root / fault.file
    text = file.read_text("utf-8")
    file.write_text(text.replace(fault.old, fault.new), "utf-8")
    failed = failed_tests(root, "-x", *fault.tests)
    file.write_text(text, "utf-8")
    return (CAUGHT, failed[0]) if failed else ("timed out" if failed is None else "not caught", "")


def measure(tree: str, faults: list[Fault]) -> pd.DataFrame:
    """Add a row to ``results.csv`` for each fault without one."""
    name = ["git", "rev-parse", "--short=7", COMMITS[tree]]
    commit = subprocess.check_output(name, cwd=ROOT, text=True).strip()
    rows = pd.read_csv(RESULTS) if RESULTS.is_file() else pd.DataFrame(columns=COLUMNS)
    is_earlier = rows.tree.eq(tree) & rows.commit.ne(commit)
    rows = rows[~(is_earlier & rows.id.isin([fault.id for fault in faults]))].reset_index(drop=True)
    known = {*rows.id[rows.tree == tree]}
    with tempfile.TemporaryDirectory() as folder:
        root, archive = Path(folder) / "tree", Path(folder) / "tree.tar"
        subprocess.run(["git", "archive", "-o", archive, commit], cwd=ROOT, check=True)
        shutil.unpack_archive(archive, root)
        if mistakes := list(mistakes_of(faults, root)):
            sys.exit("\n".join(mistakes))
        for fault in (fault for fault in faults if fault.id not in known):
            began = time.perf_counter()
            outcome, test = seed(fault, root)
            seconds = round(time.perf_counter() - began)
            rows.loc[len(rows)] = [tree, commit, fault.id, fault.kind, outcome, seconds, test]
            rows.to_csv(RESULTS, index=False)
            print(f"{seconds:4} s  {outcome}  {fault.id}  {test}", flush=True)
        caught = rows.tree.eq(tree) & rows.commit.eq(commit) & rows.outcome.eq(CAUGHT)
        failed = failed_tests(root, *rows.test[caught].unique(), limit=None)
        rows.loc[caught & rows.test.isin(failed or []), "outcome"] = "fails without the fault"
        rows.to_csv(RESULTS, index=False)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description="Count the seeded faults that the tests catch.")
    parser.add_argument("tree", choices=COMMITS)
    parser.add_argument("--check", action="store_true", help="only check this working tree")
    parser.add_argument("--only", nargs="+", metavar="ID", help="faults to seed; default: all")
    flags = parser.parse_args()
    faults = read_faults(flags.tree)
    if flags.check:
        sys.exit("\n".join(mistakes_of(faults, ROOT)) or None)
    for module in SLOW:
        import_module(module)
    chosen = [fault for fault in faults if flags.only is None or fault.id in flags.only]
    rows = measure(flags.tree, chosen)
    print(pd.crosstab(rows.outcome, rows.tree))
    print(rows[rows.outcome != CAUGHT].to_string(index=False))


if __name__ == "__main__":
    main()
