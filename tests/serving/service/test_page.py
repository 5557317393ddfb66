"""The page in a real browser: headless Chromium, driven by Playwright."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from browser import installed_browser
from served import as_fields, running, serve, state_of
from tiny import Tiny, titles

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

    from recbole_tinynews.serving.ranker import Ranker

    Rankers = dict[str, Ranker]

pytestmark = pytest.mark.whole

HOSTILE = '<img src=x onerror="window.hacked = 1"><script>window.hacked = 2</script> & "quoted"'
SECONDS = 20  # before a test gives up on what it waits for


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with installed_browser() as browser:
        yield browser


@contextmanager
def site_of(rankers: Rankers) -> Iterator[str]:
    """The address of a running service."""
    with running(state_of(rankers)) as (host, port):
        yield f"http://{host}:{port}"


@pytest.fixture
def site(rankers: Rankers) -> Iterator[str]:
    for ranker in rankers.values():
        ranker.add_news({"hostile": HOSTILE, "untitled": ""})
    with site_of(rankers) as address:
        yield address


@pytest.fixture
def complaints() -> list[str]:
    """What the browser's console said, and requests to other servers."""
    return []


@pytest.fixture
def page(browser: Browser, site: str, complaints: list[str]) -> Iterator[Page]:
    """The page after it has started; a test fails if the browser complained."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(SECONDS * 1_000)
    own = site, "data:"
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda told: told.type == "error" and complaints.append(told.text))
    page.on("request", lambda asked: asked.url.startswith(own) or complaints.append(asked.url))
    page.goto(site)
    page.wait_for_selector("#empty:not([hidden])")
    yield page
    page.close()
    assert complaints == []


def pick(page: Page, text: str, field: str = "clicks") -> None:
    """Type a title, or an id, wait for what is found, and take the first."""
    page.fill(f"#{field}-input", text)
    page.wait_for_selector(f"#{field}-options .option[aria-selected=true]")
    page.press(f"#{field}-input", "Enter")


def own(page: Page, title: str, field: str = "clicks") -> None:
    """Type a title of one's own, and take it."""
    page.fill(f"#{field}-input", title)
    page.locator(f"#{field}-options .option.own", has_text=title).click()


def until_there_are(page: Page, number: int, selector: str) -> None:
    from playwright.sync_api import expect

    expect(page.locator(selector)).to_have_count(number, timeout=SECONDS * 1_000)


def settled(page: Page) -> None:
    page.wait_for_selector("#columns:not([aria-busy]) .ranking")


def listed(page: Page, side: str = "first") -> list[tuple[str, float]]:
    """Titles and scores of a ranking, as shown."""
    items = page.locator(f".ranking.{side} .item")
    scores = map(float, items.locator(".score").all_inner_texts())
    return [*zip(items.locator(".title").all_inner_texts(), scores, strict=True)]


def assert_lists(page: Page, ranker: Ranker, clicks: list[str], side: str = "first") -> None:
    expected, snapshot = ranker.top(clicks, 10), ranker.index.snapshot
    titles = [snapshot.articles[snapshot.rows[e.candidate]].fields[0] for e in expected]
    shown = listed(page, side)
    assert [title for title, _ in shown] == [each or "(no title)" for each in titles]
    assert [score for _, score in shown] == [
        pytest.approx(each.score, abs=0.006) for each in expected
    ]


def test_a_reader_is_picked_and_ranked_for_by_the_keyboard_alone(
    page: Page, rankers: Rankers
) -> None:
    page.keyboard.press("Tab")  # the link to the API
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "clicks-input"
    page.keyboard.type("N3")
    page.wait_for_selector("#clicks-options .option[aria-selected=true]")
    page.keyboard.press("Enter")
    settled(page)
    assert_lists(page, rankers["student"], ["N3"])
    assert_lists(page, rankers["teacher"], ["N3"], "second")
    page.keyboard.type("word1")
    page.wait_for_selector("#clicks-options .option[aria-selected=true]")
    page.keyboard.press("ArrowDown")
    active = page.get_attribute("#clicks-input", "aria-activedescendant")
    assert page.get_attribute(f"#{active}", "aria-selected") == "true"
    page.keyboard.press("Escape")
    assert page.locator("#clicks-options").is_hidden()
    page.fill("#clicks-input", "")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')").startswith("Remove")
    page.keyboard.press("Enter")
    page.wait_for_selector("#empty:not([hidden])")
    assert page.evaluate("document.activeElement.id") == "clicks-input"


