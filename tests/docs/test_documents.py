"""Links, snippets, and the first screen of the README."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest
import yaml
from documents import FENCE, ROOT, Block, anchors, blocks, links, name_of, pages

pytestmark = pytest.mark.skipif(
    not (ROOT / "README.md").is_file(), reason="documents lie in a checkout only"
)
# pages whose Python other tests run, or `test_sessions.py` does
RUN_BY = {
    "docs/install.md": "tests/recbole_models/test_entry_points.py",
    "docs/extending.md": "tests/test_extending.py",
    "docs/serving.md": "tests/serving/test_docs.py",
    "docs/tutorials/live_counters.md": "tests/serving/test_docs.py",
    **dict.fromkeys(
        (
            "README.md",
            "docs/tutorials/mind.md",
            "docs/tutorials/own_data.md",
            "docs/tutorials/own_recommender.md",
            "docs/tutorials/own_distillation.md",
        ),
        "tests/docs/test_sessions.py",
    ),
}
# pages whose Python needs an engine, or hours: it is compiled, and what it imports must exist
NAMED = re.compile(r"((?:docs|benchmarks/record)/[\w/]+\.md)(, (?:section )?(\d+))?")
COMPILED = (
    *("docs/item_text.md", "docs/scale.md", "docs/search.md", "docs/updates.md"),
    *("docs/concepts/systems.md", "docs/teacher_vectors.md"),
)
SNIPPETS = [block for page in pages() for block in blocks(page, "python")]


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_a_link_leads_somewhere(page: Path) -> None:
    """In the repository; for the site, mkdocs looks at them again."""
    broken = []
    for link in links(page):
        place, _, part = link.partition("#")
        target = (page.parent / place).resolve() if place else page
        if not target.is_file() or (part and part not in anchors(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_prose_wraps_at_110_columns(page: Path) -> None:
    """Longer lines cannot be read in a terminal or compared side by side."""
    prose = FENCE.sub("", page.read_text(encoding="utf-8")).splitlines()
    breakable = [
        line for line in prose if not line.startswith(("|", "    ")) and " " in line.strip("- ")
    ]
    assert [line for line in breakable if len(line) > 110] == []


def test_code_and_settings_name_pages_and_sections_that_exist() -> None:
    """Formulas are on the pages alone; a comment that leads nowhere leaves a reader without."""
    folders = ("recbole_tinynews", "properties", "benchmarks", "dataset", "tests", "docs/hooks")
    files = [
        file
        for folder in folders
        for kind in ("*.py", "*.yaml")
        for file in (ROOT / folder).rglob(kind)
        if file != Path(__file__)
    ]
    lost = []
    for file in files:
        for page, _, section in NAMED.findall(file.read_text(encoding="utf-8")):
            named = ROOT / page
            text = named.read_text(encoding="utf-8") if named.is_file() else ""
            if not text or (section and f"\n## {section}. " not in text):
                lost.append(f"{file.relative_to(ROOT)}: {page}, section {section}")
    assert lost == []


@pytest.mark.parametrize("block", SNIPPETS, ids=lambda block: block.page)
def test_python_is_run_or_compiled(block: Block) -> None:
    """A page with new Python has to say here which test runs it."""
    tree = ast.parse(block.text)
    if block.page in RUN_BY:
        test = (ROOT / RUN_BY[block.page]).read_text(encoding="utf-8")
        assert Path(block.page).name in test
        saved_by_session = RUN_BY[block.page] == "tests/docs/test_sessions.py"
        assert saved_by_session or (block.file or "") in test  # a test of a page with several
        return
    assert block.page in COMPILED, f"no test runs the Python of {block.page}"
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module)
            assert all(hasattr(module, each.name) for each in node.names)


@pytest.mark.parametrize(
    "block", [b for page in pages() for b in blocks(page, "yaml")], ids=lambda block: block.page
)
def test_yaml_can_be_read(block: Block) -> None:
    assert isinstance(yaml.safe_load(block.text), dict)


def test_contributing_names_every_room() -> None:
    """Whoever looks for the place of a change reads this tree first."""
    tree = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rooms = [file.parent.name for file in (ROOT / "recbole_tinynews").glob("*/__init__.py")]
    assert [room for room in rooms if f"      {room}/ " not in tree] == []


def test_the_readme_is_short_and_says_what_is_not_shown() -> None:
    """A table without it, or without untrained rows, would be read as more than it is."""
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert len(text.split()) <= 900
    assert len(re.findall(r"(?<![\w.])\d+\.\d+(?![\w.])", text)) <= 30
    assert "most clicked in 24 hours" in text
    assert "an untrained language model" in text
    assert "**What is not shown**" in text
    assert "no lead over a logistic regression on untrained vectors is shown" in text
    assert "after seeing results on these test sets" in text


def test_the_system_that_is_shown_is_the_packages() -> None:
    """A reader takes it for the code, and looks there for the others."""
    [shown] = blocks(ROOT / "docs" / "concepts" / "systems.md", "python")
    assert shown.text in (ROOT / "recbole_tinynews/pipeline/systems.py").read_text(encoding="utf-8")
