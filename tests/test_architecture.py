from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import recbole_tinynews

PACKAGE = Path(recbole_tinynews.__file__).parent

# The subpackages ("rooms") in layers, lowest first: a room may import the layers below it and, of
# its own layer, only itself. A new file at the top of the package, or a new folder, is a new
# room: add it to a layer.
FLOORS: list[set[str]] = [
    {"run_"},
    {"__main__"},
    {"__init__"},
    {"search", "export"},
    {"benchmark"},
    {"serving"},
    {"pipeline"},
    {"zoo"},
    {"trainer"},
    {"model", "evaluation", "recbole_models"},
    {"distillation"},
    {"model.interface"},
    {"encoder"},
    {"data"},
    {"settings", "convert", "processes", "cli"},
    {"files"},
]
INTERFACE = "model.interface"
ROOMS = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
# Rooms that may import less than their layer allows.
NARROWER = {
    "convert": {"files"},
    "settings": {"files"},
    "files": set(),
}
# Files with stricter limits than their room.
PURE = {
    "evaluation/metrics.py": {"recbole_tinynews", "recbole", "torch"},
    "evaluation/result_files.py": {"recbole", "torch", "transformers"},
    "distillation": {"recbole", "transformers"},
}
FORBIDDEN_MODULES = ("recbole.quick_start", "ray", "pickle", "cPickle", "dill", "joblib")
FORBIDDEN_CALLS = {"eval", "exec", "torch.load", "pickle.load", "pickle.loads", "torch.save"}

FILES = sorted(PACKAGE.rglob("*.py"))
SCRIPTS = sorted(PACKAGE.parent.glob("run_*.py"))


def room_of(module: str) -> str:
    """`recbole_tinynews.model.paper.plmnr` -> `model`; the package itself is ``""``.

    The records that a model exchanges with losses stand below both.
    """
    inside = module.partition(".")[2]
    return INTERFACE if is_under(inside, {INTERFACE}) else inside.partition(".")[0]


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


