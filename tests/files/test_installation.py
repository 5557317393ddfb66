"""What messages and docs say to install the package from."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from recbole_tinynews.data.atomic_files import read_news_file
from recbole_tinynews.files import installation as installing
from recbole_tinynews.files.installation import pip_install
from recbole_tinynews.serving.score import score

ROOT = Path(__file__).parents[2]
# Tests name the phrase; the changelog and the record tell what was.
PLACES = ("recbole_tinynews", "docs", "properties", "benchmarks", "README.md", "dataset")
READ = {".py", ".md", ".yaml", ".yml", ".html", ".js"}


def test_no_page_or_message_names_an_index_that_lacks_the_package() -> None:
    """``pip install recbole-tinynews`` finds nothing, or some day another's package."""
    named = []
    for place in PLACES:
        files = [ROOT / place] if (ROOT / place).is_file() else (ROOT / place).rglob("*")
        for file in files:
            if file.suffix in READ and "report" not in file.relative_to(ROOT).parts:
                text = file.read_text(encoding="utf-8")
                for found in re.findall(r"pip install\b[^\n`]*recbole-tinynews[^\n`]*", text):
                    if " @ " not in found:
                        named.append(f"{file.relative_to(ROOT)}: {found}")
    assert named == []


def test_the_command_names_the_checkout_or_the_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installing, "_PACKAGE", tmp_path / "package")
    assert re.fullmatch(r'pip install "recbole_tinynews-[0-9.]+-py3-none-any\.whl"', pip_install())
    (tmp_path / "setup.py").touch()
    assert pip_install("serve", "postgres") == 'pip install -e ".[serve,postgres]"'


@pytest.mark.parametrize(
    "use",
    [
        lambda: score("student", "news.csv", "users.parquet", "out.csv"),
        lambda: read_news_file(Path("news.parquet")),
    ],
)
def test_a_missing_library_is_answered_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, use: Callable[[], object]
) -> None:
    """An import error of a package that was never named leaves a user searching for it."""
    monkeypatch.setattr(Path, "is_file", lambda _: True)
    for name in [each for each in sys.modules if each.partition(".")[0] == "pyarrow"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(
        ModuleNotFoundError, match=r"needs pyarrow, .*pip install .*\[parquet\]"
    ) as told:
        use()
    assert str(told.value.name).partition(".")[0] == "pyarrow"  # `serve` looks at it
