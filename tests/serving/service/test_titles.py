from __future__ import annotations

from recbole_tinynews.serving.service.titles import TitleSearch

TITLES = {
    "N1": "The rainbow over Århus",
    "N2": "Rain again",
    "N3": "Trains late, again",
    "rain": "An id that is a word",
}


def search() -> TitleSearch:
    titles = TitleSearch()
    titles.add(TITLES)
    return titles


def ids(query: str, offset: int = 0, limit: int = 10) -> list[str]:
    return [name for name, _ in search().find(query, offset, limit).articles]


def test_all_words_are_needed_in_any_order_and_case() -> None:
    assert ids("AGAIN rain") == ["N2", "N3"]
    assert ids("late again") == ["N3"]
    assert ids("late sun") == []


def test_words_that_begin_words_come_first_and_an_id_before_all() -> None:
    assert ids("rain") == ["rain", "N1", "N2", "N3"]
    assert ids("ain") == ["N1", "N2", "N3"]


def test_accents_do_not_hide_an_article() -> None:
    assert ids("arhus") == ids("Århus") == ids("A\u030arhus") == ["N1"]


def test_nothing_asked_lists_all_in_order_page_by_page() -> None:
    assert ids("") == list(TITLES)
    assert ids("", 1, 2) == ["N2", "N3"]
    assert ids("", 9, 2) == []
    assert search().find("", 9, 2).total == 4


def test_a_changed_title_is_found_by_its_new_words_alone() -> None:
    titles = search()
    titles.add({"N2": "Sun"})
    assert titles.find("rain again", 0, 9).articles == [("N3", "Trains late, again")]
    assert titles.find("sun", 0, 9).articles == [("N2", "Sun")]
    titles.remove(["N2"])
    assert (titles.find("sun", 0, 9).total, "N2" in titles, titles.title("N2")) == (0, False, "")
