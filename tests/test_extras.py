"""Extras of setup.py: whoever installs one gets all that the modules it is for import."""

from __future__ import annotations

import ast
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import setuptools
from test_architecture import FILES, PACKAGE, parse

SETUP = PACKAGE.parent / "setup.py"
pytestmark = pytest.mark.skipif(not SETUP.is_file(), reason="setup.py lies in a checkout only")

# Files and folders that need an extra; all others do with install_requires.
EXTRA_OF = {
    "convert/release.py": "download",
    "files/parquet.py": "parquet",
    "files/table_files.py": "parquet",
    "model/baselines/timeboosted.py": "boosting",
    "search": "search",
    "export": "export",
    "serving/bad_events.py": "serve",
    "serving/exported.py": "export",
    "serving/service": "serve",
    "serving/store.py": "serve",
}
# Distributions that are not named like their module.
DISTRIBUTIONS = {"sklearn": "scikit-learn", "yaml": "pyyaml"}
# Modules that come with a distribution, which requires theirs.
BROUGHT_BY = {
    "h11": "uvicorn",
    "huggingface-hub": "transformers",
    "pydantic": "fastapi",
    "starlette": "fastapi",
}
BROUGHT_TO_SEARCH = {"sqlalchemy": "optuna"}
# Installed by a command of their own, which docs and messages name.
OF_ONE_S_OWN = {"recbole", "wandb"}


def name_of(requirement: str) -> str:
    """The distribution in a requirement, without version, extras and marker."""
    letters = (letter if letter.isalnum() or letter in "-_." else " " for letter in requirement)
    return "".join(letters).split()[0].lower().replace("_", "-")


@pytest.fixture(scope="module")
def declared() -> dict[str, Any]:
    """The arguments of ``setup``."""
    given: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(setuptools, "setup", lambda **named: given.update(named))
        runpy.run_path(str(SETUP))
    return given


def third_party(tree: ast.AST) -> Iterator[str]:
    """Modules of other distributions that a file imports, ``library("name", ...)`` included."""
    for node in ast.walk(tree):
        modules = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            modules = [f"{node.module}.{alias.name}" for alias in node.names]
        for module in modules:
            if module.split(".")[0] not in {*sys.stdlib_module_names, "recbole_tinynews"}:
                yield module
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "library":
            yield from (str(each.value) for each in node.args[:1] if isinstance(each, ast.Constant))


def distribution_of(module: str) -> str:
    name = module.split(".")[0]
    return DISTRIBUTIONS.get(name, name.replace("_", "-"))


def missing_of(modules: set[str], requirements: list[str], brought: dict[str, str]) -> set[str]:
    """The distributions of modules that these requirements do not install."""
    there = {name_of(each) for each in requirements}
    needed = {distribution_of(module) for module in modules} - OF_ONE_S_OWN
    return {name for name in needed - there if brought.get(name) not in there}


@pytest.mark.parametrize("extra", ["", *sorted({*EXTRA_OF.values()})])
def test_what_an_extra_is_for_imports_nothing_that_it_does_not_install(
    declared: dict[str, Any], extra: str
) -> None:
    """The checkout's tests have every extra, so a missing requirement shows at a user's first."""
    rooms = [PACKAGE / place for place, needed in EXTRA_OF.items() if needed == extra]
    assert all(room.exists() for room in rooms)
    others = [PACKAGE / place for place in EXTRA_OF]

    def belongs(file: Path) -> bool:
        within = others if extra == "" else rooms
        return any(file == room or room in file.parents for room in within) == (extra != "")

    modules = {module for file in FILES if belongs(file) for module in third_party(parse(file))}
    assert modules
    brought = BROUGHT_BY | (BROUGHT_TO_SEARCH if extra == "search" else {})
    requirements = [*declared["install_requires"], *declared["extras_require"].get(extra, [])]
    assert missing_of(modules, requirements, brought) == set()
