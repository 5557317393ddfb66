"""Reads yaml and ``--key=value`` literally: values never become code, dates or base-60 numbers."""

from __future__ import annotations

import copy
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import yaml
from yaml.composer import ComposerError

from recbole_tinynews.settings.values import brief

Files = Sequence[str | Path] | str | Path | None
_PACKAGE = Path(__file__).resolve().parents[1]
WHEN = "when"  # in a yaml: {setting: {value: {settings where it has that value}}}
_INT = r"[-+]?(?:0|[1-9][0-9_]*)"
_FLOAT = r"""(?:
     [-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?
    |[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+
    |[-+]?\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?
    |[-+]?\.(?:inf|Inf|INF)
    |\.(?:nan|NaN|NAN))"""


def packaged_folder(name: str) -> Path:
    """``properties`` or ``dataset``: in a wheel inside the package, in a checkout beside it."""
    inside = _PACKAGE / name
    return inside if inside.is_dir() else _PACKAGE.parent / name


LARGEST = 200_000  # characters of a yaml file
DEEPEST = 20  # levels of nesting
MOST_NODES = 5_000  # values, with aliases expanded


class LiteralLoader(yaml.SafeLoader):
    """Yaml in which ``1e-5`` is a float, as in RecBole, and a repeated key is an error.

    Scalars like ``2019-11-15`` or ``007`` stay text. Depth and size are limited: nested aliases
    grow exponentially, and one may contain itself.
    """

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {
        first: [rule for rule in rules if rule[0].rpartition(":")[2] in ("null", "bool", "merge")]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def get_single_node(self) -> Any:
        """The tree of the document; refuse repeated keys, and excessive depth and size."""
        root = super().get_single_node()
        waiting, nodes = [(root, 1)], 0
        while waiting:
            node, depth = waiting.pop()
            nodes += 1
            if depth > DEEPEST or nodes > MOST_NODES:
                why = f"more than {DEEPEST} levels of nesting, or {MOST_NODES:,} values"
                raise ComposerError(None, None, f"unexpected {why}", node.start_mark)
            parts = node.value if isinstance(node, yaml.CollectionNode) else []
            if isinstance(node, yaml.MappingNode):
                times = Counter(key.value for key, _ in parts if isinstance(key, yaml.ScalarNode))
                for name in (name for name, count in times.items() if count > 1):
                    why = f"{name!r} is set twice"  # its first value would be lost
                    raise ComposerError(None, None, why, node.start_mark)
                parts = [*chain.from_iterable(parts)]
            waiting += [(part, depth + 1) for part in parts]
        return root


class LiteralDumper(yaml.SafeDumper):
    """Quotes text that ``LiteralLoader`` would read as a number, such as ``8080447e6509``."""


for _kind, _pattern in (("int", _INT), ("float", _FLOAT)):
    for _class in (LiteralLoader, LiteralDumper):
        _class.add_implicit_resolver(
            f"tag:yaml.org,2002:{_kind}", re.compile(f"^{_pattern}$", re.X), list("-+0123456789.")
        )


def write_yaml(value: Any) -> str:
    """The value as ASCII from which ``parse_yaml`` reads an equal one, rare line ends included."""
    return yaml.dump(value, Dumper=LiteralDumper, sort_keys=False)


def parse_value(text: str) -> Any:
    """Parse the text of a flag; anything that is not plain yaml stays text.

    >>> parse_value("5e-5"), parse_value("[5, 10]"), parse_value("2019-11-15"), parse_value("~")
    (5e-05, [5, 10], '2019-11-15', None)
    >>> parse_value("__import__('os').getcwd()"), parse_value("[0,inf)"), parse_value("a: b # c")
    ("__import__('os').getcwd()", '[0,inf)', 'a: b # c')

    Nothing is a text too, such as no prefix: ``--text_prefix=``.
    """
    if not text:
        return text
    try:
        value = parse_yaml(text)
    except (yaml.YAMLError, ValueError):  # ValueError: an int of thousands of digits
        return text
    is_plain = value is None or isinstance(value, (bool, int, float))
    return value if is_plain or text.lstrip()[:1] in tuple("{['\"") else text


def parse_yaml(text: str) -> Any:
    """Parse yaml of limited size and depth; ``YAMLError``, or ``ValueError`` for a huge number."""
    if len(text) > LARGEST:
        raise yaml.YAMLError(f"more than {LARGEST:,} characters")
    try:
        return yaml.load(text, Loader=LiteralLoader)
    except RecursionError as problem:
        raise yaml.YAMLError("unexpected nesting, too deep to be read") from problem


# Uncached, PyYAML took 90 % of planning time. The result is shared: copy it before changing it.
_parsed = lru_cache(maxsize=256)(parse_yaml)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read the settings in a yaml file; ``ValueError`` if it is unreadable or no mapping."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            content = copy.deepcopy(_parsed(file.read(LARGEST + 1)))
    except (OSError, yaml.YAMLError, ValueError) as error:
        raise ValueError(f"The settings file {path} can't be read as yaml: {error}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ValueError(
            f"The settings file {path} expects lines 'key: value', got {brief(content)}. "
            "Write a space after the colon."
        )
    return {str(key): value for key, value in content.items()}


# Values of these settings stay text even if they look like numbers.
TEXT_SETTINGS = ("model", "dataset")


class Given(NamedTuple):
    """What a user gives: sources with their values, weakest first."""

    sources: list[tuple[str, dict[str, Any]]]
    mistakes: list[str]  # unreadable files and arguments

    @property
    def values(self) -> dict[str, Any]:
        """All values; later sources override."""
        of_all = (item for _, values in self.sources for item in values.items())
        return {name: value for name, value in of_all if name != WHEN}

    def data_folder(self, dataset: str, data_path: str = "dataset") -> Path:
        """Folder of the data set; a packaged one replaces a missing one that nobody asked for."""
        given = self.values
        folder = Path(str(given.get("data_path", data_path)), dataset)
        packaged = packaged_folder("dataset") / dataset
        is_own = "data_path" in given or folder.is_dir() or not packaged.is_dir()
        return folder if is_own else packaged


def parse_command_line(arguments: Sequence[str]) -> Given:
    """Parse every argument, or report what is wrong with it.

    >>> parse_command_line(["--plm=a=b", "--fresh"]).values
    {'plm': 'a=b', 'fresh': True}
    >>> parse_command_line(["--epochs", "3"]).mistakes
    ["'--epochs 3' (command line): write --epochs=3."]
    """
    texts: dict[str, str] = {}
    mistakes: list[str] = []
    arguments = list(arguments)
    while arguments:
        argument = arguments.pop(0)
        name, equals, text = argument.removeprefix("--").partition("=")
        text = text if equals else "true"
        if not argument.startswith("--") or not name:
            mistakes.append(f"{argument!r} (command line): write --key=value.")
        elif not equals and arguments and not arguments[0].startswith("--"):
            value = arguments.pop(0)
            mistakes.append(f"'{argument} {value}' (command line): write {argument}={value}.")
        elif texts.get(name, text) != text:
            mistakes.append(
                f"--{name} (command line) is given twice, with {texts[name]!r} and {text!r}. "
                "Keep one."
            )
        else:
            texts[name] = text
    values = {
        name: text if name in TEXT_SETTINGS else parse_value(text) for name, text in texts.items()
    }
    return Given([("command line", values)], mistakes)


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
    given = parse_command_line(command_line)
    sources += [("config_dict", of_dict), *given.sources]
    return Given(sources, [*mistakes, *given.mistakes])
