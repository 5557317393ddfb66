from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import recbole_tinynews

PACKAGE = Path(recbole_tinynews.__file__).parent

# Room -> the rooms it may import, as in the design. Every room may import itself, and what is in
# EVERYWHERE. A new file at the top of the package, or a new folder, is a new room: give it a line.
EVERYWHERE = {"paths", ""}
WORKROOMS = {"settings", "compat", "registry", "trainer", "model", "data", "evaluation"}
ROOMS: dict[str, set[str]] = {
    # entry points and wiring
    "run_": {"quick_start", "stages", "benchmark"},
    # it runs and measures systems, and draws the results
    "benchmark": {
        *("quick_start", "stages", "artifact", "config", "figures", "table"),
        *WORKROOMS,
    },
    "__init__": {"ranking"},  # when it is asked for
    "quick_start": {
        *("stages", "systems", "recbole_run", "plan", "summary", "artifact", "config"),
        *WORKROOMS,
    },
    "recbole_run": {"stages", "artifact", "config", "toolkit", *WORKROOMS},
    "ranking": {"artifact", "settings", "registry", "trainer", "model", "data"},
    "plan": {"stages", "systems", "artifact", "settings", "trainer", "table"},
    "summary": {"table"},
    "systems": {"stages", "handover", "artifact", "model"},
    "handover": {"artifact", "model", "trainer"},
    # it seats students and teachers, and draws how they trained
    "stages": {"artifact", "config", "distillation", "figures", *WORKROOMS},
    "artifact": {"config", "settings", "trainer", "data"},
    "config": {"registry", "settings", "toolkit", "evaluation", "compat"},
    "registry": {"trainer", "model"},
    # what trains and what is trained
    "trainer": {"distillation", "evaluation", "data"},  # data: the names of a batch's fields
    "model": {"distillation", "data"},
    "toolkit": {"data"},  # RecBole's own models on impressions
    # what stands alone
    "settings": set(),
    "table": set(),
    "figures": set(),
    "compat": set(),
    "convert": set(),
    "data": set(),
    "distillation": set(),
    "evaluation": {"data"},  # how lines are read
}
# Files that are held to more than their room.
PURE = {
    "evaluation/metrics.py": {"recbole_tinynews", "recbole", "torch"},
    "evaluation/submission": {"recbole", "torch", "transformers"},
    "distillation": {"recbole", "transformers"},
}
FORBIDDEN_MODULES = ("recbole.quick_start", "ray", "pickle", "cPickle", "dill", "joblib")
FORBIDDEN_CALLS = {"eval", "exec", "torch.load", "pickle.load", "pickle.loads", "torch.save"}

FILES = sorted(PACKAGE.rglob("*.py"))
every_file = pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))


def room_of(module: str) -> str:
    """`recbole_tinynews.model.plmnr` -> `model`; the package itself is ``""``."""
    return module.partition(".")[2].partition(".")[0]


def imports_of(tree: ast.AST, file: Path) -> Iterator[str]:
    """Every module that a file imports, inside functions too; `from a import b` gives `a.b`."""
    package = file.relative_to(PACKAGE.parent).parent.parts
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def is_under(module: str, names: tuple[str, ...] | set[str]) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in names)


def parse(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


@every_file
def test_imports_point_one_way(file: Path) -> None:
    """A loss that imports a trainer can't be tested, or reused, without one."""
    where = file.relative_to(PACKAGE)
    room = where.parts[0].removesuffix(".py")
    assert room in {*ROOMS, "__init__", "paths"}, f"{where} is a new room: give it a line in ROOMS"
    assert_imports_only(file, {room} | ROOMS.get(room, set()))


@pytest.mark.parametrize("file", sorted(PACKAGE.parent.glob("run_*.py")), ids=lambda f: f.name)
def test_scripts_only_start_the_wiring(file: Path) -> None:
    """What a script does itself, a user of the package can't."""
    assert_imports_only(file, ROOMS["run_"])


def assert_imports_only(file: Path, rooms: set[str]) -> None:
    modules = [m for m in imports_of(parse(file), file) if is_under(m, {"recbole_tinynews"})]
    wrong = [module for module in modules if room_of(module) not in rooms | EVERYWHERE]
    assert not wrong, f"{file.name} imports {wrong}; it may import {', '.join(sorted(rooms))}"


@every_file
def test_mathematics_and_conversion_know_no_framework(file: Path) -> None:
    where = str(file.relative_to(PACKAGE))
    for place, foreign in PURE.items():
        if where == place or where.startswith(f"{place}/"):
            modules = imports_of(parse(file), file)
            allowed = (f"recbole_tinynews.{place}",) if "." not in place else ()
            assert [m for m in modules if is_under(m, foreign) and not is_under(m, allowed)] == []


@every_file
def test_nothing_imports_what_breaks_an_install_or_runs_a_strangers_file(file: Path) -> None:
    """`recbole.quick_start` imports ray, which today's numpy breaks; a pickle runs code."""
    modules = imports_of(parse(file), file)
    assert [m for m in modules if is_under(m, FORBIDDEN_MODULES)] == []


@every_file
def test_nothing_is_evaluated_or_unpickled(file: Path) -> None:
    """A setting, or a model from somewhere else, must not be able to run anything."""
    called = {ast.unparse(n.func) for n in ast.walk(parse(file)) if isinstance(n, ast.Call)}
    assert called & FORBIDDEN_CALLS == set()


@every_file
def test_matplotlib_waits_for_a_figure_and_opens_no_window(file: Path) -> None:
    """All of it takes half a second to import; pyplot looks for a display and keeps each figure."""
    tree = parse(file)
    at_once = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    modules = [m for node in at_once for m in imports_of(node, file)]
    assert [m for m in modules if is_under(m, {"matplotlib"})] == []
    assert [m for m in imports_of(tree, file) if is_under(m, {"matplotlib.pyplot", "pylab"})] == []


def test_the_room_table_is_free_of_circles() -> None:
    """Two rooms that import each other are one room with two names."""
    below: dict[str, set[str]] = {}
    todo = dict(ROOMS)
    while todo:
        free = [room for room, needs in todo.items() if needs <= below.keys()]
        assert free, f"these rooms import each other: {sorted(todo)}"
        below.update({room: todo.pop(room) for room in free})


def test_a_forbidden_import_inside_a_function_is_seen() -> None:
    """The test of the test: a lazy or relative import points the wrong way just as well."""
    tree = ast.parse("def f():\n    from ..trainer import news_trainer\n    import ray.tune\n")
    found = list(imports_of(tree, PACKAGE / "model" / "plmnr.py"))
    assert found == ["recbole_tinynews.trainer.news_trainer", "ray.tune"]
