"""Every command of the documents is run, or read by its own parser: none is neither.

`test_sessions.py` runs those of the pages that a reader follows from top to bottom.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path

import pytest
from checks import check
from documents import INLINE, ROOT, Command, commands, name_of, pages

from recbole_tinynews.__main__ import COMMANDS
from recbole_tinynews.convert.__main__ import main
from recbole_tinynews.settings.literals import packaged_folder
from recbole_tinynews.settings.table import NAMES, parse_key

pytestmark = pytest.mark.skipif(
    not (ROOT / "README.md").is_file(), reason="documents lie in a checkout only"
)
ALL = {command.text: command for page in pages() for command in commands(page)}


@pytest.mark.parametrize("command", ALL.values(), ids=str)
def test_a_command_has_nothing_that_its_program_refuses(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A setting that was renamed would stay in the documents until a reader met it."""
    check(command, tmp_path, monkeypatch)


@pytest.mark.parametrize(
    "text",
    [
        "python run_recbole.py --model=TinyNewsRec --epochz=2",
        "python run_recbole.py --model=PLMNR --head_init=none",
        "python run_benchmark.py --suite=papers",
        "python -m recbole_tinynews.convert --train=DIR --dataset=NAME --on-error=ignore",
        "python benchmarks/encode.py --date=DIR",
        "python no_such_file.py",
        "recbole-tinynews trian --model=PLMNR",
        "torchrun --processes=2 run_recbole.py",
        'pip install -e ".[tests]"',
        "make chek",
        "conda install recbole",
    ],
)
def test_a_wrong_command_is_found(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tests these tests: each has one mistake."""
    with pytest.raises((AssertionError, SystemExit)):
        check(Command("README.md", text), tmp_path, monkeypatch)


def test_every_command_stands_in_the_reference() -> None:
    """One that is not listed is found by accident."""
    page = (ROOT / "docs" / "reference" / "commands.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", page, re.M) == [*COMMANDS]


@cache
def flags_of_programs() -> set[str]:
    """Every flag that a parser of the package, a tool, an example or a benchmark has."""
    folders = ("recbole_tinynews", "tools", "examples")
    files = [file for folder in folders for file in (ROOT / folder).rglob("*.py")]
    files += (ROOT / "benchmarks").glob("*.py")
    found = {flag for file in files for flag in re.findall(r'"--([\w-]+)', file.read_text())}
    found |= {flag.replace("_", "-") for flag in found}  # of the generator: named after its fields
    return found | {"nproc_per_node"}


@cache
def settings_and_stages() -> tuple[set[str], list[str]]:
    properties = packaged_folder("properties")
    files = properties.rglob("*.yaml")
    declared = {name for f in files for name in re.findall(r"^([\w-]+):", f.read_text(), re.M)}
    stages = [file.stem for file in (properties / "stage").glob("*.yaml")]
    return declared | NAMES, stages


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_a_flag_in_a_sentence_exists(page: Path) -> None:
    """A table of what to say is the first place that is read, and the last that is tried."""
    settings, stages = settings_and_stages()
    of_their_own = set(re.findall(r"^([\w]+):.*# \(", page.read_text(encoding="utf-8"), re.M))
    stages = stages + re.findall(r"^# stage/(\w+)\.yaml$", page.read_text(encoding="utf-8"), re.M)
    known = (
        settings
        | flags_of_programs()
        | of_their_own
        | {"help", "no-deps", "no-warn-conflicts", "override"}
    )
    said = [
        flag for code in INLINE.findall(page.read_text(encoding="utf-8")) for flag in _flags(code)
    ]
    assert [flag for flag in said if parse_key(flag, stages).name not in known] == []


def _flags(code: str) -> list[str]:
    if not code.startswith("--"):
        return []
    return [flag for flag in re.findall(r"--([\w-]+)", code) if flag not in ("key", "name")]


def test_the_ten_lines_of_a_readers_own_become_a_data_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is what a reader copies to see whether the format fits."""
    monkeypatch.chdir(tmp_path)
    page = ROOT / "docs" / "data.md"
    [table] = re.findall(r"^```csv\n(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S)
    Path("clicks.csv").write_text(table, encoding="utf-8")
    [command] = [each for each in commands(page) if "--train=clicks.csv" in each.text]
    assert main(command.words[2:]) == 0
    report = json.loads(Path("dataset/clicks/clicks.report.json").read_text())
    parts = report["impressions"]
    assert {name: part["impressions"] for name, part in parts.items()} == {"train": 6, "valid": 4}
    assert report["items"] == report["news"]["distinct"] == 4
    assert report["sampled_candidates"]["impressions"] == 10
