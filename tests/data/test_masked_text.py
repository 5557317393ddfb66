from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import EMPTY_TITLE, NEWS, Tiny, titles

from recbole_tinynews.data.articles import MaskedBodies, MaskedNews, MaskedTextDataset
from recbole_tinynews.data.dataset import NewsDataset
from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.encoder.plm_files import load_tokenizer
from recbole_tinynews.pipeline.config import NewsConfig

LENGTH = 20  # max_body_length in tests


@pytest.fixture
def read(tiny: Tiny):
    def make(kind: type[MaskedTextDataset], **settings: Any) -> tuple[NewsConfig, Any]:
        config = tiny.config("PLMNRDAPT", **settings)
        staged = config.for_stage("pretrain_teacher")
        tokenizer = load_tokenizer(str(tiny.plm))
        return staged, kind.read(staged, NewsDataset(config).build()[0], tokenizer)

    return make


def words(data: MaskedTextDataset, row: int, tiny: Tiny) -> str:
    tokenizer = load_tokenizer(str(tiny.plm))
    return tokenizer.decode(data.tokens.row(row), skip_special_tokens=True)


def test_dapt_reads_bodies_of_the_corpus_or_else_of_the_data_set(
    read, tiny: Tiny, tmp_path: Path
) -> None:
    """Reading titles would be another baseline."""
    file = tmp_path / "corpus.tsv"
    file.write_text("".join(f"A{n}\tword1\tword{n} word{n}\n" for n in range(30)))
    data = read(MaskedBodies, post_train_corpus=str(file))[1]
    assert [words(data, n, tiny) for n in range(30)] == [f"word{n} word{n}" for n in range(30)]
    own = read(MaskedBodies)[1]
    assert own.tokens.rows == NEWS - 1  # one has no title, and so is no article
    assert words(own, 1, tiny).startswith("word0 word")  # its abstract, longer than its title
    assert own.content != data.content


def test_tapt_reads_title_and_abstract_of_every_article_of_the_task(read, tiny: Tiny) -> None:
    data = read(MaskedNews)[1]
    assert data.tokens.rows == NEWS
    title = titles()[9]
    expected = f"{title} {title}"  # abstracts begin with the title here
    assert words(data, 9, tiny).startswith(expected)
    assert words(data, EMPTY_TITLE - 1, tiny)  # an abstract without a title is text too
    assert data.tokens.lengths.max() == LENGTH


def test_an_epoch_reads_each_trained_text_once_and_none_that_is_held_out(read) -> None:
    config, data = read(MaskedBodies)
    train, _ = data.loaders(config, None)
    assert set(data.train_texts) | set(data.valid_texts) == set(range(data.tokens.rows))
    for epoch in (0, 1):
        train.set_epoch(epoch)
        batches = [*train]
        lengths = np.concatenate([batch["lengths"].numpy() for batch in batches])
        assert sorted(lengths) == sorted(data.tokens.lengths[data.train_texts])
        for batch in batches:
            assert batch["lengths"].sum() == len(batch["tokens"])
            seen = batch["tokens"].clone()
            seen[batch["places"]] = batch["truth"]
            texts = Ragged.from_lengths(seen.numpy(), batch["lengths"].numpy())
            known = {data.tokens.row(row).tobytes() for row in data.train_texts}
            assert {texts.row(n).astype(np.int32).tobytes() for n in range(texts.rows)} <= known


def test_held_out_texts_are_masked_alike_in_each_validation(read) -> None:
    """Other masks each time would choose the weights that met the easiest mask."""
    config, data = read(MaskedBodies)
    _, valid = data.loaders(config, None)
    first, second = ([batch["tokens"].tolist() for batch in valid] for _ in range(2))
    assert first == second
    assert sum(map(len, first)) == data.tokens.lengths[data.valid_texts].sum()


def test_a_resumed_epoch_has_the_same_batches(read) -> None:
    config, data = read(MaskedNews)
    train, _ = data.loaders(config, None)
    train.set_epoch(2)
    whole = [batch["tokens"].tolist() for batch in train]
    train.set_epoch(2, trained_batches=2)
    assert [batch["tokens"].tolist() for batch in train] == whole[2:]


def test_a_single_text_is_refused(tiny: Tiny) -> None:
    """Nothing would be left to train on once it is held out."""
    with pytest.raises(ValueError, match=r"at least 2 texts.*got 1"):
        MaskedTextDataset(["word1"], load_tokenizer(str(tiny.plm)), 8, 0)
