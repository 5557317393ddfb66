"""Candidates for clicks that come without: which may be drawn, and where the click stands."""

from __future__ import annotations

from collections import Counter

from recbole_tinynews.convert.readers.click_log import HOURS, ClickLog, CurrentArticles, LogRow

DAY = HOURS * 3600


def click(user: str, time: int, article: str) -> LogRow:
    return LogRow(None, user, time, [article], "1", None, is_click=True)


def test_a_file_that_is_read_again_beside_a_new_one_adds_the_new_clicks_to_the_past() -> None:
    """A week as test set, whose first day was the training set, would have histories of a day."""
    log = ClickLog(sampled=1, seed=0)
    for day in (1, 2):
        for hour in (1, 2):
            log.add(day, click("anna", 86_400 * day + hour, f"{day}.{hour}"))
    assert [each.history for each in log.impressions([1])] == [[], ["1.1"]]
    whole = [[], ["1.1"], ["1.1", "1.2"], ["1.1", "1.2", "2.1"]]
    assert [each.history for each in log.impressions([1, 2])] == whole


def test_nothing_of_the_future_and_nothing_old_is_drawn() -> None:
    """An article that is only clicked tomorrow would be an easy negative; so would an old one."""
    current = CurrentArticles(seed=0)
    for time in range(0, 3 * DAY, 600):
        article = time // 600
        drawn = current.sample(time, article, 1_000)
        oldest = max(0, article - DAY // 600)
        assert sorted(drawn) == list(range(oldest, article))
        current.click(time, article)


def test_a_file_that_begins_earlier_than_the_last_one_ended_sees_no_later_click() -> None:
    current = CurrentArticles(seed=0)
    for time in range(100):
        current.sample(time, time, 1)
        current.click(time, time)
    assert sorted(current.sample(50, 1_000, 1_000)) == list(range(51))


def test_popular_and_rare_articles_are_drawn_alike_and_never_the_clicked_one() -> None:
    current = CurrentArticles(seed=0)
    for place in range(100):
        current.click(0, 0 if place < 90 else place)
    counts = Counter(each for _ in range(4_000) for each in current.sample(0, 95, 3))
    assert set(counts) == {0, *range(90, 100)} - {95}
    assert max(counts.values()) < 1.2 * min(counts.values())


def test_the_place_of_a_click_does_not_tell_it() -> None:
    """Ties go to the later candidate: a constant model would have all clicks right, or none."""
    log = ClickLog(sampled=4, seed=0)
    for number in range(5_000):
        log.add("file", click(f"u{number}", number, f"n{number % 50}"))
    impressions = [each for each in log.impressions(["file"]) if len(each.candidates) == 5]
    places = Counter(each.labels.split().index("1") for each in impressions)
    assert len(impressions) > 4_900
    assert min(places.values()) > 0.9 * len(impressions) / 5


def test_impressions_with_too_few_current_articles_are_counted() -> None:
    log = ClickLog(sampled=2, seed=0)
    for number in range(4):
        log.add("file", click("u", number, f"n{number}"))
    assert [len(each.candidates) for each in log.impressions(["file"])] == [1, 2, 3, 3]
    assert log.about()["sampled_candidates"]["impressions_with_fewer"] == 2
