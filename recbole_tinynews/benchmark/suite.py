"""A suite: the rows of a table and their comparisons, read from yaml for a data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

from recbole_tinynews.settings.literals import packaged_folder, read_yaml
from recbole_tinynews.settings.values import refuse, suggest

Pair = tuple[str, str]  # labels of a system and of its comparison
ADDED = "added"  # group of rows added on the command line
ADDS = "+"  # the mark of such a row
TITLE, USER_IDS = ("title",), "ids of users"
CLICKS_NOW = "clicks of other users"  # prefix of the inputs of rows with click counters
_OF_ROWS = ("rows", "layers", "reference", "comparisons", "figure")  # what rows_of takes over
_KEYS: dict[str, Any] = {
    **{"rows": list, "layers": dict, "reference": str, "comparisons": list, "figure": list},
    **{"rows_of": str, "settings": dict, "seeds": list, "folder": str},
    **{"datasets": dict, "ceilings": dict},
}
_ROW_KEYS: dict[str, Any] = {
    **{"label": str, "model": str, "layers": (str, list), "settings": dict, "group": str},
    "reads": list,
}
_DATASET_KEYS: dict[str, Any] = {"layers": dict, "settings": dict, "seeds": list, "leave_out": list}
_CEILINGS: dict[str, Any] = {"student": dict, "teachers": dict}
_CEILING_KEYS: dict[str, Any] = dict.fromkeys(("articles", "tokens", "clicks_x_candidates"), int)
_KINDS = {list: "a list", dict: "a mapping", str: "text", int: "a whole number"}
_ALL = "all"  # the size that keeps every layer of the language model


class Row(NamedTuple):
    """One system of the table."""

    label: str
    family: str  # label without the number of layers
    model: str  # name, +name or +file.py:Class
    layers: int | None = None  # of the served encoder
    settings: Mapping[str, Any] = {}
    group: str = ADDED
    reads: tuple[str, ...] = TITLE  # text it ranks by; USER_IDS if it knows users


class Suite(NamedTuple):
    """Rows for one data set, and what they share.

    ``settings`` apply to rows whose model has them; added rows are compared with ``reference``;
    ``ceilings`` are the largest budgets of a ``student`` and of all its ``teachers``.
    """

    name: str
    rows: Sequence[Row]
    settings: Mapping[str, Any]
    seeds: Sequence[int]
    reference: str
    comparisons: Sequence[Pair]
    folder: str
    figure: Sequence[str]  # families
    ceilings: Mapping[str, Mapping[str, int]] = {}


def suite_names() -> list[str]:
    """Names of the suites in the package."""
    return sorted(path.stem for path in _folder().glob("*.yaml"))


def read_suite(name: str, dataset: str, all_layers: int | None = None) -> Suite:
    """Read a suite, named or a yaml file, for a data set; ``ValueError`` for mistakes in it."""
    declared = _read(_file_of(name))
    of_dataset: dict[str, Any] = {}  # later matching patterns override
    for pattern, values in declared.get("datasets", {}).items():
        _check_keys(f"datasets: {pattern}", values, _DATASET_KEYS)
        of_dataset |= values if fnmatchcase(dataset, pattern) else {}
    layers = {**declared.get("layers", {}), **of_dataset.get("layers", {})}
    if all_layers is not None:
        layers[_ALL] = all_layers
    left_out = of_dataset.get("leave_out", [])
    all_rows = [row for values in declared["rows"] for row in _rows(values, layers)]
    labels = [row.label for row in all_rows]
    rows = [row for row in all_rows if row.label not in left_out]
    reference = str(declared.get("reference", labels[0])).format_map(layers)
    figure, ceilings = declared.get("figure", []), declared.get("ceilings", {})
    _check_keys(f"Suite {name}, ceilings", ceilings, _CEILINGS)
    for kind, of_kind in ceilings.items():
        _check_keys(f"Suite {name}, ceilings, {kind}", of_kind, _CEILING_KEYS)
    mistakes = [f"label {label!r} has a comma" for label in labels if "," in label]
    mistakes += [f"duplicate label {label!r}" for label in _duplicates(rows)]
    mistakes += [f"leave_out: {label!r} is no row" for label in {*left_out} - {*labels}]
    if reference not in labels:
        mistakes.append(f"reference {reference!r} is no row")
    families = {row.family for row in all_rows}
    mistakes += [f"figure: no rows {family!r}" for family in figure if family not in families]
    sizes = f"sizes are now {layers}; {_ALL!r} follows num_hidden_layers, if that is given"
    refuse(f"Suite {name} has mistakes for {dataset} ({sizes}):", mistakes)
    pairs = _comparisons(name, declared.get("comparisons", []), layers, labels)
    pairs = pairs or [(label, reference) for label in labels if label != reference]
    return Suite(
        name=Path(name).stem,
        rows=rows,
        settings={**declared.get("settings", {}), **of_dataset.get("settings", {})},
        seeds=of_dataset.get("seeds") or declared.get("seeds") or [2020],
        reference=reference,
        comparisons=[pair for pair in pairs if not {*pair} & {*left_out}],
        folder=declared.get("folder", "{dataset}").format(dataset=dataset),
        figure=figure,
        ceilings=ceilings,
    )


def choose(suite: Suite, systems: Sequence[str]) -> tuple[list[Row], list[Row]]:
    """All rows, and those asked for by label, model, group, ``+Model`` or ``+file.py:Class``."""
    added = []
    for spec in (name for name in systems if name.startswith(ADDS)):
        label = spec.rpartition(":")[2].removeprefix(ADDS)
        added.append(Row(label, label, spec))
    named = [name for name in systems if not name.startswith(ADDS)]
    asked = [] if named else list(suite.rows)
    for name in named:
        matching = [row for row in suite.rows if name.casefold() in _names(row)]
        if not matching:
            known = sorted({known for row in suite.rows for known in (row.label, row.model)})
            raise ValueError(
                f"Suite {suite.name} has no system {name!r}.{suggest(name, known)} Name labels, "
                "models or groups of its rows: "
                f"{', '.join(row.label for row in suite.rows)}."
            )
        asked += matching
    asked = [row for row in suite.rows if row in asked]  # each once, in the suite's order
    rows = [*suite.rows, *added]
    if duplicates := _duplicates(rows):
        raise ValueError(
            f"An added system must have a name that no other row has, got {duplicates} twice. "
            "Name the class differently."
        )
    return rows, [*asked, *added]


def compared(suite: Suite, rows: Sequence[Row]) -> list[Pair]:
    """The pairs to test: the declared ones, and each added row with the reference."""
    labels = {row.label for row in rows}
    added = [(row.label, suite.reference) for row in rows if row.group == ADDED]
    return [pair for pair in [*suite.comparisons, *added] if labels.issuperset(pair)]


def _duplicates(rows: Sequence[Row]) -> list[str]:
    return sorted(label for label, times in Counter(row.label for row in rows).items() if times > 1)


def _comparisons(
    suite: str, declared: Sequence[Any], layers: Mapping[str, int], labels: Collection[str]
) -> list[Pair]:
    """Pairs under ``comparisons``, with sizes filled in; refuses mistakes before any training."""
    mistakes: list[str] = []
    pairs: list[Pair] = []
    for pair in declared:
        if not isinstance(pair, list) or len(pair) != 2:
            mistakes.append(f"{pair!r} is no pair [system, other]")
            continue
        one, other = (str(label).format_map(layers) for label in pair)
        mistakes += [f"{label!r} is no row" for label in (one, other) if label not in labels]
        if one == other:
            mistakes.append(f"{[one, other]} compares a row with itself")
        if {(one, other), (other, one)} & {*pairs}:
            mistakes.append(f"{[one, other]} occurs twice")
        pairs.append((one, other))
    refuse(f"Suite {suite} has wrong comparisons:", mistakes)
    return pairs


def _names(row: Row) -> set[str]:
    return {row.label.casefold(), row.family.casefold(), row.model.casefold(), row.group.casefold()}


def _folder() -> Path:
    return packaged_folder("properties") / "benchmark"


def _file_of(name: str) -> Path:
    if name.endswith((".yaml", ".yml")):
        return Path(name)
    if name not in suite_names():
        raise ValueError(
            f"No suite is named {name!r}. Suites: {', '.join(suite_names())}; or give the path of "
            "a yaml file."
        )
    return _folder() / f"{name}.yaml"


def _read(file: Path) -> dict[str, Any]:
    """A suite's yaml, merged over that of the suite named by ``rows_of``."""
    declared = read_yaml(file)
    _check_keys(f"Suite {file}", declared, _KEYS)
    if "rows_of" in declared:
        other = _read(_file_of(declared.pop("rows_of")))
        declared = {**{key: other[key] for key in _OF_ROWS if key in other}, **declared}
    if not declared.get("rows"):
        raise ValueError(f"Suite {file} must have rows, or rows_of another suite, and has none.")
    return declared


