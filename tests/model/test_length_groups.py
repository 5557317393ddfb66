from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recbole_tinynews.model.length_groups import length_groups


@given(
    st.lists(st.integers(0, 40), max_size=200),
    st.floats(0, 0.5),
    st.integers(1, 400),
)
def test_every_text_is_encoded_once_within_the_bounds(lengths, max_padding, tokens) -> None:
    """A text in no group keeps a zero vector; one in two groups is computed twice."""
    lengths = np.array(lengths, dtype=np.int64)
    groups = length_groups(lengths, max_padding, tokens)
    places = np.concatenate([*groups, np.empty(0, np.int64)])
    assert sorted(places.tolist()) == list(range(len(lengths)))
    computed = sum(len(group) * int(lengths[group].max()) for group in groups)
    assert computed - lengths.sum() <= max_padding * computed + 1e-9
    for group in groups:
        assert len(group) == 1 or len(group) * lengths[group].max() <= tokens


def test_titles_as_they_are_waste_little_and_make_few_groups() -> None:
    """One group for each length computes no padding, in passes too small to be fast."""
    lengths = np.random.default_rng(0).poisson(14, 2000).clip(2, 30)
    groups = length_groups(lengths)
    computed = sum(len(group) * int(lengths[group].max()) for group in groups)
    assert lengths.sum() >= 0.95 * computed
    assert len(groups) < len(np.unique(lengths)) * 0.75


def test_no_texts_make_no_groups() -> None:
    assert length_groups(np.empty(0, np.int64)) == []
