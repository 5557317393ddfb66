from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny import WORDS, Tiny, titles, write_roberta
from transformers import PreTrainedTokenizerBase

from recbole_tinynews.data.articles import Masking
from recbole_tinynews.data.news_text import tokenise
from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.encoder.plm_files import load_tokenizer

TEXTS = [*titles(), "word1 strange word2 unheard-of word3"]  # unknown words are special tokens
ROWS = np.arange(len(TEXTS))


@pytest.fixture(params=["bert", "roberta"])
def tokenizer(request, tiny: Tiny, tmp_path: Path) -> PreTrainedTokenizerBase:
    folder = tiny.plm if request.param == "bert" else write_roberta(tmp_path / "roberta")
    return load_tokenizer(str(folder))


@pytest.fixture
def tokens(tokenizer: PreTrainedTokenizerBase) -> Ragged:
    read = tokenise(["", *TEXTS], tokenizer, 20)
    return read.between(1, read.rows)


def test_a_chosen_token_is_masked_replaced_or_kept_as_often_as_bert_has_it(
    tokenizer, tokens: Ragged
) -> None:
    """15 % in all; of these 80, 10 and 10. Another mixture trains without any sign of it."""
    masking = Masking(tokenizer, seed=7)
    ordinary = ~np.isin(tokens.values, tokenizer.all_special_ids)
    epochs = 600
    chosen = masked = replaced = kept = 0
    for epoch in range(epochs):
        drawn = masking.draw(epoch, tokens, ROWS)
        seen = drawn.tokens[drawn.places]
        chosen += len(seen)
        masked += (seen == tokenizer.mask_token_id).sum()
        kept += (seen == drawn.truth).sum()
        replaced += ((seen != tokenizer.mask_token_id) & (seen != drawn.truth)).sum()
    total = epochs * ordinary.sum()
    assert total > 100_000
    # four standard deviations; a random token is the right one once in 50 times
    for count, of, share in (
        (chosen, total, 0.15),
        (masked, chosen, 0.8),
        (replaced, chosen, 0.1 * (1 - 1 / len(WORDS))),
        (kept, chosen, 0.1 * (1 + 1 / len(WORDS))),
    ):
        assert abs(count / of - share) < 4 * np.sqrt(share * (1 - share) / of)


def test_special_tokens_are_never_hidden_and_never_put_in(tokenizer, tokens: Ragged) -> None:
    """Predicting [SEP] or an unknown word teaches nothing, and texts contain no pad token."""
    special = set(tokenizer.all_special_ids)
    assert tokenizer.unk_token_id in tokens.values
    masking = Masking(tokenizer, seed=7)
    put_in: set[int] = set()
    for epoch in range(200):
        drawn = masking.draw(epoch, tokens, ROWS)
        assert not special & set(drawn.truth.tolist())
        put_in |= set(drawn.tokens[drawn.places].tolist())
    assert put_in & special == {tokenizer.mask_token_id}
    assert len(put_in) == 1 + len(WORDS)  # every word comes up


def test_a_texts_mask_depends_on_the_epoch_and_not_on_its_batch(tokenizer, tokens: Ragged) -> None:
    """A resumed run has drawn less before, and a mask that never changes is learned by heart."""
    masking = Masking(tokenizer, seed=7)
    rows = np.array([30, 4, 17])
    alone = [masking.draw(5, tokens.take(row[None]), row[None]).tokens for row in rows]
    together = masking.draw(5, tokens.take(rows), rows).tokens
    assert np.concatenate(alone).tolist() == together.tolist()
    whole = {
        (seed, epoch): Masking(tokenizer, seed).draw(epoch, tokens, ROWS).tokens.tobytes()
        for seed in (7, 8)
        for epoch in (-1, 0, 1)
    }
    assert len(set(whole.values())) == 6


def test_equal_texts_are_masked_apart(tokenizer) -> None:
    """Draws that depend on the place alone would hide the same places of every text."""
    row = tokenizer("word1 " * 17)["input_ids"]
    tokens = Ragged.from_rows([row] * 20, np.int32)
    drawn = Masking(tokenizer, seed=7).draw(0, tokens, np.arange(20))
    assert len({tuple(part) for part in np.split(drawn.tokens, 20)}) > 15


def test_a_tokenizer_without_a_mask_is_refused(tiny: Tiny) -> None:
    tokenizer = load_tokenizer(str(tiny.plm))
    tokenizer.mask_token = None
    with pytest.raises(ValueError, match=r"mask token.*Choose another plm"):
        Masking(tokenizer, 0)
