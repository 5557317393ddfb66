"""Waiting policy of OpenMP threads."""

from __future__ import annotations

import os

# for GNU's OpenMP, which torch's CPU builds use; see benchmarks/thread_waiting.py
SPINS = "10000"


def spin_briefly() -> None:
    """Let idle threads sleep: beside a busy process, spinning costs most of the speed.

    Call it before torch is imported, which reads the environment once; child processes inherit it.
    A user's own setting is kept.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = SPINS
