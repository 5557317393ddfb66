"""A suite: the rows of a table and their comparisons, read from yaml for a data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

from recbole_tinynews.benchmark.recommender_file import is_added
from recbole_tinynews.files.installation import packaged_folder
from recbole_tinynews.settings.literals import read_yaml
from recbole_tinynews.settings.values import refuse, suggest

Pair = tuple[str, str]  # labels of a system and of its comparison
ADDED = "added"  # group of rows added on the command line
TITLE, USER_IDS = ("title",), "ids of users"
CLICKS_NOW = "clicks of other users"  # prefix of the inputs of rows with click counters
_KEYS = {
    *("rows", "rows_of", "layers", "settings", "seeds", "reference", "comparisons"),
    *("folder", "figures", "published", "datasets", "ceilings"),
}
_ROW_KEYS = {"label", "model", "layers", "settings", "group", "reads"}
_DATASET_KEYS = {"layers", "settings", "seeds", "leave_out"}
_CEILINGS = {"student", "teachers"}
_CEILING_KEYS = {"articles", "tokens", "clicks_x_candidates"}
_ALL = "all"  # the size that keeps every layer of the language model
FIGURES = ("size", "speed", "stages", "losses", "teachers")


class Row(NamedTuple):
    """One system of the table."""

    label: str
    family: str  # label without the number of layers
    model: str  # name, +name or +file.py:Class
    layers: int | None = None  # of the served encoder
    settings: Mapping[str, Any] = {}
    group: str = ADDED
    reads: tuple[str, ...] = TITLE  # text it ranks by; USER_IDS if it knows users


class Published(NamedTuple):
    """Published results in percent, by label and metric: value, and deviation if known."""

    here: Mapping[str, Mapping[str, Sequence[float]]] = {}  # on the same data
    elsewhere: Mapping[str, Mapping[str, Sequence[float]]] = {}  # on other data
    elsewhere_is: str = ""


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
    figures: Mapping[str, Sequence[str]]
    published: Published
    ceilings: Mapping[str, Mapping[str, int]] = {}


def suite_names() -> list[str]:
    """Names of the suites in the package."""
    return sorted(path.stem for path in _folder().glob("*.yaml"))


def read_suite(name: str, dataset: str, all_layers: int | None = None) -> Suite:
    """Read a suite, named or a yaml file, for a data set; ``ValueError`` for mistakes in it."""
    declared = _read(_file_of(name))
    own = _of_dataset(declared, dataset)
    layers = {**declared.get("layers", {}), **own.get("layers", {})}
    if all_layers is not None:
        layers[_ALL] = all_layers
    left_out = own.get("leave_out", [])
    rows = [row for each in declared["rows"] for row in _rows(each, layers)]
    unknown = [label for label in left_out if label not in {row.label for row in rows}]
    reference = str(declared.get("reference", rows[0].label)).format_map(layers)
    figures = declared.get("figures", {})
    _check_names(name, rows, reference, figures)
    labels = [row.label for row in rows]
    rows = [row for row in rows if row.label not in left_out]
    duplicates = _duplicates(rows)
    if unknown or duplicates:
        raise ValueError(
            f"Suite {name} expects a unique label for each row of {dataset}, and known labels "
            f"under leave_out. Duplicates: {duplicates or 'none'}; unknown: {unknown or 'none'}. "
            f"Correct layers and leave_out under datasets (sizes are now {layers})."
        )
    pairs = _comparisons(name, declared.get("comparisons", []), layers, labels)
    pairs = pairs or [(label, reference) for label in labels if label != reference]
    return Suite(
        name=Path(name).stem,
        rows=rows,
        settings={**declared.get("settings", {}), **own.get("settings", {})},
        seeds=own.get("seeds") or declared.get("seeds") or [2020],
        reference=reference,
        comparisons=[pair for pair in pairs if not {*pair} & {*left_out}],
        folder=declared.get("folder", "{dataset}").format(dataset=dataset),
        figures=figures,
        published=_published(declared.get("published"), dataset),
        ceilings=_ceilings(name, declared.get("ceilings", {})),
    )


def choose(suite: Suite, systems: Sequence[str]) -> tuple[list[Row], list[Row]]:
    """All rows, and those asked for by label, model, group, ``+Model`` or ``+file.py:Class``."""
    added = []
    for spec in filter(is_added, systems):
        label = spec.rpartition(":")[2].removeprefix("+")
        added.append(Row(label, label, spec))
    named = [each for each in systems if not is_added(each)]
    asked = list(suite.rows) if not named else []
    for name in named:
        found = [row for row in suite.rows if name.casefold() in _names(row)]
        if not found:
            known = sorted({known for row in suite.rows for known in (row.label, row.model)})
            raise ValueError(
                f"Suite {suite.name} has no system {name!r}.{suggest(name, known)} Name labels, "
                "models or groups of its rows: "
                f"{', '.join(row.label for row in suite.rows)}."
            )
        asked += found
    asked = [row for row in suite.rows if row in asked]  # each once, in the suite's order
    rows = [*suite.rows, *added]
    if duplicates := _duplicates(rows):
        raise ValueError(
            f"An added system expects a name that no other row has, got {duplicates} twice. "
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


def _check_names(
    suite: str, rows: Sequence[Row], reference: str, figures: Mapping[str, Sequence[str]]
) -> None:
    """Refuse mistakes that would otherwise appear only in the report, after all trainings."""
    mistakes = [f"label {row.label!r} has a comma" for row in rows if "," in row.label]
    if reference not in {row.label for row in rows}:
        mistakes.append(f"reference {reference!r} is no row")
    families = {row.family for row in rows}
    for figure, shown in figures.items():
        if figure not in FIGURES:
            mistakes.append(f"figure {figure!r} is none of {', '.join(FIGURES)}")
        mistakes += [f"figure {figure}: no rows {each!r}" for each in shown if each not in families]
    refuse(f"Suite {suite} has mistakes:", mistakes)


def _comparisons(
    suite: str, declared: Sequence[Any], layers: Mapping[str, int], labels: Collection[str]
) -> list[Pair]:
    """Pairs under ``comparisons``, with sizes filled in; refuses mistakes before any training."""
    odd = [each for each in declared if not (isinstance(each, list) and len(each) == 2)]
    pairs: list[Pair] = [
        (str(each[0]).format_map(layers), str(each[1]).format_map(layers))
        for each in declared
        if each not in odd
    ]
    times = Counter(frozenset(pair) for pair in pairs)
    mistakes = [f"{each!r} is no pair [system, other]" for each in odd]
    mistakes += [f"{label!r} is no row" for pair in pairs for label in pair if label not in labels]
    mistakes += [f"{[*pair]} compares a row with itself" for pair in pairs if len({*pair}) < 2]
    mistakes += [f"{[*pair]} occurs twice" for pair in pairs if times[frozenset(pair)] > 1]
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
    _refuse_unknown(f"Suite {file}", declared, _KEYS)
    if "rows_of" in declared:
        taken = _read(_file_of(declared.pop("rows_of")))
        kept = ("rows", "layers", "reference", "comparisons", "figures")
        declared = {**{key: taken[key] for key in kept if key in taken}, **declared}
    if not declared.get("rows"):
        raise ValueError(f"Suite {file} expects rows, or rows_of another suite, and has none.")
    return declared


def _of_dataset(declared: Mapping[str, Any], dataset: str) -> dict[str, Any]:
    """Declarations for a data set; later matching patterns override."""
    own: dict[str, Any] = {}
    for pattern, values in declared.get("datasets", {}).items():
        _refuse_unknown(f"datasets: {pattern}", values, _DATASET_KEYS)
        if fnmatchcase(dataset, pattern):
            own.update(values)
    return own


def _ceilings(suite: str, declared: Mapping[str, Any]) -> Mapping[str, Mapping[str, int]]:
    where = f"Suite {suite}, ceilings"
    _refuse_unknown(where, declared, _CEILINGS)
    for kind, ceilings in declared.items():
        _refuse_unknown(f"{where}, {kind}", ceilings, _CEILING_KEYS)
        for name, value in ceilings.items():
            if not isinstance(value, int) or value < 1:
                raise ValueError(
                    f"{where}: {name} expects a whole number from 1 on, got {value!r}."
                )
    return declared


def _published(declared: Mapping[str, Any] | None, dataset: str) -> Published:
    if not declared or not any(fnmatchcase(dataset, each) for each in declared["datasets"]):
        return Published()
    return Published(**read_yaml(_folder() / "published" / f"{declared['file']}.yaml"))


def _rows(declared: Mapping[str, Any], layers: Mapping[str, int]) -> Iterator[Row]:
    _refuse_unknown(f"row {declared}"[:100], declared, _ROW_KEYS)
    if missing := sorted({"label", "model"} - declared.keys()):
        raise ValueError(f"row {declared} expects {' and '.join(missing)}.")
    sizes = declared.get("layers", _ALL)
    for size in sizes if isinstance(sizes, list) else [sizes]:
        if size not in layers and "layers" in declared:
            raise ValueError(
                f"row {declared['label']} expects layers of {', '.join(layers)}, got {size!r}."
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


def _refuse_unknown(where: str, given: Any, known: set[str]) -> None:
    if not isinstance(given, Mapping):
        raise ValueError(f"{where} expects {', '.join(sorted(known))} with values, got {given!r}.")
    if unknown := sorted(set(given) - known):
        raise ValueError(f"{where} expects some of {', '.join(sorted(known))}, got {unknown}.")
