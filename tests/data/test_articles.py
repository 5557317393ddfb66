"""Articles and title-body matching: ``data/articles.py``, ``data/title_body_articles.py``."""

from __future__ import annotations

import gzip
import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recbole_tinynews.data.articles import (
    Article,
    TrainingNews,
    articles_for,
    articles_of,
    read_corpus,
)
from recbole_tinynews.data.dataloader import ImpressionDataLoader
from recbole_tinynews.data.fields import CANDIDATES, HISTORY
from recbole_tinynews.data.negatives import BatchTitles, OtherTitles
from recbole_tinynews.data.title_body_articles import TitleBodyDataLoader, TitleBodyDataset
from recbole_tinynews.settings.table import setting

AWKWARD = ["1", '"Quoted', "NA"], ["2", "Über\u2028東京", "null"], ["2", "again", "an id twice"]
LINES = [*AWKWARD, *([str(i), f"title {i}", f"body {i}"] for i in range(3, 23))]


def corpus_text(lines: list[list[str]], end: str = "\n") -> bytes:
    return "".join("\t".join(line) + end for line in lines).encode()


@pytest.mark.parametrize("form", ["plain", "gzip", "CRLF", "byte-order mark", "no last end"])
def test_a_corpus_is_the_same_in_every_form(tmp_path: Path, form: str) -> None:
    r"""A mark in the first id is harmless, a ``\r`` at the end of each body is a token."""
    data = corpus_text(LINES, "\r\n" if form == "CRLF" else "\n")
    if form == "gzip":
        data = gzip.compress(data)
    elif form == "byte-order mark":
        data = b"\xef\xbb\xbf" + data
    elif form == "no last end":
        data = data[:-1]
    file = tmp_path / "corpus"
    file.write_bytes(data)
    assert read_corpus(file) == [Article(title, body) for _, title, body in LINES]


def test_a_first_title_keeps_no_byte_order_mark(tmp_path: Path) -> None:
    """In a file whose ids are empty, the mark stands before its first title."""
    file = tmp_path / "corpus"
    file.write_bytes(b"\xef\xbb\xbf" + corpus_text([["", *line[1:]] for line in LINES]))
    assert read_corpus(file)[0] == Article('"Quoted', "NA")


@pytest.mark.parametrize("columns", [["5", "title"], ["5", "title", "body", "more"], [""]])
def test_a_line_with_another_number_of_columns_is_named(tmp_path: Path, columns: list[str]) -> None:
    """A tab in a title would make its second half the body."""
    file = tmp_path / "corpus.tsv"
    file.write_bytes(corpus_text([*LINES[:4], columns, *LINES[4:]]))
    expected = (
        f"corpus.tsv, line 5, expects 3 tab-separated columns (id, title, body), got {len(columns)}"
    )
    with pytest.raises(ValueError, match=re.escape(expected)):
        read_corpus(file)


def test_a_corpus_that_is_no_text_or_is_missing_is_named(tmp_path: Path) -> None:
    file = tmp_path / "corpus.tsv"
    file.write_bytes(corpus_text(LINES) + b"9\t\xff\xfe\tbody\n")
    with pytest.raises(ValueError, match=rf"corpus\.tsv, line {len(LINES) + 1}, expects UTF-8"):
        read_corpus(file)
    with pytest.raises(FileNotFoundError, match=r"gone\.tsv .*no such file"):
        read_corpus(tmp_path / "gone.tsv")


