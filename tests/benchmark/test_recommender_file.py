from __future__ import annotations

import sys
from pathlib import Path

import pytest

from recbole_tinynews.benchmark.recommender_file import model_class_of
from recbole_tinynews.model.paper.plmnr import PLMNR

TEXT = "from recbole_tinynews.model.paper.plmnr import PLMNR\n\nclass Ours(PLMNR):\n    pass\n"


def test_a_class_in_a_file_is_found_once(tmp_path: Path) -> None:
    """Loaded twice it would be two classes, with two fingerprints for the same code."""
    path = tmp_path / "once_only_file.py"
    path.write_text(TEXT)
    cls = model_class_of(f"+{path}:Ours")
    assert issubclass(cls, PLMNR)
    assert cls is model_class_of(f"+{path}:Ours")
    assert model_class_of("PLMNR") is PLMNR


@pytest.mark.parametrize(
    ("name", "text", "asked", "message"),
    [
        ("no_class_file", TEXT, "Theirs", "has no class 'Theirs'. It has .*Ours"),
        ("no_model_file", "class Ours:\n    pass\n", "Ours", "AbstractRecommender"),
        ("broken_file", "import nothing_of_this_name\n", "Ours", "can't be imported"),
        ("json", TEXT, "Ours", "name of another module"),
    ],
)
def test_a_file_that_gives_no_recommender_says_why(tmp_path, name, text, asked, message) -> None:
    path = tmp_path / f"{name}.py"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        model_class_of(f"+{path}:{asked}")
    assert "broken_file" not in sys.modules


@pytest.mark.parametrize("spec", ["+mine.py", "+mine:Mine", "+mine.py:"])
def test_an_incomplete_name_is_answered_with_the_right_form(spec: str) -> None:
    with pytest.raises(ValueError, match=r"written \+path/to/file.py:Class"):
        model_class_of(spec)
