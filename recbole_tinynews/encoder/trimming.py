"""Vocabulary trimming: a language model with only the tokens that given articles use.

A text whose tokens are all kept has the same vector to the last bit (in WordPiece, if it knows
the words). Other texts are split into shorter tokens, at worst characters or bytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import nn
from transformers import (
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from recbole_tinynews.data.news_text import LONGEST_TEXT, tokenise
from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.encoder.language_model import load_whole_plm
from recbole_tinynews.encoder.plm_files import load_tokenizer, quiet

BYTE = re.compile(r"<0x[0-9A-F]{2}>")  # in vocabularies that fall back to bytes
FIRST_IDS = 10  # kept: positions of RoBERTa and MPNet start after the id of padding


def articles_using(
    texts: Iterable[Sequence[str]], tokenizer: PreTrainedTokenizerBase, prefix: str = ""
) -> NDArray[np.int64]:
    """Number of articles that use each token, ``[vocabulary]``, from columns of texts."""
    size = 1 + max(tokenizer.get_vocab().values())
    pairs = [np.zeros(0, np.int64)]  # of article and token
    for column in texts:
        tokens = _tokens(column, tokenizer, prefix)
        rows = np.repeat(np.arange(tokens.rows), tokens.lengths)
        pairs.append(np.unique(rows * size + tokens.values))
    return np.bincount(np.unique(np.concatenate(pairs)) % size, minlength=size)


def losing_tokens(
    texts: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    kept: NDArray[np.int64],
    prefix: str = "",
) -> NDArray[np.bool_]:
    """Whether each text has a token that is not kept, ``[texts]``."""
    tokens = _tokens(texts, tokenizer, prefix)
    losing = np.zeros(len(texts), bool)
    losing[tokens.rows_of(np.flatnonzero(~np.isin(tokens.values, kept))) - 1] = True
    return losing


def _tokens(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, prefix: str) -> Ragged:
    return tokenise(["", *texts], tokenizer, LONGEST_TEXT, prefix=prefix)


def tokens_to_keep(
    tokenizer: PreTrainedTokenizerBase, articles: NDArray[np.int64], at_least: int
) -> NDArray[np.int64]:
    """Ascending ids of tokens that ``at_least`` articles use, and of those always needed.

    These are special and added tokens, single characters and bytes, parts that BPE merges, and the
    piece that decides how Unigram scores an unknown character.
    """
    rules, ids = _rules(tokenizer), tokenizer.get_vocab()
    model = rules["model"]
    prefix = model.get("continuing_subword_prefix") or ""
    suffix = model.get("end_of_word_suffix") or ""
    kept = {*tokenizer.all_special_tokens, *(each["content"] for each in rules["added_tokens"])}
    for token, number in ids.items():
        single = len(token.removeprefix(prefix).removesuffix(suffix)) == 1 or BYTE.fullmatch(token)
        if articles[number] >= at_least or single or number < FIRST_IDS:
            kept.add(token)
    if model["type"] == "Unigram":
        kept.add(min(model["vocab"], key=itemgetter(1))[0])
    before = 0
    while before < len(kept):  # parts may have parts of their own
        before = len(kept)
        kept.update(part for *pair, merged in _merges(model) if merged in kept for part in pair)
    return np.sort([ids[token] for token in kept])


def trim_tokenizer(
    tokenizer: PreTrainedTokenizerBase, kept: NDArray[np.int64]
) -> PreTrainedTokenizerFast:
    """A tokenizer of these tokens alone, numbered in their order."""
    rules, new = _rules(tokenizer), _new_ids(kept)
    tokens = {token: new[old] for token, old in tokenizer.get_vocab().items() if old in new}
    model = rules["model"]
    if model["type"] == "Unigram":
        model["vocab"] = [piece for old, piece in enumerate(model["vocab"]) if old in new]
        model["unk_id"] = new.get(model["unk_id"])
    else:
        model["vocab"] = {token: tokens[token] for token in model["vocab"] if token in tokens}
    if "merges" in model:
        model["merges"] = [pair for *pair, merged in _merges(model) if merged in tokens]
    for each in rules["added_tokens"]:
        each["id"] = tokens[each["content"]]
    rules["post_processor"] = _renumbered(rules["post_processor"], tokens)
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(rules)),
        model_input_names=tokenizer.model_input_names,
        model_max_length=tokenizer.model_max_length,
        padding_side=tokenizer.padding_side,
        truncation_side=tokenizer.truncation_side,
        **tokenizer.special_tokens_map,
    )


def trim_config(config: PretrainedConfig, kept: NDArray[np.int64]) -> None:
    """Adapt a language model's configuration to the kept tokens."""
    new, config.vocab_size = _new_ids(kept), len(kept)
    for name, value in config.to_dict().items():
        if name.endswith("_token_id") and isinstance(value, int):
            setattr(config, name, new.get(value))


def trim_embeddings(plm: PreTrainedModel, kept: NDArray[np.int64]) -> None:
    """Keep only these tokens' embeddings."""
    whole: Any = plm.get_input_embeddings().get_parameter("weight")
    trimmed = nn.Parameter(whole.detach()[torch.from_numpy(kept)])
    for part in plm.modules():  # encoder and decoder share them
        if isinstance(part, nn.Embedding) and part.weight is whole:
            part.weight, part.num_embeddings = trimmed, len(kept)


def write_trimmed_plm(source: str, kept: NDArray[np.int64], folder: Path) -> None:
    """Save a language model with only these tokens; a head for masked tokens is left out."""
    plm = load_whole_plm(source)
    trim_embeddings(plm, kept)
    trim_config(plm.config, kept)
    with quiet():
        plm.save_pretrained(folder)
        trim_tokenizer(load_tokenizer(source), kept).save_pretrained(folder)


def _new_ids(kept: NDArray[np.int64]) -> dict[int, int]:
    return {old: new for new, old in enumerate(kept.tolist())}


def _rules(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """The tokenizer as json, without truncation and padding left from its last call."""
    rules = json.loads(tokenizer.backend_tokenizer.to_str())
    return {**rules, "truncation": None, "padding": None}


def _merges(model: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """BPE's merges in order: two parts, and the token that they become."""
    prefix = model.get("continuing_subword_prefix") or ""
    for first, second in model.get("merges", ()):
        yield first, second, first + second.removeprefix(prefix)


def _renumbered(rules: Any, tokens: Mapping[str, int]) -> Any:
    """A post-processor with the new ids of its special tokens."""
    if isinstance(rules, dict):
        if "ids" in rules:
            return {**rules, "ids": [tokens[each] for each in rules["tokens"]]}
        return {name: _renumbered(each, tokens) for name, each in rules.items()}
    if isinstance(rules, list):
        if len(rules) == 2 and isinstance(rules[1], int):  # token and id
            return [rules[0], tokens[rules[0]]]
        return [_renumbered(each, tokens) for each in rules]
    return rules
