"""The command ``python -m tools.mind_mini``."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from recbole_tinynews import __version__
from tools.mind_mini.generate import Settings, generate

_HELP = {
    "seed": "the same seed and sizes give the same bytes",
    "news": "news articles in all",
    "users": "readers, a few of them very active",
    "impressions": "training impressions, about 37 candidates each",
    "valid_impressions": "validation impressions (the day after training)",
    "test_impressions": "test impressions (the day after that)",
    "corpus": "further articles, written to corpus.tsv for training a language model",
}


def main(arguments: list[str] | None = None) -> int:
    """Run the command; the exit status is 0, or 2 if the flags are wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.mind_mini",
        description="Write synthetic data in the raw format of MIND (train/, valid/, test/), the "
        "bodies of its news (bodies.tsv) and the metrics of ranking by the true click "
        "probabilities (oracle.json). MIND-small has about 65,000 news, 94,000 users and 157,000 "
        "training impressions; MIND-large 130,000, 877,000 and 2,230,000.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    for name, default in Settings._field_defaults.items():
        flag = "--" + name.replace("_", "-")
        parser.add_argument(
            flag, type=int, default=default, metavar="N", help=f"{_HELP[name]} ({default})"
        )
    parser.add_argument(
        "--moving", action="store_true", help="articles rise and fall in popularity within hours"
    )
    options = parser.parse_args(arguments)
    settings = Settings(**{name: getattr(options, name) for name in Settings._fields})
    try:
        oracle = generate(options.output, settings, progress=True, moving=options.moving)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps(oracle, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
