"""Parses ``--key=value`` arguments; nothing is silently ignored."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

from recbole_tinynews.settings.literals import parse_value

# Values of these settings stay text even if they look like numbers.
TEXT_SETTINGS = ("model", "dataset")


class CommandLine(NamedTuple):
    """Parsed arguments; ``switches`` were given as a bare ``--key``, which means true."""

    values: dict[str, Any]
    switches: list[str]
    problems: list[str]


def parse_command_line(arguments: Sequence[str]) -> CommandLine:
    """Parse every argument, or report what is wrong with it.

    >>> parse_command_line(["--plm=a=b", "--fresh"])
    CommandLine(values={'plm': 'a=b', 'fresh': True}, switches=['fresh'], problems=[])
    >>> parse_command_line(["--epochs", "3"]).problems
    ["'--epochs 3' (command line): write --epochs=3."]
    """
    texts: dict[str, str] = {}
    switches: list[str] = []
    problems: list[str] = []
    arguments = list(arguments)
    while arguments:
        argument = arguments.pop(0)
        name, equals, text = argument.removeprefix("--").partition("=")
        text = text if equals else "true"
        if not argument.startswith("--") or not name:
            problems.append(f"{argument!r} (command line): write --key=value.")
        elif not equals and arguments and not arguments[0].startswith("--"):
            value = arguments.pop(0)
            problems.append(f"'{argument} {value}' (command line): write {argument}={value}.")
        elif texts.get(name, text) != text:
            problems.append(
                f"--{name} (command line) is given twice, with {texts[name]!r} and {text!r}. "
                "Keep one."
            )
        else:
            texts[name] = text
            if not equals:
                switches.append(name)
    values = {
        name: text if name in TEXT_SETTINGS else parse_value(text) for name, text in texts.items()
    }
    return CommandLine(values, switches, problems)


def program() -> str:
    """The command that started this process, for messages on how to rerun it."""
    called = sys.argv[0]
    return f"python {shlex.quote(called)}" if called.endswith(".py") else called
