from __future__ import annotations

import pytest

TITLES = {
    "N1": "The rainbow over Århus",
    "N2": "Rain again",
    "N3": "Trains late, again",
    "rain": "An id that is a word",
}


@pytest.mark.usefixtures("_extra")
def test_a_search_finds_what_a_reader_means() -> None:
    from recbole_tinynews.serving.service.state import Titles

    titles = Titles()
    titles.change(TITLES)

    def ids(query: str, offset: int = 0, limit: int = 9) -> list[str]:
        found = titles.find(query, offset, limit)
        assert found["total"] == len(titles.find(query, 0, 99)["news"])
        return [each["id"] for each in found["news"]]

    assert ids("AGAIN rain") == ["N2", "N3"]  # all words, in any order and case
    assert (ids("late again"), ids("late sun")) == (["N3"], [])
    assert ids("rain") == ["rain", "N1", "N2", "N3"]  # an id, then words that begin words
    assert ids("ain") == ["N1", "N2", "N3"]
    assert [ids(word) for word in ("arhus", "Århus", "A\u030arhus")] == [["N1"]] * 3
    assert (ids(""), ids("", 1, 2), ids("", 9, 2)) == ([*TITLES], ["N2", "N3"], [])
    titles.change({"N2": "Sun"})
    assert (ids("rain again"), ids("sun")) == (["N3"], ["N2"])
    titles.change({}, ["N2"])
    assert (ids("sun"), "N2" in titles, titles.title("N2")) == ([], False, "")
