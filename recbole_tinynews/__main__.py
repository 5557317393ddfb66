"""All commands of the package: ``recbole-tinynews``, or ``python -m recbole_tinynews``."""

from __future__ import annotations

import runpy
import sys
from typing import NamedTuple


class Command(NamedTuple):
    """The module that is run as a program, and what it does."""

    module: str
    meaning: str


COMMANDS = {
    "run": Command("command", "train and evaluate a news recommender"),
    "benchmark": Command("benchmark.command", "train and measure systems side by side"),
    "search": Command("search.command", "search for settings with the best validation metric"),
    "convert": Command("convert", "convert MIND folders into atomic data sets"),
    "score": Command("serving.score", "rank articles for every user of a file"),
    "export": Command("serving.export", "a finished recommender as a Hugging Face or ONNX model"),
    "serve": Command("serving.serve", "serve finished recommenders over HTTP, with a page"),
    "submission": Command("evaluation.submission", "check a submission to a leaderboard"),
}


def main() -> None:
    """Run the command that the first argument names, with the arguments behind it."""
    name, *arguments = sys.argv[1:] or ["--help"]
    if name not in COMMANDS:
        asked = name in ("--help", "-h")
        print(_usage(name), file=sys.stdout if asked else sys.stderr)
        sys.exit(0 if asked else 2)
    sys.argv = [f"recbole-tinynews {name}", *arguments]
    module = f"{__package__ or 'recbole_tinynews'}.{COMMANDS[name].module}"
    runpy.run_module(module, run_name="__main__")


def _usage(name: str) -> str:
    lines = [f"  {command:<12}{each.meaning}" for command, each in COMMANDS.items()]
    if not name.startswith("-"):
        lines.append(f"recbole-tinynews: expected one of these commands, got {name!r}.")
    return "\n".join(
        ["usage: recbole-tinynews COMMAND ...  (COMMAND --help: its arguments)", *lines]
    )


if __name__ == "__main__":
    main()
