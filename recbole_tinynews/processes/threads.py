"""Waiting policy of OpenMP threads."""

from __future__ import annotations

import os

# for GNU's OpenMP, which torch's CPU builds use; see benchmarks/thread_waiting.py
SPINS = "10000"


def spin_briefly() -> None:
    """Let idle threads sleep, as spinning slows busy processes; call it before importing torch."""
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = SPINS
