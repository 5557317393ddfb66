"""Texts as words, and vectors of words from files."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import Tiny

from recbole_tinynews.data.dataset import NewsDataset
from recbole_tinynews.data.news_text import tokenise
from recbole_tinynews.encoder.words import (
    WordSelfAttention,
    load_word_tokenizer,
    size_of_vectors,
    vectors_of,
    word_embedding,
    word_tokenizer,
    write_tokenizer,
)
from recbole_tinynews.model.article_reader import word_vectors_file, words_of_texts
from recbole_tinynews.pipeline.run import Run
from recbole_tinynews.pipeline.systems import system

FEW = ["The cat sat.", "the dog's CAT can\u2019t sit", "Rødgrød på tirsdag 2,5 %"]


def words_of(text: str) -> list[str]:
    tokenizer = word_tokenizer(FEW)
    return tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"])


def test_texts_are_cut_into_words_as_glove_has_them() -> None:
    """A word glued to its punctuation, or in upper case, has no vector in the file."""
    assert words_of("The DOG's cat can't.") == ["the", "dog", "'s", "cat", "ca", "n't", "."]
    assert words_of("rødgrød PÅ 2,5%") == ["rødgrød", "på", "2", ",", "5", "%"]


def test_a_text_that_spells_a_special_token_out_is_words() -> None:
    """[PAD] in a title would be taken for padding, and a title of nothing else has no vector."""
    assert words_of("[PAD] [UNK] cat") == ["[UNK]"] * 6 + ["cat"]


def test_a_tokenizer_by_words_is_saved_alike_whether_or_not_it_was_used(tmp_path: Path) -> None:
    """Tokens come from a cache the second time: the artifact would have another identity."""
    tokenizer = word_tokenizer(FEW)
    write_tokenizer(tokenizer, tmp_path / "unused")
    tokenise(["", *FEW], tokenizer, 4)
    write_tokenizer(tokenizer, tmp_path / "used")
    unused, used = ((tmp_path / n / "tokenizer.json").read_text() for n in ("unused", "used"))
    assert used == unused


class Texts:
    made_of_texts = NewsDataset.made_of_texts

    def __init__(self) -> None:
        self._made_of_texts: dict = {}

    def texts(self, field: str) -> list[str]:
        of = {"title": ["", "cat sat"], "abstract": ["", "the cat"], "body": ["", "a dog"]}
        both = ["", "cat sat. the cat"]
        return both if field == "title_abstract" else of[field]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, {"cat", "sat"}),
        ({"views": ["abstract", "category", "title"]}, {"cat", "sat", "the"}),
        ({"news_text": "title_abstract"}, {"cat", "sat", "the", "."}),
    ],
)
def test_a_vocabulary_is_that_of_the_views_alone(
    tiny: Tiny, settings: dict[str, Any], expected: set[str]
) -> None:
    """Words of bodies that nobody reads would be vectors that nothing trains."""
    tokenizer = words_of_texts(tiny.config("NRMS", **settings), Texts())
    assert {*tokenizer.get_vocab()} == {"[PAD]", "[UNK]", *expected}


def test_ids_do_not_depend_on_the_order_of_texts_or_runs() -> None:
    """Weights are saved by word id: another numbering would exchange the words."""
    assert word_tokenizer(FEW).get_vocab() == word_tokenizer(FEW[::-1]).get_vocab()


def test_a_saved_tokenizer_reads_as_before(tmp_path: Path) -> None:
    tokenizer, folder = word_tokenizer(FEW), tmp_path / "words"
    write_tokenizer(tokenizer, folder)
    loaded = load_word_tokenizer(folder)
    texts = ["", *FEW, "unheard [PAD]"]
    for one, other in zip(tokenise(texts, loaded, 4), tokenise(texts, tokenizer, 4), strict=True):
        assert np.array_equal(one, other)


# ---------------------------------------------------------------------------------- their vectors


def file_of(folder: Path, *lines: str, name: str = "vectors.txt") -> Path:
    place = folder / name
    text = "".join(f"{line}\n" for line in lines)
    place.write_bytes(gzip.compress(text.encode()) if name.endswith("gz") else text.encode())
    return place


@pytest.mark.parametrize("name", ["vectors.txt", "vectors.txt.gz"])
@pytest.mark.parametrize("header", [(), ("4 2",)])
def test_each_word_gets_its_own_vector(tmp_path: Path, name: str, header: tuple[str, ...]) -> None:
    """A vector under its neighbour's id would still look like a vector."""
    file = file_of(
        tmp_path,
        *header,
        "dog 1 2 ",
        "cat 3 4",
        "cat 9 9",
        "at home 7 8",
        "the -.5 1e-2",
        name=name,
    )
    assert size_of_vectors(file) == 2
    arrays = vectors_of(["4", "at", "the", "cat", "unknown", "dog"], file, 2)
    assert arrays["rows"].tolist() == [2, 3, 5]
    np.testing.assert_allclose(arrays["vectors"], [[-0.5, 0.01], [3, 4], [1, 2]])


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("cat 1 2 3", "expects a word and 2 numbers"),
        ("cat 1", "expects a word and 2 numbers"),
        ("cat 1 x", "got 2 values that begin with '1 x'"),
        ("cat 1 nan", "got 2 values"),
    ],
)
def test_a_line_that_is_no_vector_is_named(tmp_path: Path, line: str, told: str) -> None:
    """A row that was cut off would be padded with zeros, or shift all after it."""
    file = file_of(tmp_path, "dog 1 2", line)
    with pytest.raises(ValueError, match=rf"vectors.txt, line 2, .*{told}"):
        vectors_of(["dog", "cat"], file, 2)


