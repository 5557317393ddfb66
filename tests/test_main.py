"""The commands of an installed package, each in a process of its own, as a shell starts it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from recbole_tinynews import __version__
from recbole_tinynews.__main__ import COMMANDS

MAIN = "from recbole_tinynews.__main__ import main; main()"
HEAVY = ("torch", "transformers", "recbole", "pandas", "sklearn", "scipy", "matplotlib")
LISTED = f"[name for name in {HEAVY} if name in sys.modules]"
# says at its end which of them were imported
TOLD = f"import atexit, sys; atexit.register(lambda: print({LISTED})); {MAIN}"
WITHOUT = """
import sys

class Missing:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == {!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing)
"""


def shell(code: str, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=120
    )


@pytest.mark.whole
def test_ranking_imports_neither_trainers_nor_evaluators() -> None:
    """They cost a sixth of what README's first script takes."""
    names = ("recbole.trainer", "recbole.evaluator", "recbole_tinynews.trainer")
    code = f"import sys, recbole_tinynews as r; r.load; print({{*{names}}} & {{*sys.modules}})"
    assert shell(code).stdout == "set()\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_there_without_what_takes_seconds_to_import(command) -> None:
    """It took 7 to 12 seconds as long as torch, transformers and RecBole were imported first."""
    done = shell(TOLD, command, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith("usage: ")
    imported = {"convert": "['pandas']"}.get(command, "[]")  # it reads tables, half a second
    assert done.stdout.splitlines()[-1] in (imported, "[]")


def test_without_a_command_they_are_listed() -> None:
    done = shell(MAIN)
    assert done.returncode == 0
    assert all(f"  {name} " in done.stdout for name in COMMANDS)
    assert len(done.stdout.splitlines()) <= 24  # the height of a terminal


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["benchmrk"], "Did you mean benchmark?"),
        (["--list-models"], "Did you mean recbole-tinynews run --list-models?"),
        (["--model=PLMNR", "--epochs=1"], "recbole-tinynews run --model=PLMNR --epochs=1?"),
    ],
)
def test_an_unknown_command_is_answered_with_the_right_one(arguments: list[str], hint: str) -> None:
    """A list of commands does not say which of them has the flag."""
    done = shell(MAIN, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert hint in done.stderr
    assert all(f"  {name} " in done.stderr for name in COMMANDS)


@pytest.mark.parametrize("command", [[], ["run"], ["serve"]])  # all have one parser
def test_every_command_has_a_version(command: list[str]) -> None:
    done = shell(MAIN, *command, "--version")
    assert (done.returncode, done.stdout) == (0, f"{__version__}\n")


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["--learnin_rate=9"], "learnin_rate (command line) is no setting. Did you mean learning_"),
        (["--model=TinyNewRec"], "Did you mean TinyNewsRec"),
        (["--model=SASRec", "--n_layers=-1"], "n_layers (command line) expects an int >= 0"),
        (["--worker=1000"], "worker (command line) expects an int from 0 to"),
    ],
)
def test_a_wrong_name_or_value_is_reported_before_torch_is_imported(
    arguments: list[str], answer: str
) -> None:
    """It took 7 to 9 seconds to learn of a misspelt name."""
    done = shell(TOLD, "run", *arguments)
    assert (done.returncode, done.stdout) == (1, "[]\n")
    assert done.stderr.startswith("recbole-tinynews run: ")
    assert (answer in done.stderr, "Traceback" in done.stderr) == (True, False)


@pytest.mark.parametrize(
    ("package", "asked", "install"),
    [
        ("recbole", ["run", "--model=PLMNR"], "pip install --no-deps recbole==1.2.1"),
        ("recbole", ["run", "--list-models"], "pip install --no-deps recbole==1.2.1"),
        ("optuna", ["search"], "[search]"),
    ],
)
def test_a_missing_package_is_named_with_the_command_that_installs_it(
    package: str, asked: list[str], install: str
) -> None:
    """From Python 3.12 on pip can't install RecBole as a dependency, and optuna is an extra."""
    done = shell(f"{WITHOUT.format(package)}\n{MAIN}", *asked)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert install in done.stderr


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ([], "usage: recbole-tinynews run"),  # it trained the four stages of Tiny-NewsRec
        (["--list-models"], " LightGCN,"),
        (["--list-settings"], "  epochs = "),
        (["--list-settings=TinyNewsRec"], "  post_train_teacher_epochs = 1  (int) "),
        (["--model=SASRec", "--list-settings"], "  hidden_size "),
        (["--explain", "learning_rate"], "effect      A stage may differ."),
    ],
)
def test_models_and_settings_are_told_without_data_and_without_what_takes_seconds(
    asked: list[str], told: str
) -> None:
    """Whoever looks up a name waited for torch, and needed a data set."""
    done = shell(TOLD, "run", *asked)
    assert (done.returncode, done.stderr) == (0, "")
    assert told in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.long
@pytest.mark.whole
def test_several_processes_start_by_every_spelling_of_the_command() -> None:
    """As ``__main__``, the command's own check could not be sent to the process that makes it."""
    done = shell(MAIN, "run", "--nproc=2", "--model=NPA", "--data_path=nowhere")
    assert "Traceback" not in done.stderr
    assert "nowhere" in done.stderr
