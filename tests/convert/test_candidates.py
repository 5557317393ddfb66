from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_tinynews.convert.errors import LineError
from recbole_tinynews.convert.readers.cells import ids_of, mind_candidates

# Ids that contain what the fast path looks for.
ids = st.text(alphabet="N01-", min_size=1, max_size=6)


@given(st.lists(st.tuples(ids, st.sampled_from("01")), min_size=1, max_size=12))
def test_ids_that_look_like_labels_are_not_cut(shown: list[tuple[str, str]]) -> None:
    """Replacing '-0' anywhere would turn the id 'N-0' into 'N' and shift labels."""
    parsed = mind_candidates(" ".join(f"{news}-{label}" for news, label in shown), column=5)
    assert parsed.ids == [news for news, _ in shown]
    assert parsed.labels == " ".join(label for _, label in shown)


@given(st.text(alphabet="N01- \x0b\u2028", min_size=1, max_size=14))
def test_any_text_is_parsed_exactly_or_refused(text: str) -> None:
    """What is accepted must be what a token by token reading gives."""
    tokens = text.split(" ")
    labelled = [token[-2:] in ("-0", "-1") for token in tokens]
    news = [token[:-2] if any(labelled) else token for token in tokens]
    good = all(labelled) or not any(labelled)
    if good and all(token.split() == [token] for token in news):
        parsed = mind_candidates(text, column=5)
        assert parsed.ids == news
        assert parsed.labels == " ".join(token[-1] for token in tokens if any(labelled))
    else:
        with pytest.raises(LineError):
            mind_candidates(text, column=5)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("", "no candidates"),
        ("N1-0 N2", "candidate without label"),
        ("N1 N2-1", "candidate without label"),
        ("N1-0 N2-2", "candidate without label"),
        ("N1-0  N2-1", "candidate without label"),
        ("N1-0 -1", "empty id"),
        ("-0", "empty id"),
        (" ", "empty id"),
        ("N1 ", "empty id"),
        ("N\u00a01-0", "white space in an id"),
        ("N\r1-0 -0", "white space in an id"),  # one more and one less: counts alone agree
    ],
)
def test_a_broken_list_of_candidates_is_named_by_its_kind(text: str, kind: str) -> None:
    with pytest.raises(LineError) as caught:
        mind_candidates(text, column=5)
    assert caught.value.kind == kind
    assert str(caught.value).startswith("column 5: expected ")


def test_an_empty_history_has_no_ids() -> None:
    """''.split(' ') would give one empty id, an article that does not exist."""
    assert ids_of("", column=4) == []


@pytest.mark.parametrize("parse", [mind_candidates, ids_of])
def test_a_line_of_millions_of_ids_is_a_bad_line(parse) -> None:
    """Its ids would take a hundred times the memory of the line."""
    text = "N1 " * 200_000
    tracemalloc.start()
    with pytest.raises(LineError, match="at most 100,000 ids, got 200,000"):
        parse(text[:-1], 4)
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()