def test_articles_without_title_or_body_are_left_out_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Every empty title would match every empty body."""
    halves = [["a", "", "body"], ["b", "title", ""], ["c", "  ", "body"]]
    file = tmp_path / "corpus"
    file.write_bytes(corpus_text([*halves, *LINES]))
    with caplog.at_level(logging.INFO):
        assert len(read_corpus(file)) == len(LINES)
    assert "3 articles without a title or a body are left out" in caplog.text


def test_a_corpus_of_a_few_articles_is_refused(tmp_path: Path) -> None:
    """Nine titles drawn from five articles are the same in every sample."""
    file = tmp_path / "corpus"
    file.write_bytes(corpus_text(LINES[:19]))
    with pytest.raises(ValueError, match=r"at least 20 articles .* got 19 from .*corpus"):
        read_corpus(file)


def test_a_data_sets_articles_match_their_body_else_their_abstract(empty) -> None:
    """MIND has abstracts only; where there is a body too, it is the better text."""
    header = "item_id:token\tcategory:token\tsubcategory:token\ttitle:token_seq"
    header += "\tabstract:token_seq\tbody:token_seq"
    special = [
        ("M1", "sports", "", "both", "its abstract", "its body"),
        ("M2", "", "", "abstract alone", "its abstract", ""),
        ("M3", "", "", "blank body", "its abstract", "  "),
        ("M4", "", "", "nothing", "", ""),
        ("M5", "", "", " ", "no title", "no title"),
    ]
    usual = [(f"N{i}", "", "", f"title {i}", f"abstract {i}", "") for i in range(20)]
    empty.write_items([*special, *usual], header)
    empty.write_split("train", [("1", "U1", "0", "N99", "N1 N2", "1 0")])  # N99 has no row
    dataset = empty.dataset()
    articles = articles_of(dataset, np.arange(1, dataset.item_num))
    assert articles[:3] == [
        Article("both", "its body"),
        Article("abstract alone", "its abstract"),
        Article("blank body", "its abstract"),
    ]
    assert articles[3:] == [Article(f"title {i}", f"abstract {i}") for i in range(20)]


def test_a_data_set_without_texts_to_match_is_refused(atomic) -> None:
    dataset = atomic.dataset()
    with pytest.raises(
        ValueError,
        match=r"got 3 from \d+ news of data set 'tiny'.*--post_train_corpus.*post_train_news=all",
    ):
        articles_of(dataset, np.arange(1, dataset.item_num))


def test_post_training_does_not_read_the_news_of_later_days(empty, busy) -> None:
    """Nobody has the test period's articles at hand when a model is trained before it."""
    empty.write_items([(f"N{i}", "", "", f"title {i}", f"abstract {i}") for i in range(40)])
    shown = [f"N{i}" for i in range(10, 31)]
    old = " ".join(shown[:15])  # more than history_length
    empty.write_split("train", [("1", "U1", "0", old, " ".join(shown[15:]), "1 0 0 0 0 0")])
    empty.write_split("valid", [("2", "U1", "9", "N1 N2", "N3 N4", "1 0")])
    empty.write_split("test", [("3", "U1", "9", "N5 N6", "N7 N8", "1 0")])
    train = empty.dataset(history_length=5).build()[0]
    config = busy.config("TinyNewsRec", post_train_news="train")
    assert [each.title for each in articles_for(config, train)] == [f"title {n[1:]}" for n in shown]
    config = busy.config("TinyNewsRec", post_train_news="archive")
    unread = [0, 9, *range(10, 40)]  # no impression has N0, N9 and N31 to N39
    assert [each.title for each in articles_for(config, train)] == [f"title {n}" for n in unread]
    aligned = TrainingNews.read(config, train, None)
    titles = np.array(train.news_text["title"])
    assert titles[aligned.articles].tolist() == [f"title {n}" for n in unread]
    # heads start as the teachers' do, and what was trained on fewer articles is not reused
    assert titles[aligned.training_news()].tolist() == [f"title {n[1:]}" for n in shown]
    assert aligned.content != train.content
    config = busy.config("TinyNewsRec", post_train_news="all")
    assert [each.title for each in articles_for(config, train)] == [f"title {i}" for i in range(40)]


ARTICLES = [Article(f"title{i}", f"body{i} body{i}") for i in range(60)]
WORDS = [word for i in range(60) for word in (f"title{i}", f"body{i}")]


@pytest.fixture
def make_dataset(make_tokenizer):
    def make(
        articles: list[Article] = ARTICLES, seed: int = 3, negatives: int = 5, **settings
    ) -> TitleBodyDataset:
        return TitleBodyDataset(articles, make_tokenizer(WORDS), 8, 16, negatives, seed, **settings)

    return make


def test_titles_and_bodies_have_separate_ids(make_dataset) -> None:
    """With ids off by one each body is matched with its neighbour's title: nothing is learned."""
    data = make_dataset()
    assert data.text_tokens.rows == 1 + 2 * 60
    assert data.text_tokens.row(0).tolist() == []
    for article in range(60):
        title, body = (
            data.text_tokens.row(ids).tolist()
            for ids in (data.title_ids(article), data.body_ids(article))
        )
        word = 4 + 2 * article
        assert title == [2, word, 3]
        assert body == [2, word + 1, word + 1, 3]


def test_held_out_articles_are_not_trained_on(make_dataset) -> None:
    """The validation would rise while the model learns its articles by heart."""
    data = make_dataset()
    held_out, trained = set(data.valid_articles.tolist()), set(data.train_articles.tolist())
    assert len(held_out) == 3  # 5 per cent
    assert not held_out & trained
    assert held_out | trained == set(range(60))
    assert set(make_dataset(seed=4).valid_articles.tolist()) != held_out
    assert set(make_dataset(seed=3).valid_articles.tolist()) == held_out
    assert data.inter_feat.impression_id.tolist() == [str(i) for i in data.valid_articles]


def test_validation_shows_each_held_out_body_the_same_titles_each_time(busy, make_dataset) -> None:
    """With other negatives in each epoch, the one with the easiest would count as the best."""
    config = busy.config("TinyNewsRec", eval_batch_size=2, history_length=50)
    loader = ImpressionDataLoader(config, make_dataset())
    batches = [batch for batch, *_ in loader]
    bodies = torch.cat([batch["history"] for batch in batches])
    shown = torch.cat([batch["candidates"] for batch in batches]).view(3, 6)
    labels = torch.cat([batch["label"] for batch in batches]).view(3, 6)
    assert bodies.shape == (3, 1)
    assert torch.equal(bodies[:, 0], shown[:, 0] + 60)
    assert (shown[:, 1:] != shown[:, :1]).all()
    assert labels.tolist() == [[1, 0, 0, 0, 0, 0]] * 3
    for again in (loader, ImpressionDataLoader(config, make_dataset())):
        repeated = torch.cat([batch["candidates"] for batch, *_ in again]).view(3, 6)
        assert torch.equal(shown, repeated)


