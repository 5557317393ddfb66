from __future__ import annotations

from pathlib import Path

import pytest
from served import Served

DOCS = Path(__file__).parents[2] / "docs" / "serving.md"


@pytest.mark.skipif(not DOCS.is_file(), reason="docs/ lies in a checkout only")
def test_the_code_in_the_docs_runs(student: Served) -> None:
    """A call that the package renames would be missed by every other test."""
    section = DOCS.read_text(encoding="utf-8").partition("## In Python")[2]
    code = section.partition("```python")[2].partition("```")[0]
    known: dict[str, object] = {"folder": student.artifact.folder}
    exec(compile(code, str(DOCS), "exec"), known)
    assert known["recommender"].news_ids == ("A1", "A2", "A3")  # type: ignore[attr-defined]
