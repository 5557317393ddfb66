"""How OpenMP's threads wait for work."""

from __future__ import annotations

import os

# for GNU's OpenMP library, which torch's CPU builds use; compared in benchmarks/thread_waiting.py
SPINS = "10000"


def spin_briefly() -> None:
    """Let idle threads sleep: beside a busy process, spinning ones take most of the speed.

    Every command calls it before torch is imported, which reads the environment once; processes
    that a command starts inherit it. A user's own choice is kept.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = SPINS
