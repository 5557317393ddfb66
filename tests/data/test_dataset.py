from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from recbole.utils import FeatureSource, FeatureType

from recbole_tinynews.data import dataset as dataset_module
from recbole_tinynews.data.dataloader import ClickDataLoader
from recbole_tinynews.data.dataset import NewsDataset
from recbole_tinynews.data.news_text import tokenise


def record(dataset: NewsDataset, row: int) -> tuple[str, str, int, list[str], list[str], list[int]]:
    """One impression, in the words of its line in the file."""
    shown = dataset.inter_feat
    start, stop = shown.candidates.offsets[row : row + 2]
    return (
        str(shown.impression_id[row]),
        str(dataset.id2token("user_id", shown.user[row])),
        int(shown.timestamp[row]),
        dataset.id2token("history", shown.history.row(row)).tolist(),
        dataset.id2token("candidates", shown.candidates.row(row)).tolist(),
        shown.labels[start:stop].tolist(),
    )


def test_each_split_has_its_own_first_and_last_record(atomic) -> None:
    """With a cut one row off, the model would be tested on what it was trained on."""
    train, valid, test = atomic.dataset().build()
    assert (len(train), len(valid), len(test)) == (3, 1, 2)
    assert train.inter_num == 3
    assert record(train, 0) == (
        "1",
        "U1",
        1573310962,
        ["N1", "N2", "N3", "N9"],
        ["N4", "N5", "N8"],
        [1, 0, 0],
    )
    assert record(train, 2) == ("3", "U1", 1573311000, ["N4"], ["N3"], [1])
    assert record(valid, 0) == ("4", "U3", 1573400000, ["N5"], ["N1", "N2", "N3"], [0, 1, 1])
    assert record(test, 0) == ("x-5", "U1", 1573500000, ["N1"], ["N2", "N3"], [-1, -1])
    assert record(test, 1) == ("x-6", "U9", 1573500001, [], ["N1"], [-1])
    assert train.inter_feat.timestamp.dtype == np.int64


@pytest.mark.parametrize("gone", ["valid", "test"])
def test_a_split_without_a_file_is_none(atomic, gone: str) -> None:
    """The test impressions would be taken for validation, and early stopping would see them."""
    (atomic.folder / f"tiny.{gone}.inter").unlink()
    train, valid, test = atomic.dataset().build()
    left = test if gone == "valid" else valid
    assert (valid is None, test is None) == (gone == "valid", gone == "test")
    assert len(train) == 3
    assert record(left, 0)[0] == ("x-5" if gone == "valid" else "4")


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_a_file_without_an_impression_is_refused_when_it_is_read(atomic, split: str) -> None:
    """An empty test split failed with a bare AssertionError after the training, others silently.

    Refused twice, since the second start reads the cache.
    """
    file = atomic.write_split(split, [])
    for _ in range(2):
        with pytest.raises(ValueError, match=rf"impressions in {file}, got only a header"):
            atomic.dataset()


def test_fields_are_those_that_a_recbole_user_expects(atomic) -> None:
    """RecBole's models, samplers and case studies ask for them by these names."""
    dataset = atomic.dataset()
    token, sequence = FeatureType.TOKEN, FeatureType.TOKEN_SEQ
    assert dataset.field2type == {
        "user_id": token,
        "item_id": token,
        "timestamp": FeatureType.FLOAT,
        "history": sequence,
        "candidates": sequence,
        "labels": FeatureType.FLOAT_SEQ,
        "category": token,
        "subcategory": token,
    }
    assert dataset.field2source["user_id"] is FeatureSource.USER_ID
    assert dataset.field2source["category"] is FeatureSource.ITEM
    assert dataset.field2seqlen["history"] == 4
    assert dataset.field2seqlen["candidates"] == dataset.field2seqlen["labels"] == 3
    assert (dataset.uid_field, dataset.iid_field) == ("user_id", "item_id")
    assert dataset.file_size_list == [3, 1, 2]


def test_num_counts_padding_and_every_article_that_is_shown(atomic) -> None:
    """An embedding that is one row too short fails in some batch, hours after the start."""
    dataset = atomic.dataset()
    assert dataset.num("item_id") == dataset.item_num == 1 + 5 + 2  # N8 and N9 have no row
    assert dataset.num("user_id") == dataset.user_num == 1 + 4
    assert dataset.num("history") == dataset.num("candidates") == 8
    assert dataset.num("category") == 1 + 2
    assert dataset.num("subcategory") == 1 + 2


