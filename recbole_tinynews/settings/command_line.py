"""User settings from files, a dict and ``--key=value`` arguments; nothing is silently ignored."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from recbole_tinynews.settings.literals import parse_value, read_yaml
from recbole_tinynews.settings.names import parse_keys

if TYPE_CHECKING:
    from recbole_tinynews.settings.layers import Layer

# Values of these settings stay text even if they look like numbers.
TEXT_SETTINGS = ("model", "dataset")
Files = Sequence[str | Path] | str | Path | None


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
        if not argument.startswith("--") or not name:
            problems.append(f"{argument!r} (command line): write --key=value.")
        elif not equals and arguments and not arguments[0].startswith("--"):
            value = arguments.pop(0)
            problems.append(f"'{argument} {value}' (command line): write {argument}={value}.")
        elif texts.get(name, text if equals else "true") != (text if equals else "true"):
            problems.append(
                f"--{name} (command line) is given twice, with {texts[name]!r} and {text!r}. "
                "Keep one."
            )
        else:
            texts[name] = text if equals else "true"
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


class Given(NamedTuple):
    """User settings."""

    sources: list[tuple[str, dict[str, Any]]]  # weakest first
    switches: list[str]  # flags without a value, which mean true
    mistakes: list[str]  # unreadable files and arguments

    @property
    def values(self) -> dict[str, Any]:
        """All values; later sources override."""
        return {name: value for _, values in self.sources for name, value in values.items()}

    def layers(self, stages: Collection[str]) -> list[Layer]:
        """Layers for a model with these stages."""
        from recbole_tinynews.settings.layers import Layer  # needs RecBole's files

        return [Layer(source, parse_keys(values, stages)) for source, values in self.sources]


def read_given(
    files: Files, config_dict: Mapping[str, Any] | None, command_line: Sequence[str]
) -> Given:
    """Read yaml files, then a dict, then ``--key=value`` arguments."""
    sources: list[tuple[str, dict[str, Any]]] = []
    mistakes: list[str] = []
    for file in [files] if isinstance(files, (str, Path)) else files or ():
        try:
            sources.append((f"file {file}", read_yaml(file)))
        except ValueError as error:
            mistakes.append(str(error))
    of_dict = {
        name: parse_value(value) if isinstance(value, str) and name not in TEXT_SETTINGS else value
        for name, value in (config_dict or {}).items()
    }
    arguments = parse_command_line(command_line)
    sources += [("config_dict", of_dict), ("command line", arguments.values)]
    return Given(sources, arguments.switches, [*mistakes, *arguments.problems])