def test_other_texts_are_other_content(make_dataset, make_tokenizer) -> None:
    """A stage that reuses an artifact of another corpus never trains."""
    content = make_dataset().content
    assert make_dataset().content == content
    assert make_dataset([*ARTICLES[:-1], Article("title0", "body59 body59")]).content != content
    assert make_dataset([*ARTICLES[:-1], Article("title59", "body59")]).content != content
    assert make_dataset(ARTICLES[::-1]).content != content
    assert TitleBodyDataset(ARTICLES, make_tokenizer(WORDS[::-1]), 8, 16, 5, 3).content != content


# two titles stand over ten articles each
TWICE = [Article(f"title{i % 10 if i < 20 else i}", f"body{i} body{i}") for i in range(60)]
KINDS = {"random": 6, "in_batch": 8}  # candidates of each


def batches(busy, data: TitleBodyDataset, kind: str, epoch: int = 0, **settings: Any) -> list:
    config = busy.config(
        "TinyNewsRec",
        **{"negative_titles": kind, "negatives": 5, "seed": 3, "train_batch_size": 8, **settings},
    )
    loader = TitleBodyDataLoader(config, data)
    loader.set_epoch(epoch)
    return list(loader)


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_titles_are_those_that_the_setting_names_and_never_the_own(
    busy, make_dataset, kind: str
) -> None:
    """An equal title of another article counts too: both have the id of the first of them."""
    assert setting("negative_titles").rule.choices == tuple(KINDS)
    data = make_dataset(TWICE)
    titles = data.titles[data.train_articles]
    draws = {"random": OtherTitles(titles, 5, 3), "in_batch": BatchTitles(titles, 8, 3)}
    for epoch in range(3):
        trained = []
        for batch in batches(busy, data, kind, epoch):
            own, others = batch["candidates"][:, :1], batch["candidates"][:, 1:]
            assert batch["candidates"].shape[1] == KINDS[kind]  # of a short last batch too
            assert (others != own).all()
            bodies = batch["history"][:, 0].numpy() - 61
            assert own[:, 0].tolist() == [data.titles[body] + 1 for body in bodies]
            drawn = draws[kind].draw(epoch, np.searchsorted(data.train_articles, bodies))
            assert others.tolist() == data.title_ids(data.train_articles[drawn]).tolist()
            trained += bodies.tolist()
        assert sorted(trained) == data.train_articles.tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_epoch_shows_the_same_titles(busy, make_dataset, kind) -> None:
    """With workers, or after a kill, training would continue with other negatives."""
    data = make_dataset(TWICE)
    whole = batches(busy, data, kind, epoch=1)
    with_workers = batches(busy, data, kind, epoch=1, worker=2)
    config = busy.config(
        "TinyNewsRec", negative_titles=kind, negatives=5, seed=3, train_batch_size=8
    )
    loader = TitleBodyDataLoader(config, make_dataset(TWICE))
    loader.set_epoch(1, trained_batches=3)
    for others, expected in ((with_workers, whole), (list(loader), whole[3:])):
        assert len(others) == len(expected)
        for one, other in zip(expected, others, strict=True):
            assert torch.equal(one["candidates"], other["candidates"])


@pytest.mark.parametrize("kind", KINDS)
def test_held_out_titles_are_never_negatives_nor_changed_by_training(
    busy, make_dataset, kind
) -> None:
    """A title that is only seen as a negative is learned to be wrong: the validation would sink."""
    data = make_dataset()
    before = data.inter_feat.candidates.values.copy()
    shown = {
        title
        for epoch in range(3)
        for batch in batches(busy, data, kind, epoch)
        for title in batch["candidates"].ravel().tolist()
    }
    assert shown == set(data.title_ids(data.train_articles).tolist())
    np.testing.assert_array_equal(data.inter_feat.candidates.values, before)
    expected = OtherTitles(data.titles, 5, 3).draw(-1, data.valid_articles)
    held_out = before.reshape(len(data.valid_articles), 6)
    np.testing.assert_array_equal(held_out[:, 1:], data.title_ids(expected))


def test_teachers_encode_all_articles_for_their_students_only_where_asked_to(
    busy, make_dataset
) -> None:
    """A text that is left out is encoded again in every student's run; the default is none."""
    data = make_dataset()
    loader = TitleBodyDataLoader(busy.config("TinyNewsRec", use_cache=True), data)
    shown = np.concatenate(
        [ids.numpy().ravel() for batch in loader for ids in (batch[HISTORY], batch[CANDIDATES])]
    )
    assert loader.news_ids().tolist() == sorted(set(shown.tolist()))
    assert len(TitleBodyDataLoader(busy.config("TinyNewsRec"), data).news_ids()) == 0
