"""Train and measure systems side by side: ``python run_benchmark.py --suite=paper``."""

from __future__ import annotations

from recbole_tinynews.benchmark.benchmark_command import main

if __name__ == "__main__":
    main()
