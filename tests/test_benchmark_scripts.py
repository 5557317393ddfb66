from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = sorted((Path(__file__).parent.parent / "benchmarks").glob("*.py"))


def show_help() -> None:
    """Run each script with ``--help``, without the modules of the tests."""
    tests = str(Path(__file__).parent)
    sys.path[:] = [place for place in sys.path if not place.startswith(tests)]
    for name, module in [*sys.modules.items()]:
        if str(getattr(module, "__file__", None)).startswith(tests):
            del sys.modules[name]
    for script in SCRIPTS:
        sys.argv = [str(script), "--help"]
        sys.path.insert(0, str(script.parent))
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                runpy.run_path(str(script), run_name="__main__")
        except SystemExit as end:  # a module of others has no command, and does not end
            if end.code:
                raise


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.whole
def test_every_benchmark_finds_all_that_it_imports() -> None:
    """No other test runs them, so a name that the package changes would be missed for long."""
    process = multiprocessing.get_context("fork").Process(target=show_help)
    process.start()
    process.join(300)
    assert process.exitcode == 0


def test_every_seeded_fault_has_its_place_in_the_code() -> None:
    """Else the comparison of what tests catch would miss the rooms that have changed since."""
    script = Path(__file__).parent.parent / "benchmarks" / "seeded_faults"
    command = [sys.executable, str(script), "after", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
