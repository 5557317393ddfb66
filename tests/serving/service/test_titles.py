from __future__ import annotations

import pytest

from recbole_tinynews.serving.service.titles import TitleSearch

TITLES = {
    "N1": "The rainbow over Århus",
    "N2": "Rain again",
    "N3": "Trains late, again",
    "rain": "An id that is a word",
}


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (("AGAIN rain", 0, 9), ["N2", "N3"]),  # all words, in any order and case
        (("late again", 0, 9), ["N3"]),
        (("late sun", 0, 9), []),
        (("rain", 0, 9), ["rain", "N1", "N2", "N3"]),  # an id, then words that begin words
        (("ain", 0, 9), ["N1", "N2", "N3"]),
        *(((word, 0, 9), ["N1"]) for word in ("arhus", "Århus", "A\u030arhus")),
        (("", 0, 9), [*TITLES]),  # all, page by page
        (("", 1, 2), ["N2", "N3"]),
        (("", 9, 2), []),
    ],
)
def test_a_search_finds_what_a_reader_means(asked: tuple[str, int, int], found: list[str]) -> None:
    titles = TitleSearch()
    titles.add(TITLES)
    page = titles.find(*asked)
    assert page.articles == [(name, TITLES[name]) for name in found]
    assert page.total == (4 if asked[0] == "" else len(found))


def test_a_changed_title_is_found_by_its_new_words_alone() -> None:
    titles = TitleSearch()
    titles.add(TITLES)
    titles.add({"N2": "Sun"})
    assert titles.find("rain again", 0, 9).articles == [("N3", "Trains late, again")]
    assert titles.find("sun", 0, 9).articles == [("N2", "Sun")]
    titles.remove(["N2"])
    assert (titles.find("sun", 0, 9).total, "N2" in titles, titles.title("N2")) == (0, False, "")
