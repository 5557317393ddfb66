from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

from recbole_tinynews.data import news_text
from recbole_tinynews.data.news_text import tokenise
from recbole_tinynews.data.ragged import Ragged

TEXTS = ["", "a b c a", "", "B x", "c"]  # ids: a 4, b 5, c 6, unknown 1
IDS = [[], [2, 4, 5, 6, 4, 3], [2, 3], [2, 5, 1, 3], [2, 6, 3]]


def rows(tokens: Ragged) -> list[list[int]]:
    return [tokens.row(row).tolist() for row in range(tokens.rows)]


def test_padding_alone_has_no_tokens(make_tokenizer) -> None:
    """Padding with [CLS] and [SEP] would be encoded, and count as a click."""
    tokens = tokenise(TEXTS, make_tokenizer(), 30)
    assert rows(tokens) == IDS
    assert tokens.values.dtype == np.int32


@pytest.mark.parametrize("most", [3, 4, 5])
def test_a_cut_title_counts_its_special_tokens_and_keeps_them(make_tokenizer, most: int) -> None:
    """Two tokens too many exceed a model's positions; without [SEP] a title has no end."""
    for found, whole in zip(rows(tokenise(TEXTS, make_tokenizer(), most)), IDS, strict=True):
        assert found == (whole if len(whole) <= most else [*whole[: most - 1], 3])


@pytest.mark.parametrize("most", [0, 1, 2])
def test_a_length_without_room_for_a_word_is_refused(make_tokenizer, most: int) -> None:
    """All titles would be equal: the loss would stay constant, without an error."""
    with pytest.raises(ValueError, match=f"above the 2 tokens that every text has.*got {most}"):
        tokenise(TEXTS, make_tokenizer(), most)


def test_where_a_chunk_of_texts_ends_changes_nothing(
    make_tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(news_text, "TEXTS_AT_ONCE", 2)
    assert rows(tokenise(TEXTS, make_tokenizer(), 30)) == IDS


def folders(cache: Path) -> set[str]:
    return {place.name for place in cache.iterdir()}


def test_texts_are_tokenised_once(
    make_tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two million bodies take half an hour."""
    tokenise(TEXTS, make_tokenizer(), 30, tmp_path)
    monkeypatch.setattr(PreTrainedTokenizerFast, "__call__", None)
    assert rows(tokenise(TEXTS, make_tokenizer(), 30, tmp_path)) == IDS


def test_a_tokenizers_last_call_is_not_part_of_the_key(make_tokenizer, tmp_path: Path) -> None:
    """A tokenizer keeps the truncation of its last call: each stage would tokenise again."""
    tokenizer = make_tokenizer()
    tokenise(TEXTS, tokenizer, 4, tmp_path)
    made = folders(tmp_path)
    tokenizer(["a b c"], truncation=True, max_length=5, padding="max_length")
    tokenise(TEXTS, tokenizer, 4, tmp_path)
    assert folders(tmp_path) == made


def test_another_tokenizer_text_or_length_is_another_entry(make_tokenizer, tmp_path: Path) -> None:
    """Token ids of another vocabulary are words that nobody wrote."""
    other_order, cased, left = (
        make_tokenizer(["b", "a", "c"]),
        make_tokenizer(lower=False),
        make_tokenizer(),
    )
    left.truncation_side = "left"
    calls = [
        (TEXTS, make_tokenizer(), 30),
        (TEXTS, other_order, 30),
        (TEXTS, cased, 30),
        (TEXTS, make_tokenizer(), 4),
        (TEXTS, left, 4),
        ([*TEXTS[:-1], "b"], make_tokenizer(), 30),
        (["", "a\0b", "c"], make_tokenizer(), 30),
        (["", "a", "b\0c"], make_tokenizer(), 30),
    ]
    for number, call in enumerate(calls, start=1):
        cached = rows(tokenise(*call, tmp_path))
        assert len(folders(tmp_path)) == number
        assert cached == rows(tokenise(*call)) == rows(tokenise(*call, tmp_path))
    assert rows(tokenise(TEXTS, other_order, 30, tmp_path))[4] == IDS[4]
    assert rows(tokenise(TEXTS, other_order, 30, tmp_path))[3] == [2, 4, 1, 3]
    assert rows(tokenise(TEXTS, left, 4, tmp_path))[1] == [2, 6, 4, 3]


def test_a_slow_tokenizer_is_refused() -> None:
    """It is a hundred times slower, and has no serialised form to make a cache key of."""

    class SlowTokenizer:
        is_fast = False

    with pytest.raises(ValueError, match=r"expects a fast tokenizer, got SlowTokenizer"):
        tokenise(TEXTS, SlowTokenizer(), 30)


@pytest.mark.parametrize("text", ["rain \ud83d again", "x" * 10_000_000])
def test_a_text_that_no_tokenizer_reads_is_one_error_at_once(make_tokenizer, text: str) -> None:
    """A lone surrogate was a TypeError of the tokenizer, and a title of 10 MB took minutes."""
    started = time.perf_counter()
    with pytest.raises(ValueError, match=r"A text of an article expects .* text 2"):
        tokenise(["", "rain", text], make_tokenizer(), 12)
    assert time.perf_counter() - started < 1
