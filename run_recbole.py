"""Train and evaluate a news recommender: ``python run_recbole.py --model=TinyNewsRec``."""

from __future__ import annotations

from recbole_tinynews.__main__ import run_recbole

if __name__ == "__main__":
    run_recbole()