def test_what_counted_most_is_shown_as_the_user_encoder_weighs_it(
    page: Page, rankers: Rankers
) -> None:
    for news_id in ("N3", "N7", "N12"):
        pick(page, news_id)
    settled(page)
    until_there_are(page, 3, ".ranking.first .click")
    for side, ranker in zip(("first", "second"), rankers.values(), strict=True):
        weights = ranker.click_weights(["N3", "N7", "N12"])
        shown = page.locator(f".ranking.{side} .share").all_inner_texts()
        assert shown == [f"{100 * each:.1f}%" for each in sorted(weights, reverse=True)]


def test_what_text_popularity_and_freshness_add_is_shown_with_each_score(
    browser: Browser, tiny: Tiny, tmp_path: Path
) -> None:
    """A reader of the page could not tell why an article of another topic stands first."""
    ranker = serve(tiny, max_steps=2, popularity="added").load(store=":memory:")
    ranker.add_news({f"N{number}": title for number, title in enumerate(titles(), start=1)})
    with site_of({"popular": ranker}) as site, closing(browser.new_page()) as page:
        page.goto(f"{site}/#click=id:N3")
        settled(page)
        until_there_are(page, 10, ".ranking.first .parts")
        for number, (_, score) in enumerate(listed(page)):
            parts = page.locator(".ranking.first .parts").nth(number).inner_text()
            named = dict(re.findall(r"(\w+) ([+-][\d.]+)", parts))
            assert [*named] == ["text", "popularity", "freshness"]
            assert sum(map(float, named.values())) == pytest.approx(score, abs=0.021)


def test_two_recommenders_are_compared_place_by_place(page: Page, rankers: Rankers) -> None:
    pick(page, "N3")
    settled(page)
    one, other = (
        [each.candidate for each in ranker.top(["N3"], 10)] for ranker in rankers.values()
    )
    both = len(set(one) & set(other))
    assert f"{both} of 10 articles are in both lists" in page.inner_text("#agreement")
    shifts = page.locator(".ranking.first .shift > [aria-hidden]").all_inner_texts()
    for place, (name, shown) in enumerate(zip(one, shifts, strict=True)):
        higher = other.index(name) - place if name in other else None
        expected = {None: "only here", 0: "same"}.get(
            higher, f"▲ {higher}" if higher and higher > 0 else f"▼ {-(higher or 0)}"
        )
        assert shown == expected
    for side, name in (("first", "student"), ("second", "teacher")):
        assert page.inner_text(f"#{side}-name") == name  # the menus cut long names
    page.select_option("#second", "")
    until_there_are(page, 1, ".ranking")
    assert page.locator("#agreement").is_hidden()
    assert page.locator(".shift").count() == 0


def test_candidates_and_titles_of_one_s_own_are_ranked_and_never_read_as_markup(
    page: Page, rankers: Rankers
) -> None:
    """In the list of what is found, among the clicks, and in rankings."""
    pick(page, "hostile")
    settled(page)
    own(page, HOSTILE + " too")
    page.check("input[value=rank]")
    page.wait_for_selector("#empty:not([hidden])")
    assert page.inner_text("#empty-title") == "No candidates yet"
    pick(page, "hostile", "candidates")
    own(page, HOSTILE + " again", "candidates")
    settled(page)
    until_there_are(page, 2, ".ranking.first .item")
    texts = as_fields([HOSTILE, HOSTILE + " too", HOSTILE, HOSTILE + " again"])
    expected = rankers["student"].rank(texts[:2], texts[2:])
    scores = [(title, pytest.approx(score, abs=0.006)) for title, score, _ in expected]
    assert listed(page) == scores
    assert page.locator("#clicks-chosen .text").all_inner_texts() == [HOSTILE, HOSTILE + " too"]
    assert page.locator("main img, main script").count() == 0
    assert page.evaluate("window.hacked") is None


def test_a_random_reader_gets_a_ranking_and_a_ranked_article_becomes_a_click(page: Page) -> None:
    page.click("#empty-example")
    settled(page)
    assert page.locator("#clicks-chosen li").count() == 5
    page.click("#clear")
    page.wait_for_selector("#empty:not([hidden])")
    pick(page, "N3")
    settled(page)
    first = page.locator(".ranking.first .item").first
    title = first.locator(".title").inner_text()
    first.locator("button").click()
    until_there_are(page, 2, "#clicks-chosen li")
    assert page.locator("#clicks-chosen .text").last.inner_text() == title
    until_there_are(page, 2, ".ranking.first .click")
    assert title not in [each for each, _ in listed(page)]


