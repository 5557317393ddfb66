from __future__ import annotations

from pathlib import Path

import pytest
from served import Served, serve
from tiny import Tiny

DOCS = Path(__file__).parents[2] / "docs"
pytestmark = pytest.mark.skipif(not DOCS.is_dir(), reason="docs/ lies in a checkout only")


def run_python(page: str, section: str, served: Served) -> dict[str, object]:
    """The first Python of a section, with ``folder`` that of a finished recommender."""
    text = (DOCS / page).read_text(encoding="utf-8").partition(f"## {section}")[2]
    code = text.partition("```python")[2].partition("```")[0]
    known: dict[str, object] = {"folder": served.artifact.folder}
    exec(compile(code, page, "exec"), known)
    return known


def test_the_code_in_the_docs_runs(student: Served) -> None:
    """A call that the package renames would be missed by every other test."""
    known = run_python("serving.md", "In Python", student)
    assert known["recommender"].news_ids == ("A1", "A2", "A3")  # type: ignore[attr-defined]


def test_the_code_about_live_counters_runs(tiny: Tiny) -> None:
    """The event of the page must be one that counts."""
    served = serve(tiny, max_steps=2, popularity="added")
    known = run_python("tutorials/live_counters.md", "In Python", served)
    again = known["recommender"].add_events([known["event"]])  # type: ignore[attr-defined]
    assert (again.counted, again.repeated) == (0, 1)
