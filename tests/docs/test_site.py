"""The site as it is built: what a reader without the repository and without a network sees."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from documents import ROOT

from recbole_tinynews.files.whole import exclusive_lock

pytest.importorskip("mkdocs")
pytest.importorskip("material")
pytest.importorskip("mkdocstrings")
pytestmark = [
    pytest.mark.long,
    pytest.mark.whole,
    pytest.mark.skipif(not (ROOT / "mkdocs.yml").is_file(), reason="lies in a checkout only"),
]
DECLARATION = re.compile(r"^([a-z]\w*):.*# \((?:int|float|bool|str|list|dict|auto)", re.M)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built with every warning an error, broken links among them; once, for all processes."""
    alone = "PYTEST_XDIST_WORKER" not in os.environ
    base = tmp_path_factory.getbasetemp()
    folder = (base if alone else base.parent) / "site"
    with exclusive_lock(folder, "building the site"):
        return folder if folder.is_dir() else built(folder)


def built(folder: Path) -> Path:
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet"]
    begun = folder.with_name("begun")
    done = subprocess.run(
        [*build, "--site-dir", str(begun)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return begun.rename(folder)


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    """Without a network, a font or a script from elsewhere lets each page wait and look broken."""
    fetched = re.compile(r'<(?:script|img|link|iframe)\b[^>]*\b(?:src|href)="(?:https?:)?//[^"]*"')
    found = {
        link for page in site.rglob("*.html") for link in fetched.findall(page.read_text("utf-8"))
    }
    assert found == set()


def test_every_setting_has_a_part_of_its_own(site: Path) -> None:
    """A setting that the reference lacks is found by reading the code alone."""
    page = (site / "reference" / "settings.html").read_text("utf-8")
    files = [*(ROOT / "properties").glob("*.yaml"), *(ROOT / "properties/model").glob("*.yaml")]
    files += (ROOT / "properties" / "stage").glob("*.yaml")
    files += (ROOT / "recbole_tinynews" / "zoo").glob("*.yaml")
    stages = [file.stem for file in (ROOT / "properties" / "stage").glob("*.yaml")]
    names = {name for file in files for name in DECLARATION.findall(file.read_text("utf-8"))}
    plain = {re.sub(f"^({'|'.join(stages)})_", "", name) for name in names}
    assert len(plain) > 60
    assert {name for name in plain if f'<h3 id="{name}">' not in page} == set()


def test_every_module_is_on_a_page(site: Path) -> None:
    """A room that is new has to be there without anybody's help."""
    pages = "".join(page.read_text("utf-8") for page in (site / "reference/rooms").glob("*.html"))
    package = ROOT / "recbole_tinynews"
    files = [file for file in package.glob("*/**/*.py") if file.name[0] != "_"]
    modules = {".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files}
    assert {name for name in modules if f'id="{name}"' not in pages} == set()


def test_what_the_package_exports_is_in_the_api(site: Path) -> None:
    import recbole_tinynews

    page = (site / "reference" / "api.html").read_text("utf-8")
    exported = recbole_tinynews._HOMES
    objects = {f"recbole_tinynews.{home}.{name}" for name, home in exported.items()}
    assert {name for name in objects if f'id="{name}"' not in page} == set()


def test_linked_files_of_the_repository_are_pages(site: Path) -> None:
    """A reader of the site has no repository, and a table of results is half of the evidence."""
    start = (site / "index.html").read_text("utf-8")
    results = (site / "results.html").read_text("utf-8")
    assert 'href="repository/benchmarks/record/performance.html"' in start
    assert 'src="repository/benchmarks/results/ebnerd/size.png"' in results
    assert 'src="images/pipeline.svg"' in start
    assert (site / "repository/benchmarks/results/ebnerd/size.png").is_file()
    table = (site / "repository/benchmarks/results/ebnerd/table.html").read_text("utf-8")
    assert "<td>Tiny-NewsRec_4</td>" in table
    assert (site / "repository/properties/overall.yaml.html").is_file()