@cache
def parse(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def room_of_file(file: Path) -> str:
    if file.parent == PACKAGE.parent:
        return "run_"
    return room_of(".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts))


def may_import(room: str, other: str) -> bool:
    """Whether a file of the room may import one of the other room."""
    if other in {room, ""}:
        return True
    allowed = NARROWER.get(room)
    return ROOMS[other] > ROOMS[room] if allowed is None else other in allowed


def test_imports_point_one_way() -> None:
    """A loss that imports a trainer can't be tested, or reused, without one."""
    wrong = []
    for file in [*FILES, *SCRIPTS]:
        room = room_of_file(file)
        assert room in ROOMS, f"{file} is a new room: give it a place in FLOORS"
        for module in imports_of(parse(file), file):
            if is_under(module, {"recbole_tinynews"}):
                other = room_of(module)
                if other in ROOMS and not may_import(room, other):
                    wrong.append(f"{file.relative_to(PACKAGE.parent)} imports {module}")
    assert wrong == []


def test_no_file_imports_what_imports_it() -> None:
    """Of two files that import each other, neither can be read, tested or moved alone."""
    modules = {".".join(f.relative_to(PACKAGE.parent).with_suffix("").parts): f for f in FILES}
    follows: dict[str, set[str]] = {}
    for name, file in modules.items():
        found = set(imports_of(parse(file), file))
        found |= {module.rpartition(".")[0] for module in found}
        follows[name] = {module for module in found if module in modules and module != name}
    TopologicalSorter(follows).prepare()  # a circle is an error that names its files


def test_the_zoo_is_written_with_what_a_user_is_offered() -> None:
    """A recommender that needs more would show that users cannot write one like it."""
    page = (PACKAGE.parent / "docs" / "extending.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    offered = {name for each in blocks for name in imports_of(ast.parse(each), PACKAGE / "x.py")}
    wrong = [
        f"{file.name} imports {module}"
        for file in (PACKAGE / "zoo").glob("*.py")
        for module in imports_of(parse(file), file)
        if is_under(module, {"recbole_tinynews"})
        and not is_under(module, {"recbole_tinynews.zoo"})
        and module not in offered
    ]
    assert wrong == []


def test_no_import_names_the_zoo() -> None:
    """A core that needs one of its recommenders would not be smaller without it."""
    wrong = [
        f"{file} imports {module}"
        for file in [*FILES, *SCRIPTS]
        if room_of_file(file) != "zoo"
        for module in imports_of(parse(file), file)
        if is_under(module, {"recbole_tinynews.zoo"})
    ]
    assert wrong == []


def test_a_recommender_is_found_by_the_name_of_its_file() -> None:
    """Of two files of one name, the registry would take the one that it reads last."""
    folders = [folder for folder in PACKAGE.rglob("*") if folder.is_dir()]
    rooms = [each for each in folders if room_of_file(each) in {"model", "zoo"}]
    files = [[f.stem for f in room.glob("*.py") if f.stem != "__init__"] for room in rooms]
    names = [name for each in files for name in each]
    assert len(names) == len({*names})
    assert max(map(len, files)) <= 25  # as many as can be read at a glance


def test_mathematics_and_conversion_know_no_framework() -> None:
    wrong = []
    for file in FILES:
        where = str(file.relative_to(PACKAGE))
        for place, foreign in PURE.items():
            if where == place or where.startswith(f"{place}/"):
                modules = imports_of(parse(file), file)
                allowed = (f"recbole_tinynews.{place}",) if "." not in place else ()
                found = [m for m in modules if is_under(m, foreign) and not is_under(m, allowed)]
                wrong += [f"{where} imports {module}" for module in found]
    assert wrong == []


def test_nothing_imports_what_breaks_an_install_or_runs_a_loaded_file() -> None:
    """`recbole.quick_start` imports ray, which fails with current numpy; a pickle runs code."""
    wrong = [
        f"{file} imports {module}"
        for file in FILES
        for module in imports_of(parse(file), file)
        if is_under(module, FORBIDDEN_MODULES)
    ]
    assert wrong == []


def test_nothing_is_evaluated_or_unpickled() -> None:
    """A setting, or a downloaded model, must not be able to run code."""
    wrong = []
    for file in FILES:
        called = {ast.unparse(n.func) for n in ast.walk(parse(file)) if isinstance(n, ast.Call)}
        wrong += [f"{file} calls {name}" for name in sorted(called & FORBIDDEN_CALLS)]
    assert wrong == []


def test_matplotlib_waits_for_a_figure_and_opens_no_window() -> None:
    """It takes half a second to import; pyplot looks for a display and keeps every figure."""
    wrong = []
    for file in FILES:
        tree = parse(file)
        at_once = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        modules = [m for node in at_once for m in imports_of(node, file)]
        wrong += [f"{file} imports {m}" for m in modules if is_under(m, {"matplotlib"})]
        windows = {"matplotlib.pyplot", "pylab"}
        wrong += [f"{file} imports {m}" for m in imports_of(tree, file) if is_under(m, windows)]
    assert wrong == []


def test_a_forbidden_import_inside_a_function_is_seen() -> None:
    """Tests these tests: a lazy or relative import can violate the order too."""
    tree = ast.parse("def f():\n    from ..trainer import news_trainer\n    import ray.tune\n")
    found = list(imports_of(tree, PACKAGE / "model" / "plmnr.py"))
    assert found == ["recbole_tinynews.trainer.news_trainer", "ray.tune"]


def test_bars_are_made_in_one_place() -> None:
    """One made by tqdm itself would fill a pipe, or a terminal that is narrower than it."""
    wrong = []
    for file in FILES:
        calls = {ast.unparse(n.func) for n in ast.walk(parse(file)) if isinstance(n, ast.Call)}
        if file != PACKAGE / "files" / "progress.py":
            wrong += [f"{file} calls {name}" for name in calls if name.split(".")[-1] == "tqdm"]
    assert wrong == []