@pytest.mark.parametrize("field", ["title", "abstract", "body"])
def test_text_has_no_index_and_says_so(atomic, field: str) -> None:
    with pytest.raises(ValueError, match=f"indexed field, got the text '{field}'.*news_text"):
        atomic.dataset().num(field)


def test_history_candidates_and_news_share_one_index(atomic) -> None:
    """A clicked article would be read with the title of another one."""
    dataset = atomic.dataset()
    for token in ("N1", "N5", "N8", "N9"):
        ids = {dataset.token2id(field, token) for field in ("item_id", "history", "candidates")}
        assert len(ids) == 1
    assert [dataset.token2id("item_id", f"N{number}") for number in range(1, 6)] == [1, 2, 3, 4, 5]


def test_each_article_has_its_own_text_and_one_without_a_row_has_none(atomic) -> None:
    """Texts shifted by the padding row would give each article its neighbour's title."""
    dataset = atomic.dataset()
    lines = (atomic.folder / "tiny.item").read_bytes().decode().split("\n")[1:-1]
    for line in lines:
        token, _, _, title, abstract = line.split("\t")
        news = dataset.token2id("item_id", token)
        assert dataset.news_text["title"][news] == title
        assert dataset.news_text["abstract"][news] == abstract
    without = [0, *dataset.token2id("item_id", ["N8", "N9"])]
    for texts in dataset.news_text.values():
        assert len(texts) == dataset.item_num
        assert [texts[news] for news in without] == ["", "", ""]


def test_an_unknown_category_is_padding(atomic) -> None:
    """An empty string with an id of its own would be learned as a topic."""
    dataset = atomic.dataset()
    categories = dataset.id2token("category", dataset.item_feat["category"].numpy()).tolist()
    assert categories == ["[PAD]", "sports", "[PAD]", "news", "news", "sports", "[PAD]", "[PAD]"]
    subcategories = dataset.id2token("subcategory", dataset.item_feat["subcategory"].numpy())
    assert subcategories.tolist()[:6] == ["[PAD]", "soccer", "[PAD]", "world", "[PAD]", "soccer"]
    assert dataset.item_feat["item_id"].tolist() == list(range(8))


def test_every_click_is_counted(atomic) -> None:
    """A click without an unclicked candidate gives no training sample, but is still a click."""
    train, valid, test = atomic.dataset().build()
    ids, users = train.field2token_id["item_id"], train.field2token_id["user_id"]
    assert train.item_counter == Counter({ids["N4"]: 1, ids["N2"]: 1, ids["N3"]: 1})
    assert train.user_counter == Counter({users["U1"]: 2, users["U2"]: 1})
    assert train.avg_actions_of_users == 1.5
    assert valid.user_counter == Counter({users["U3"]: 2})
    assert test.item_counter == Counter()
    assert train.sparsity == 1 - 3 / 5 / 8
    with pytest.raises(ValueError, match="expects 'user_id' or 'item_id', got 'category'"):
        train.counter("category")


def test_a_row_is_not_handed_out_as_a_table_of_interactions(atomic) -> None:
    with pytest.raises(TypeError, match=r"ragged impressions.*inter_feat"):
        atomic.dataset()[0]


def test_histories_stay_whole_and_a_batch_has_the_newest(atomic) -> None:
    """If histories were cut when loaded, no stage could have a longer history_length."""
    config, train = atomic.train(history_length=3, train_batch_size=8, negatives=1)
    assert record(train, 0)[3] == ["N1", "N2", "N3", "N9"]
    (batch,) = ClickDataLoader(config, train)
    rows = {tuple(train.id2token("item_id", row.numpy()).tolist()) for row in batch["history"]}
    assert rows == {("N2", "N3", "N9"), ("[PAD]",) * 3}


def test_thousands_of_users_keep_their_own_ids(empty) -> None:
    """A short integer wraps around, and users share their vectors."""
    empty.write_items([("N1", "", "", "title", "")])
    rows = [(str(i), f"user-{i}", str(1573310962 + i), "N1", "N1", "1") for i in range(70_000)]
    empty.write_split("train", rows)
    dataset = empty.dataset()
    assert dataset.user_num == 70_001
    assert dataset.inter_feat.user.tolist() == list(range(1, 70_001))
    assert record(dataset, 69_999)[:3] == ("69999", "user-69999", 1573380961)


