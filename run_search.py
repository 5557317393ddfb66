"""Search for settings: ``python run_search.py --model=TinyNewsRec --space=space.yaml``."""

from __future__ import annotations

from recbole_tinynews.search.search_command import main

if __name__ == "__main__":
    main()
