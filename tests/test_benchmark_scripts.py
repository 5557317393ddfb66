from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = sorted((Path(__file__).parent.parent / "benchmarks").glob("*.py"))


HELP = """
import contextlib, io, runpy, sys, traceback
for script in sys.argv[1:]:
    folder, sys.argv = script.rpartition("/")[0], [script, "--help"]
    sys.path.insert(0, folder)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            runpy.run_path(script, run_name="__main__")
        continue  # a module of others, without a command
    except SystemExit as end:
        if not end.code:
            continue
    except Exception:
        traceback.print_exc()
    sys.exit(f"{script} --help has failed")
"""


@pytest.mark.whole
def test_every_benchmark_finds_all_that_it_imports() -> None:
    """No other test runs them, so a name that the package changes would be missed for long."""
    command = [sys.executable, "-c", HELP, *map(str, SCRIPTS)]  # one process: imports take seconds
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_every_seeded_fault_has_its_place_in_the_code() -> None:
    """Else the comparison of what tests catch would miss the rooms that have changed since."""
    script = Path(__file__).parent.parent / "benchmarks" / "seeded_faults"
    command = [sys.executable, str(script), "after", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