def assert_equal(found: NewsDataset, expected: NewsDataset) -> None:
    for one, other in zip(flat(found), flat(expected), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    for field, tokens in expected.field2id_token.items():
        np.testing.assert_array_equal(found.field2id_token[field], tokens)
    assert found.field2token_id == expected.field2token_id
    assert found.field2type == expected.field2type
    assert found.field2seqlen == expected.field2seqlen
    assert found.news_text == expected.news_text
    assert found.file_size_list == expected.file_size_list
    assert found.content == expected.content
    assert str(found) == str(expected)


def flat(dataset: NewsDataset) -> list[np.ndarray]:
    given = dataset.inter_feat
    parts = [part if isinstance(part, tuple) else (part,) for part in given[:6]]
    return [array for part in (*parts, given.columns.values()) for array in part]


def test_a_missing_file_says_how_to_get_it(empty) -> None:
    with pytest.raises(FileNotFoundError, match=r"tiny\.train\.inter.*recbole-tinynews convert"):
        empty.dataset()
    empty.write_items()
    with pytest.raises(FileNotFoundError, match=r"tiny\.train\.inter"):
        empty.dataset()


# The cache


def refuse_to_read(*args: object) -> None:
    raise AssertionError("the impressions were read once more")


def test_a_second_start_reads_the_cache_and_finds_the_same(
    atomic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MIND-large takes minutes to read; a cache that differs is worse than none."""
    first = atomic.dataset()
    monkeypatch.setattr(dataset_module, "read_impressions", refuse_to_read)
    second = atomic.dataset()
    assert isinstance(second.inter_feat.labels, np.memmap)
    assert_equal(second, first)
    for one, other in zip(second.build(), first.build(), strict=True):
        assert_equal(one, other)


@pytest.mark.parametrize("change", ["train", "test", "news", "splits swapped"])
def test_a_changed_file_is_never_mistaken_for_the_old_one(atomic, change: str) -> None:
    """The next run would report results of data that no longer exist."""
    first = atomic.dataset()
    train, test = (atomic.folder / f"tiny.{split}.inter" for split in ("train", "test"))
    if change == "train":
        train.write_bytes(train.read_bytes().replace(b"1 0 0", b"0 1 0"))
    elif change == "test":
        test.write_bytes(test.read_bytes().replace(b"U9", b"U8"))
    elif change == "news":
        file = atomic.folder / "tiny.item"
        file.write_bytes(file.read_bytes().replace(b"\nN1\t", b"\nN0\t"))
    else:
        valid = atomic.folder / "tiny.valid.inter"
        content = valid.read_bytes()
        valid.write_bytes(test.read_bytes())
        test.write_bytes(content)
    second = atomic.dataset()
    assert second.content != first.content
    if change == "train":
        assert record(second, 0)[5] == [0, 1, 0]
    elif change == "test":
        assert record(second, 5)[1] == "U8"
    elif change == "news":
        assert second.id2token("item_id", 1) == "N0"
        assert second.news_text["title"][second.token2id("item_id", "N1")] == ""
    else:
        assert [len(split) for split in second.build()] == [3, 2, 1]


def test_a_missing_split_is_other_content(atomic) -> None:
    """A test file in place of the validation file has the same bytes in the same order."""
    (atomic.folder / "tiny.valid.inter").unlink()
    first = atomic.dataset()
    (atomic.folder / "tiny.test.inter").rename(atomic.folder / "tiny.valid.inter")
    second = atomic.dataset()
    assert second.content != first.content
    assert [split and len(split) for split in second.build()] == [3, 2, None]


def test_title_tokens_are_those_of_each_article(atomic, make_tokenizer) -> None:
    dataset = atomic.dataset()
    tokens = tokenise(dataset.texts("title"), make_tokenizer(["na", "null"]), 10)
    assert (tokens.rows, tokens.row(0).tolist()) == (dataset.item_num, [])
    assert tokens.row(dataset.token2id("item_id", "N2")).tolist() == [2, 4, 3]
    assert tokens.row(dataset.token2id("item_id", "N3")).tolist() == [2, 5, 3]
    assert tokens.row(dataset.token2id("item_id", "N9")).tolist() == [2, 3]


def test_the_abstract_follows_its_title(atomic) -> None:
    """Without an end of the title between them, the last word would run into the next sentence."""
    dataset = atomic.dataset()
    both = dict(
        zip(dataset.field2id_token["item_id"], dataset.texts("title_abstract"), strict=True)
    )
    titles = dict(zip(dataset.field2id_token["item_id"], dataset.texts("title"), strict=True))
    assert both["N2"] == "NA. null"
    assert both["N3"] == titles["N3"] == "null"  # it has no abstract
    assert both["[PAD]"] == ""
