"""Commands of the package: ``recbole-tinynews``, or ``python -m recbole_tinynews``."""

from __future__ import annotations

import runpy
import sys

from recbole_tinynews.settings.values import suggest
from recbole_tinynews.version import VERSION

# the module to run as a program, and its meaning
COMMANDS = {
    "run": ("command", "train and evaluate a news recommender"),
    "benchmark": ("benchmark.benchmark_command", "train and measure systems side by side"),
    "search": ("search.search_command", "search for settings with the best validation metric"),
    "update": ("update", "train a finished recommender further on newer clicks"),
    "student": ("student", "a small recommender from a language model and articles alone"),
    "convert": ("convert", "convert MIND folders into atomic data sets"),
    "score": ("serving.score", "rank articles for every reader in a file"),
    "export": ("export.export_command", "a finished recommender as a Hugging Face or ONNX model"),
    "serve": ("serving.serve", "serve finished recommenders over HTTP, with a page"),
    "events": ("serving.bad_events", "held events of a service's store, and wrong ones out of it"),
}


def main() -> None:
    """Run the command named by the first argument with the others."""
    name, *arguments = sys.argv[1:] or ["--help"]
    if name == "--version":
        print(VERSION)
    elif name in ("--help", "-h"):
        print(_usage())
    elif name not in COMMANDS:
        print(f"{_usage()}\n{_unknown(sys.argv[1:])}", file=sys.stderr)
        sys.exit(2)
    else:
        sys.argv = [f"recbole-tinynews {name}", *arguments]
        module = f"{__package__ or 'recbole_tinynews'}.{COMMANDS[name][0]}"
        runpy.run_module(module, run_name="__main__")


def _usage() -> str:
    lines = [f"  {name:<12}{meaning}" for name, (_, meaning) in COMMANDS.items()]
    head = "usage: recbole-tinynews COMMAND ...  (COMMAND --help: its arguments)"
    return "\n".join([head, *lines])


def _unknown(arguments: list[str]) -> str:
    name = arguments[0]
    hint = suggest(name, COMMANDS)
    if name.startswith("-"):
        hint = f" Did you mean recbole-tinynews run {' '.join(arguments)}?"
    return f"recbole-tinynews: expected one of these commands, got {name!r:.100}.{hint}"


if __name__ == "__main__":
    main()
