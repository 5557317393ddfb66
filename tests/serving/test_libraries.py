"""Optional libraries that are not installed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from recbole_tinynews.files.installation import library
from recbole_tinynews.serving.article_index import read_news_file
from recbole_tinynews.serving.score import score


@pytest.mark.parametrize(
    ("missing", "use", "remedy"),
    [
        (
            "pyarrow",
            lambda: score("student", "news.csv", "users.parquet", "out.csv"),
            "pip install pyarrow",
        ),
        (
            "pyarrow",
            lambda: read_news_file(Path(__file__).parent / "news.parquet"),
            "pip install pyarrow. Csv files need nothing more.",
        ),
        ("onnx", lambda: library("onnx", "--to=onnx"), r"pip install .*\[export\]"),
    ],
)
def test_a_missing_library_is_answered_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, missing: str, use: Callable[[], object], remedy: str
) -> None:
    """An import error of a package that was never named leaves a user searching for it."""
    monkeypatch.setattr(Path, "is_file", lambda _: True)
    for name in [each for each in sys.modules if each.partition(".")[0] == missing]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ModuleNotFoundError, match=f"expects {missing}, .*{remedy}") as told:
        use()
    assert str(told.value.name).partition(".")[0] == missing  # `serve` looks at it