def test_a_file_of_another_language_is_refused(tmp_path: Path) -> None:
    """All words would silently start at random, under the name of pretrained ones."""
    with pytest.raises(ValueError, match="got none of these 2 words"):
        vectors_of(["dog", "cat"], file_of(tmp_path, "hund 1 2"), 2)


def test_words_that_the_file_lacks_start_like_those_that_it_has(tmp_path: Path) -> None:
    """Vectors ten times as long would drown the others in every mean."""
    random = np.random.default_rng(0)
    known = {f"w{n}": random.normal(3, 0.1, 8) for n in range(200)}
    lines = (f"{word} {' '.join(map(str, vector))}" for word, vector in known.items())
    tokenizer = word_tokenizer([" ".join([*known, *(f"x{n}" for n in range(200))])])
    torch.manual_seed(0)
    weight = word_embedding(tokenizer, 8, file_of(tmp_path, *lines)).weight.detach()
    vocabulary = tokenizer.get_vocab()
    for word in ("w0", "w199"):
        np.testing.assert_allclose(weight[vocabulary[word]], known[word], rtol=1e-6)
    others = weight[[vocabulary[f"x{n}"] for n in range(200)]]
    assert others.mean() == pytest.approx(3, abs=0.02)
    assert others.std() == pytest.approx(0.1, abs=0.02)
    assert (weight[:2] == 0).all()


def test_a_file_that_does_not_fit_is_refused_before_training(tiny: Tiny, tmp_path: Path) -> None:
    file = file_of(tmp_path, "word1 1 2")
    with pytest.raises(ValueError, match=r"word_dim expects 2, .* got 300. Set word_dim=2"):
        system(tiny.config("NRMS", word_vectors=str(file)))
    with pytest.raises(ValueError, match=r"word_vectors: .*there is no such file"):
        system(tiny.config("NRMS", word_vectors=str(tmp_path / "none.txt")))


def test_other_vectors_are_another_training(tiny: Tiny, tmp_path: Path) -> None:
    """What was trained with the vectors before would be taken for a result of these."""

    def fingerprint(*lines: str) -> str:
        file = file_of(tmp_path, *lines)
        made = tiny.run("NRMS", word_vectors=str(file), word_dim=2)
        return Run(made.factory).recipe(system(made.factory.config)).fingerprint

    assert fingerprint("word1 1 2") == fingerprint("word1 1 2")
    assert fingerprint("word1 1 2") != fingerprint("word1 1 3")


def test_a_model_starts_with_the_vectors_of_its_file(tiny: Tiny, tmp_path: Path) -> None:
    file = file_of(tmp_path, "word7 1 2", "word3 3 4")
    model = tiny.world("NRMS", word_vectors=str(file), word_dim=2).model
    vocabulary, words = model.tokenizer.get_vocab(), model.news_encoder.text_encoder.words
    assert words.weight[vocabulary["word7"]].tolist() == [1, 2]
    assert words.weight[vocabulary["word3"]].tolist() == [3, 4]


def test_self_attention_needs_whole_heads() -> None:
    with pytest.raises(ValueError, match=r"divisible by 16.*got 20"):
        WordSelfAttention(5, 20)


def test_word_vectors_beside_the_data_set_are_found(tiny: Tiny, tmp_path: Path) -> None:
    """A data set that brings them along could be read from one working directory alone."""
    beside = Path(tiny.config("NRMS")["data_path"]) / "mine.txt"
    config = tiny.config("NRMS", word_vectors="mine.txt")
    assert word_vectors_file(config) == Path("mine.txt")  # which is then reported as missing
    beside.write_text("the 0.5 0.25\n")
    try:
        assert word_vectors_file(config) == beside
    finally:
        beside.unlink()
