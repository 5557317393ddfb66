"""Trimmed vocabularies: kept texts are read as before, and no text fails."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast, RobertaConfig, RobertaModel, T5Config, T5Model

from recbole_tinynews.encoder.plm_files import load_plm, load_tokenizer
from recbole_tinynews.encoder.trimming import (
    articles_using,
    losing_tokens,
    tokens_to_keep,
    trim_tokenizer,
    write_trimmed_plm,
)

LETTERS = "abcdefgh"
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]  # padding is not first, as in RoBERTa
KINDS = ("wordpiece", "unigram", "bpe", "bytes", "ends")


def corpus() -> list[str]:
    random = np.random.default_rng(4)
    words = ["".join(random.choice(list(LETTERS), random.integers(2, 7))) for _ in range(80)]
    return [" ".join(random.choice(words, 6)) for _ in range(400)]


@cache
def tokenizer_of(kind: str) -> PreTrainedTokenizerFast:
    """A small tokenizer of each kind, with its special tokens in the vocabulary and beyond it."""
    how = {"vocab_size": 200, "special_tokens": SPECIAL, "show_progress": False}
    model, trainer = {
        "wordpiece": (models.WordPiece(unk_token="<unk>"), trainers.WordPieceTrainer(**how)),
        "unigram": (models.Unigram(), trainers.UnigramTrainer(unk_token="<unk>", **how)),
        "bpe": (models.BPE(unk_token="<unk>"), trainers.BpeTrainer(**how)),
        "ends": (
            models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"),
            trainers.BpeTrainer(end_of_word_suffix="</w>", **how),
        ),
        "bytes": (
            models.BPE(),
            trainers.BpeTrainer(
                initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), **{**how, "vocab_size": 380}
            ),
        ),
    }[kind]
    made = Tokenizer(model)
    made.pre_tokenizer = {
        "unigram": pre_tokenizers.Metaspace(),
        "bytes": pre_tokenizers.ByteLevel(add_prefix_space=False),
    }.get(kind, pre_tokenizers.Whitespace())
    made.train_from_iterator(corpus(), trainer)
    made.decoder = decoders.ByteLevel() if kind == "bytes" else None
    made.add_special_tokens(["<mask>"])
    ends = [("</s>", 2), ("<s>", 0)]
    made.post_processor = (
        processors.RobertaProcessing(*ends)
        if kind == "bytes"
        else processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ends)
    )
    names = {"cls": "<s>", "pad": "<pad>", "sep": "</s>", "unk": "<unk>", "mask": "<mask>"}
    return PreTrainedTokenizerFast(
        tokenizer_object=made, **{f"{name}_token": token for name, token in names.items()}
    )


@cache
def trimmed(kind: str, texts: int = 12) -> tuple[np.ndarray, PreTrainedTokenizerFast]:
    tokenizer = tokenizer_of(kind)
    kept = tokens_to_keep(tokenizer, articles_using([corpus()[:texts]], tokenizer), 2)
    return kept, trim_tokenizer(tokenizer, kept)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=150, deadline=None)
@given(text=st.lists(st.text(LETTERS, min_size=1, max_size=8), max_size=5).map(" ".join))
def test_a_text_of_kept_tokens_is_split_as_before_and_no_other_is_unknown(
    kind: str, text: str
) -> None:
    """A vector would differ for no reason, or a title of rare words would become [UNK]."""
    tokenizer, (kept, small) = tokenizer_of(kind), trimmed(kind)
    before = np.array(tokenizer(text)["input_ids"])
    after = kept[small(text)["input_ids"]]
    unknown = tokenizer.unk_token_id
    if unknown in before:
        return
    assert unknown not in after
    if not losing_tokens([text], tokenizer, kept)[0]:
        assert before.tolist() == after.tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_below_the_floor_go_and_their_texts_are_named(kind: str) -> None:
    """A vocabulary that keeps all is no smaller; one that hides what it costs misleads."""
    tokenizer, (kept, small) = tokenizer_of(kind), trimmed(kind)
    assert len(kept) == len(small) < len(tokenizer)
    used = articles_using([corpus()[:12]], tokenizer)
    assert set(np.flatnonzero(used >= 2)) <= set(kept)
    losing = losing_tokens(corpus(), tokenizer, kept)
    assert 0 < losing.mean() < 1
    for text, loses in zip(corpus(), losing, strict=True):
        same = tokenizer.tokenize(text) == small.tokenize(text)
        assert same != loses


@pytest.mark.parametrize("family", ["roberta", "t5"])
def test_vectors_of_kept_texts_are_equal_to_the_last_bit(family: str, tmp_path: Path) -> None:
    """RoBERTa's positions start after its padding; T5 has its embeddings under three names."""
    tokenizer, (kept, _) = tokenizer_of("unigram"), trimmed("unigram")
    sizes = {
        "vocab_size": len(tokenizer) + 7,
        "pad_token_id": 1,
    }  # rows without a token, as in XLM-R
    if family == "t5":
        model = T5Model(T5Config(d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, **sizes))
    else:
        how = {"num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 40}
        config = RobertaConfig(hidden_size=16, intermediate_size=16, **how, **sizes)
        model = RobertaModel(config)
    model.save_pretrained(tmp_path / "whole")
    tokenizer.save_pretrained(tmp_path / "whole")
    write_trimmed_plm(str(tmp_path / "whole"), kept, tmp_path / "small")
    texts = [t for t in corpus() if not losing_tokens([t], tokenizer, kept)[0]][:5]
    assert texts

    def states(folder: str) -> list[torch.Tensor]:
        plm, by = load_plm(str(tmp_path / folder)).eval(), load_tokenizer(str(tmp_path / folder))
        with torch.no_grad():
            return [
                plm(**by(text, return_tensors="pt", return_token_type_ids=False))[0]
                for text in texts
            ]

    assert all(map(torch.equal, states("whole"), states("small")))
    assert load_plm(str(tmp_path / "small")).get_input_embeddings().weight.shape[0] == len(kept)
