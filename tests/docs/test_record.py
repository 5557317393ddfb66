"""The record keeps every figure that the pages had before they were moved into it."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from documents import ROOT, name_of, pages

BEFORE = "1eb7fcb6a7afc371ceb1ea4d05f649a7440d45c2"  # the last commit before the move
MOVED = ("report/choices.md", "report/paper_systems.md", "results.md")  # below docs/
FIGURE = re.compile(r"\d[\d,]*\.\d+")
RECORD = ROOT / "benchmarks" / "record"
pytestmark = pytest.mark.skipif(not RECORD.is_dir(), reason="the record lies in a checkout only")


def before(*arguments: str) -> str:
    """What git says about the commit before the move."""
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60
        )
    except FileNotFoundError:
        pytest.skip("git is not installed")
    if done.returncode:
        pytest.skip(f"the commit before the move is not in this history: {done.stderr.strip()}")
    return done.stdout


def figures(text: str) -> Counter[str]:
    return Counter(FIGURE.findall(text))


@pytest.mark.parametrize("page", MOVED)
def test_the_record_has_each_figure_as_often_as_the_page_that_was_moved(page: str) -> None:
    """A result that nobody can read any more cannot be held against a later claim."""
    old = figures(before("show", f"{BEFORE}:docs/{page}"))
    assert sum(old.values()) > 60
    assert old - figures((RECORD / Path(page).name).read_text(encoding="utf-8")) == Counter()


def test_a_figure_of_any_page_stands_in_the_record_or_in_the_pages() -> None:
    """Pages become shorter, and what they leave out has to stand somewhere."""
    listed = before("ls-tree", "-r", "--name-only", BEFORE, "docs").split()
    old = [before("show", f"{BEFORE}:{page}") for page in listed if page.endswith(".md")]
    now = "\n".join(page.read_text(encoding="utf-8") for page in pages())
    assert figures("\n".join(old)).keys() - figures(now).keys() == set()


@pytest.mark.parametrize("page", sorted(RECORD.glob("*.md")), ids=name_of)
def test_lines_of_the_record_can_be_compared(page: Path) -> None:
    """A line of two thousand characters hides what was changed in it."""
    assert [line for line in page.read_text(encoding="utf-8").splitlines() if len(line) > 300] == []
