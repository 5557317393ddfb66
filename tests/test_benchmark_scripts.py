from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = sorted((Path(__file__).parent.parent / "benchmarks").glob("*.py"))


@pytest.mark.whole
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_benchmark_finds_all_that_it_imports(script: Path) -> None:
    """No other test runs them, so a name that the package changes would be missed for long."""
    done = subprocess.run(
        [sys.executable, str(script), "--help"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


def test_every_seeded_fault_has_its_place_in_the_code() -> None:
    """Else the comparison of what tests catch would miss the rooms that have changed since."""
    script = Path(__file__).parent.parent / "benchmarks" / "seeded_faults"
    command = [sys.executable, str(script), "after", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
