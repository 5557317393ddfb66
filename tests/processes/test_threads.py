from __future__ import annotations

import gc
import os
import subprocess
import sys

import pytest

from recbole_tinynews.cli import command_parser

COMMANDS = (
    *("benchmark.benchmark_command", "search.search_command", "pipeline.update"),
    *("pipeline.aligned_student", "serving.score", "serving.serve", "export.export_command"),
)
VARIABLES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
PROGRAM = """
import importlib, os, sys
for name in sys.argv[1:]:
    os.environ.pop("GOMP_SPINCOUNT", None)
    try:
        importlib.import_module(f"recbole_tinynews.{name}").main(["--version"])
    except SystemExit:
        pass
    assert os.environ["GOMP_SPINCOUNT"], name
assert "torch" not in sys.modules
"""


def test_every_command_sets_how_threads_wait_before_torch_starts() -> None:
    """Spinning threads beside one busy process took 1.5 minutes of training to over 10."""
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    program = [sys.executable, "-c", PROGRAM, *COMMANDS]
    subprocess.run(program, env=environment, check=True, capture_output=True)


@pytest.mark.parametrize("name", VARIABLES)
def test_a_users_own_way_of_waiting_is_kept(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Only the user knows whether the machine is shared."""
    for each in VARIABLES:
        monkeypatch.delenv(each, raising=False)
    monkeypatch.setenv(name, "5")
    command_parser()
    assert {each: os.environ[each] for each in VARIABLES if each in os.environ} == {name: "5"}


def test_garbage_is_looked_for_again_after_slow_imports() -> None:
    """Memory would grow through a training; ``conftest.py`` imports all of this by it."""
    assert gc.isenabled()
    assert gc.get_freeze_count()