def test_the_address_keeps_the_reader(page: Page) -> None:
    pick(page, "N3")
    own(page, "mine & yours=#1")
    page.select_option("#k", "5")
    until_there_are(page, 5, ".ranking.first .item")
    clicks, ranking = page.locator("#clicks-chosen .text").all_inner_texts(), listed(page)
    page.reload()
    settled(page)
    assert page.locator("#clicks-chosen .text").all_inner_texts() == clicks
    assert listed(page) == ranking
    page.goto(page.url.split("#")[0] + "#click=id:gone&k=7&mode=none&first=nobody")
    page.reload()
    page.wait_for_selector("#empty:not([hidden])")
    assert page.input_value("#k") == "10"


@pytest.mark.long
def test_what_was_counted_meanwhile_is_shown_while_the_page_is_visible(
    page: Page, site: str, rankers: Rankers
) -> None:
    """An editor would look at the counts of an hour ago; a forgotten tab would ask for ever."""
    asked: list[str] = []
    student = rankers["student"]

    def put(title: str) -> None:
        news = [{"id": "N99", "title": title}]
        assert page.request.put(f"{site}/news", data={"news": news}).ok

    pick(page, "N3")
    settled(page)
    page.evaluate("Object.defineProperty(document, 'hidden', { value: true, configurable: true })")
    page.on("request", lambda request: asked.append(request.url))
    put("word1 word2")
    page.wait_for_timeout(3_500)
    assert asked == []
    page.evaluate("delete document.hidden")
    page.locator("#served", has_text=f"{len(student.news_ids)} articles").wait_for()
    settled(page)
    assert_lists(page, student, ["N3"])
    best = listed(page)[0][0]
    put(best)  # as many articles as before
    until_there_are(page, 2, f".ranking.first .item .title:text-is('{best}')")
    assert_lists(page, student, ["N3"])


def test_a_failure_is_said_and_can_be_tried_again(page: Page, complaints: list[str]) -> None:
    page.route("**/top", lambda route: route.abort())
    pick(page, "N3")
    page.wait_for_selector("#error:not([hidden])")
    assert "can't be reached" in page.inner_text("#error-text")
    page.unroute("**/top")
    page.click("#retry")
    settled(page)
    assert page.locator("#error").is_hidden()
    refused = {"detail": [{"loc": ["body", "k"], "msg": "is <b>wrong</b>", "type": "x"}]}
    page.route("**/top", lambda route: route.fulfill(status=422, json=refused))
    pick(page, "N7")
    page.wait_for_selector("#error:not([hidden])")
    assert page.inner_text("#error-text") == "k: is <b>wrong</b>"
    complaints[:] = [each for each in complaints if "Failed to load resource" not in each]


def test_a_late_answer_does_not_replace_a_newer_one(page: Page, rankers: Rankers) -> None:
    late: list[Route] = []

    def hold(route: Route) -> None:
        late.append(route) if len(late) < 2 else route.continue_()

    page.route("**/top", hold)
    pick(page, "N3")
    page.wait_for_selector("#progress:not([hidden])")
    assert page.get_attribute("#columns", "aria-busy") == "true"
    pick(page, "N7")
    settled(page)
    for route in late:
        route.continue_()
    page.wait_for_timeout(300)
    assert_lists(page, rankers["student"], ["N3", "N7"])
    assert page.locator("#progress").is_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_all_without_scrolling_sideways(
    browser: Browser, site: str, scheme: Any
) -> None:
    phone: Any = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
    page = browser.new_page(**phone, color_scheme=scheme)
    page.goto(f"{site}/#click=id:N3&click=id:hostile&click=title:{'x' * 150}")
    settled(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    small = page.evaluate(
        """[...document.querySelectorAll('button, select, input[type=text]')]
           .filter((each) => each.offsetParent && each.getBoundingClientRect().height < 36)
           .map((each) => each.outerHTML)"""
    )
    assert small == [], "too small for a finger"
    page.close()


def test_everything_that_can_be_used_has_a_name(page: Page) -> None:
    """What a screen reader says of a button without one is 'button'."""
    pick(page, "N3")
    settled(page)
    page.check("input[value=rank]")
    pick(page, "N5", "candidates")
    settled(page)
    tree = page.locator("body").aria_snapshot()
    nameless = re.findall(r"^\s*- (?:button|combobox|textbox|radio|link)(?::.*)?$", tree, re.M)
    assert nameless == []
    assert {"Clicked articles, oldest first", "Candidates"} <= set(
        re.findall(r'list "([^"]+)"', tree)
    )
    assert page.locator("h1").count() == 1
