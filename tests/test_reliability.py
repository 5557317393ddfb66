"""The long measurement of reliability, at a small scale."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "reliability"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.whole
@pytest.mark.parametrize(
    ("part", "scale", "figure"),
    [
        ("lines", 0.002, "mutated lines"),
        ("formats", 0.01, "mutated lines"),
        ("kills", 0.02, "kills"),
        ("files", 0.02, "runs"),
    ],
)
def test_the_long_measurement_of_reliability_finds_nothing_at_a_small_scale(
    part: str, scale: float, figure: str
) -> None:
    """Whole, it takes most of an hour: nobody would run it after every change."""
    command = [sys.executable, str(SCRIPT), part, f"--scale={scale}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])[part]
    assert figures["failures"] == 0
    assert figures[figure] > 1
