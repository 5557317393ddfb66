"""User settings from files, a dict and the command line."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from recbole_tinynews.settings.command_line import TEXT_SETTINGS, parse_command_line
from recbole_tinynews.settings.layers import Layer
from recbole_tinynews.settings.literals import parse_value, read_yaml
from recbole_tinynews.settings.names import parse_keys

Files = Sequence[str | Path] | str | Path | None


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
