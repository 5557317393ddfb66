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
@pytest.mark.long
@pytest.mark.whole
def test_the_long_measurement_of_reliability_finds_nothing_at_a_small_scale() -> None:
    """Whole, it takes most of an hour: nobody would run it after every change."""
    command = [sys.executable, str(SCRIPT), "--scale=0.002", "--jobs=1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    for part, figure in (
        ("lines", "mutated lines"),
        ("formats", "mutated lines"),
        ("kills", "kills"),
        ("files", "runs"),
        ("wrong", "wrong commands"),
        ("folders", "hostile folders"),
        ("requests", "requests"),
        ("services", "events acknowledged, SQLite"),
    ):
        assert figures[part]["failures"] == 0
        assert figures[part][figure] > 1