def _rows(declared: Mapping[str, Any], layers: Mapping[str, int]) -> Iterator[Row]:
    _check_keys(f"row {declared}"[:100], declared, _ROW_KEYS)
    if missing := sorted({"label", "model"} - declared.keys()):
        raise ValueError(f"row {declared} must have {' and '.join(missing)}.")
    sizes = declared.get("layers", _ALL)
    for size in sizes if isinstance(sizes, list) else [sizes]:
        if size not in layers and "layers" in declared:
            raise ValueError(
                f"row {declared['label']} must have layers of {', '.join(layers)}, got {size!r}."
            )
        settings = dict(declared.get("settings", {}))
        if size != _ALL:
            settings["num_hidden_layers"] = layers[size]
        yield Row(
            label=declared["label"].replace("{layers}", str(layers.get(size))),
            family=declared["label"].replace("_{layers}", ""),
            model=declared["model"],
            layers=layers.get(size),
            settings=settings,
            group=declared.get("group", ""),
            reads=tuple(declared.get("reads", TITLE)),
        )


def _check_keys(where: str, declared: Any, known: Mapping[str, Any]) -> None:
    """Refuse unknown keys, and values of another kind."""
    if not isinstance(declared, Mapping):
        raise ValueError(f"{where} must have {', '.join(sorted(known))}, got {declared!r:.100}.")
    if unknown := sorted(map(str, declared.keys() - known)):
        raise ValueError(f"{where} must have some of {', '.join(sorted(known))}, got {unknown}.")
    for key, value in declared.items():
        if not isinstance(value, known[key]):
            kind = _KINDS.get(known[key], "text or a list")
            raise ValueError(f"{where}: {key} must be {kind}, got {value!r:.100}.")
