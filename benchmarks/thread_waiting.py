"""How OpenMP's threads wait between parallel regions: training steps per second for each policy.

    python benchmarks/thread_waiting.py [--busy=2] [--threads=2] [--seconds=8] [--rounds=5]

A step is the forward and backward pass of one layer of MiniLM's shape. Each policy runs in a
process of its own, since the OpenMP library reads it when torch is imported; policies take turns,
once on an otherwise idle machine and once beside ``--busy`` processes that compute in a loop.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time

POLICIES: dict[str, dict[str, str]] = {
    "default": {},
    "GOMP_SPINCOUNT=10000": {"GOMP_SPINCOUNT": "10000"},
    "GOMP_SPINCOUNT=5000": {"GOMP_SPINCOUNT": "5000"},
    "GOMP_SPINCOUNT=1000": {"GOMP_SPINCOUNT": "1000"},
    "GOMP_SPINCOUNT=500": {"GOMP_SPINCOUNT": "500"},
    "GOMP_SPINCOUNT=300": {"GOMP_SPINCOUNT": "300"},
    "OMP_WAIT_POLICY=PASSIVE": {"OMP_WAIT_POLICY": "PASSIVE"},
}
BATCH, TOKENS, HIDDEN, HEADS = 32, 30, 384, 12


def measure(seconds: float) -> tuple[float, float]:
    """Steps per second, and seconds of processor time per step."""
    import torch

    torch.manual_seed(0)
    layer = torch.nn.TransformerEncoderLayer(HIDDEN, HEADS, 4 * HIDDEN, batch_first=True)
    tokens = torch.randn(BATCH, TOKENS, HIDDEN)

    def step() -> None:
        layer(tokens).square().mean().backward()

    for _ in range(5):
        step()
    steps, started, used = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - started < seconds:
        step()
        steps += 1
    return steps / (time.perf_counter() - started), (time.process_time() - used) / steps


def measured(policy: dict[str, str], threads: int, seconds: float) -> tuple[float, float]:
    """``measure`` in a process with this policy."""
    known = {name: v for name, v in os.environ.items() if name not in ("OMP_WAIT_POLICY",)}
    ended = subprocess.run(
        [sys.executable, __file__, f"--child={seconds}"],
        env={**known, "OMP_NUM_THREADS": str(threads), **policy},
        capture_output=True,
        text=True,
        check=True,
    )
    rate, used = ended.stdout.split()
    return float(rate), float(used)


def compare(threads: int, seconds: float, rounds: int) -> None:
    """Print the median of each policy, and its rate relative to the default's in each round."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in POLICIES}
    for _ in range(rounds):
        for name, policy in POLICIES.items():
            found[name].append(measured(policy, threads, seconds))
    for name, values in found.items():
        rates, used = zip(*values, strict=True)
        usual = [rate for rate, _ in found["default"]]
        ratio = statistics.median(a / b for a, b in zip(rates, usual, strict=True))
        print(
            f"  {name:<24} {statistics.median(rates):7.2f} steps/s, {ratio:5.2f} of the default, "
            f"{statistics.median(used):.3f} s of processor per step",
            flush=True,
        )


def main() -> None:
    """Measure alone, then beside busy processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--busy", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--child", type=float, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(*measure(given.child))
        return
    for busy in (0, given.busy):
        print(f"{given.threads} threads, {busy} busy processes beside them:")
        loops = [subprocess.Popen([sys.executable, "-c", "while 1: pass"]) for _ in range(busy)]
        try:
            compare(given.threads, given.seconds, given.rounds)
        finally:
            for loop in loops:
                loop.kill()


if __name__ == "__main__":
    main()
