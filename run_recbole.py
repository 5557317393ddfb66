"""Train and evaluate a news recommender: ``python run_recbole.py --model=TinyNewsRec``."""

from __future__ import annotations

from recbole_tinynews.command import main

if __name__ == "__main__":
    main()
