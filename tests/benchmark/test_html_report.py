"""``report.html``: read by a parser, and used in a real browser."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from benchmark_rows import keep, system
from browser import installed_browser

from recbole_tinynews.benchmark.report import write_report
from recbole_tinynews.benchmark.results import Report
from recbole_tinynews.benchmark.suite import Published, Suite

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

HOSTILE = '<img src=x onerror="window.hacked=1">"><script>window.hacked=2</script>&amp;'
LOADING = {"src", "href", "srcset", "data", "action", "poster", "background"}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a benchmark: two measured systems, one of a hostile name, one not run."""
    tmp_path = tmp_path_factory.mktemp("report")
    cells = {"ndcg@10": 0.4, "parameters": 2e7, "news_per_second": 1234.5, "seconds": 61.0}
    cells |= {"settings": "0123456789ab", "device": HOSTILE, "threads": 2, "precision": "float32"}
    one, other = (
        {1: keep(tmp_path, name, values)}
        for name, values in (("a", ["0.4", "0.7", "0.5"]), ("b", ["0.3", "0.6", "0.6"]))
    )
    measured = {**cells, "news_per_second": 9.5, "environment": "torch 9.9"}
    systems = [
        system(
            "PLM-NR_2",
            *({"auc": auc, **cells} for auc in (0.55, 0.57)),
            **{"group": "one", "layers": 2, "impressions": one},
        ),
        system("PLM-NR_12", {"auc": 0.6, **cells, "parameters": 1e8}, group="two", layers=12),
        system(HOSTILE, {"auc": 0.5, **measured}, group="two", impressions=other),
        system("Absent", why_not=f"no such model {HOSTILE}", group="two"),
    ]
    suite = Suite(
        name="few",
        rows=[each.row for each in systems],
        settings={"head_init": HOSTILE},
        seeds=[1, 2],
        reference="PLM-NR_2",
        comparisons=[(HOSTILE, "PLM-NR_2")],
        folder="x",
        figures={"size": ["PLM-NR_2", "PLM-NR_12"]},
        published=Published(),
    )
    output = tmp_path / "out"
    write_report(output, Report(suite, HOSTILE, [1, 2], systems))
    return output / "report.html"


class Read(HTMLParser):
    """What a page holds: its tags, the texts of its tables, and what is not closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.texts.append(data)


def test_the_page_is_one_file_that_loads_nothing_and_runs_its_own_script_alone(
    report: Path,
) -> None:
    """Offline, or mailed to a reviewer, it would lack its figures; a label could run code."""
    page = report.read_text(encoding="utf-8")
    read = Read(page)
    assert read.open == []
    targets = [value for _, each in read.tags for name, value in each.items() if name in LOADING]
    assert targets
    assert all(target.startswith(("data:image/svg+xml;base64,", "#")) for target in targets)
    assert [tag for tag, _ in read.tags].count("script") == 1
    assert not any(name.startswith("on") for _, each in read.tags for name in each)
    assert "url(" not in page
    assert "@import" not in page
    (policy,) = [each["content"] for tag, each in read.tags if "http-equiv" in each]
    for tag in ("style", "script"):
        (text,) = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.S)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_what_comes_from_outside_is_text_wherever_it_stands(report: Path) -> None:
    """A label of another one's suite must not become a tag of the page."""
    read = Read(report.read_text(encoding="utf-8"))
    assert read.texts.count(HOSTILE) >= 5  # tables of results, speed, tests, settings
    assert any(f"Benchmark on {HOSTILE}" in text for text in read.texts)
    assert any(f"no such model {HOSTILE}" in text for text in read.texts)
    assert any(text.startswith(f"{HOSTILE}, threads 2") for text in read.texts)
    assert [each for tag, each in read.tags if tag == "img" and "onerror" in each] == []


def test_every_part_of_a_benchmark_is_there_and_named(report: Path) -> None:
    """A screen reader finds tables and figures by their names."""
    read = Read(report.read_text(encoding="utf-8"))
    sections = ["Results", "Figures", "Significance", "Speed", "History and hour", "Settings"]
    sections.append("Environment")
    ids = [each.get("id") for tag, each in read.tags if tag == "h2"]
    assert ids == [name.lower().replace(" ", "-") for name in sections]
    links = [each["href"] for tag, each in read.tags if tag == "a"]
    assert links == [f"#{each}" for each in ids]
    for expected in ("56.00 ± 1.41", "0123456789ab", "torch 9.9", "not recorded", "1,234"):
        assert any(expected in text for text in read.texts), expected
    (image,) = [each for tag, each in read.tags if tag == "img"]
    assert image["alt"] == "AUC of each system against its number of parameters."
    svg = base64.b64decode(str(image["src"]).partition(",")[2])
    assert svg == (report.parent / "size.svg").read_bytes()
    assert [tag for tag, _ in read.tags].count("caption") == [tag for tag, _ in read.tags].count(
        "table"
    )
    assert all(each.get("scope") in ("col", "row") for tag, each in read.tags if tag == "th")


# ----------------------------------------------------------------------- in a browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with installed_browser() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, report: Path) -> Iterator[Page]:
    """The page, opened from the disk; a test fails if the browser complained."""
    complaints: list[str] = []
    context = browser.new_context(viewport={"width": 1000, "height": 800}, offline=True)
    page = context.new_page()
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda told: complaints.append(told.text))
    page.on("request", lambda asked: complaints.append(asked.url) if _is_foreign(asked) else None)
    page.goto(report.as_uri())
    yield page
    assert page.evaluate("window.hacked") is None
    context.close()
    assert complaints == []


def _is_foreign(request) -> bool:
    return not request.url.startswith(("file:", "data:"))


def column(page: Page, place: int) -> list[str]:
    return page.eval_on_selector_all(
        "table >> nth=0 >> tbody tr", f"rows => rows.map(r => r.cells[{place}]?.textContent ?? '')"
    )


@pytest.mark.whole
def test_a_click_on_a_head_sorts_by_numbers_and_a_third_one_restores(page: Page) -> None:
    """As text 9.5 would come after 1,234, and the first order could not be had again."""
    first = column(page, 0)
    assert first == ["PLM-NR_2", "PLM-NR_12", HOSTILE, "Absent"]
    button = page.get_by_role("button", name="News (1/s)").first
    place = [*page.locator("table").first.locator("thead th").all_inner_texts()].index("News (1/s)")
    head = page.locator("table").first.locator("thead th").nth(place)
    button.click()
    assert head.get_attribute("aria-sort") == "descending"
    assert column(page, place) == ["1,234", "1,234", "10", ""]  # not run: last
    button.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    assert column(page, place) == ["10", "1,234", "1,234", ""]
    button.press("Enter")
    assert head.get_attribute("aria-sort") is None
    assert column(page, 0) == first


@pytest.mark.whole
def test_names_sort_as_people_count(page: Page) -> None:
    page.get_by_role("button", name="System").first.click()
    names = [name for name in column(page, 0) if name.startswith("PLM")]
    assert names == ["PLM-NR_2", "PLM-NR_12"]


@pytest.mark.whole
def test_the_figure_is_drawn_and_dark_mode_is_dark(page: Page) -> None:
    """A policy that forbids the image leaves an empty frame."""
    assert page.locator("figure img").evaluate("image => image.naturalWidth") > 100
    colour = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(colour)
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(colour) != light == "rgb(255, 255, 255)"


@pytest.mark.whole
def test_a_narrow_screen_scrolls_tables_and_not_the_page(page: Page) -> None:
    page.set_viewport_size({"width": 380, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth") <= 380
