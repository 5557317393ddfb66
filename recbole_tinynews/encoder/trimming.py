"""Language models made of others by a data set's texts: with fewer tokens, or without layers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from logging import getLogger
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import (
    BertConfig,
    PretrainedConfig,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from recbole_tinynews.data.dataset import NewsDataset
from recbole_tinynews.data.news_text import LONGEST_TEXT, TITLE_ABSTRACT, tokenise
from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.encoder.plm_files import (
    load_plm,
    load_tokenizer,
    load_whole_plm,
    longest_text,
    quiet,
    write_projection,
)
from recbole_tinynews.encoder.static_model import LanguageModel
from recbole_tinynews.files.array_cache import WORK, content_key
from recbole_tinynews.files.columns import ABSTRACT, BODY, TITLE
from recbole_tinynews.files.progress import progress_bar
from recbole_tinynews.files.whole import made_once, whole_folder

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


def trim_embeddings(plm: LanguageModel, kept: NDArray[np.int64]) -> None:
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
        write_projection(source, folder)


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


A = 3e-3  # tokens above this share of all tokens count less than half
TOKENS_AT_ONCE = 512
MOST_POSITIONS = 512
# BERT's embeddings end in (x - mean) / sqrt(variance + eps) * weight: with these it is x - mean
NORM_EPS, NORM_WEIGHT = 2.0**20, 2.0**10


def write_static_plm(source: str, articles: NDArray[np.int64], folder: Path) -> None:
    """Save a BERT without layers, whose states are static vectors of the tokens of ``source``.

    All libraries read it: position and type vectors are zeros, and layer norm only subtracts the
    mean. ``articles``, ``[vocabulary]``, counts the articles that use each token.
    """
    plm, tokenizer = load_plm(source, projects=False).eval(), load_tokenizer(source)
    vectors = _outputs(plm, tokenizer, len(articles))
    used = torch.from_numpy(articles)
    share = (used / used.sum()).to(vectors.dtype)[:, None]
    # centred, and weighted by the inverse frequency of the tokens
    vectors = (vectors - (share * vectors).sum(dim=0)) * (A / (A + share))
    vectors[tokenizer.all_special_ids] = 0
    config = BertConfig(
        vocab_size=len(vectors),
        hidden_size=vectors.shape[1],
        num_hidden_layers=0,
        num_attention_heads=1,
        intermediate_size=vectors.shape[1],
        max_position_embeddings=min(longest_text(plm), MOST_POSITIONS),
        type_vocab_size=1,
        hidden_dropout_prob=0.0,
        layer_norm_eps=NORM_EPS,
        pad_token_id=tokenizer.pad_token_id,
    )
    static = transformers.BertModel(config)
    embeddings = static.embeddings
    for table in (embeddings.position_embeddings, embeddings.token_type_embeddings):
        nn.init.zeros_(table.weight)
    nn.init.constant_(embeddings.LayerNorm.weight, NORM_WEIGHT)
    embeddings.word_embeddings.weight.data.copy_(vectors)
    with quiet():
        static.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        write_projection(source, folder)


@torch.no_grad()
def _outputs(plm: LanguageModel, tokenizer: PreTrainedTokenizerBase, count: int) -> Tensor:
    """Last hidden state of each token alone between the special ones, ``[count, hidden]``."""
    example = tokenizer("a", return_special_tokens_mask=True)
    ids, special = example["input_ids"], example["special_tokens_mask"]
    place = special.index(0)
    texts = torch.tensor([*ids[:place], 0, *ids[len(ids) - sum(special[place:]) :]])
    texts = texts.repeat(count, 1)
    texts[:, place] = torch.arange(count)
    made = []
    with progress_bar(desc="Token vectors", total=count, unit=" tokens") as bar:
        for some in texts.split(TOKENS_AT_ONCE):
            made.append(plm(input_ids=some).last_hidden_state[:, place])
            bar.update(len(some))
    return torch.cat(made)


READ = (TITLE, ABSTRACT, TITLE_ABSTRACT, BODY)  # texts whose tokens count
ABOUT = "about.txt"  # in the folder: a line to log


def derived_plm(
    source: str, content: str, news: NewsDataset, prefix: str, at_least: int | None, static: bool
) -> str:
    """Folder of the language model derived from ``source``; ``source`` itself if nothing changes.

    Keeps the tokens of at least ``at_least`` articles (None: all), which are read after ``prefix``;
    ``static``: without layers. Cached by its inputs, with ``content`` the digest of ``source``.
    """
    if at_least is None and not static:
        return source
    ids = news.training_news()
    if at_least is not None and at_least > len(ids):
        raise ValueError(
            f"vocabulary_min_articles={at_least} expects at most {len(ids)}, the articles for "
            "training: no token would be kept. Lower it."
        )
    every = map(news.texts, READ)
    columns = [[texts[each] for each in ids] for texts in every if any(texts)]

    def trim(folder: Path) -> str:
        assert at_least is not None
        tokenizer = load_tokenizer(source)
        kept = tokens_to_keep(tokenizer, articles_using(columns, tokenizer, prefix), at_least)
        write_trimmed_plm(source, kept, folder)
        titles = filter(None, np.delete(np.array(news.texts(TITLE), dtype=object), ids))
        losing = losing_tokens(list(titles), tokenizer, kept, prefix)
        return (
            f"Vocabulary: {len(kept):,} of {len(tokenizer):,} tokens are kept, those of at least "
            f"{at_least} of {len(ids):,} training articles and single characters. "
            f"{losing.sum():,} of {len(losing):,} other titles lose a token."
        )

    def make_static(folder: Path) -> str:
        used = articles_using(columns, load_tokenizer(source), prefix)
        write_static_plm(source, used, folder)
        return f"No layers: {len(used):,} static token vectors start as outputs of all layers."

    read = [prefix, json.dumps(columns)]
    if at_least is not None:
        source = _cached(news, [content, *read, str(at_least)], trim)
        content = Path(source).name
    if static:
        source = _cached(news, [content, *read, "static 1"], make_static)
    return source


def _cached(news: NewsDataset, key: Iterable[str], write: Callable[[Path], str]) -> str:
    """A folder in the cache with this key, filled by ``write``, which returns a line to log."""
    assert news.cache_dir is not None
    folder = news.cache_dir / f"plm-{content_key(key)}"

    def written() -> Path:
        with whole_folder(folder) as unfinished:
            line = write(unfinished)
            (unfinished / ABOUT).write_text(line, encoding="utf-8")
        return folder

    made_once(folder, lambda: folder if folder.is_dir() else None, written, WORK)
    getLogger().info((folder / ABOUT).read_text(encoding="utf-8"))
    return str(folder)
