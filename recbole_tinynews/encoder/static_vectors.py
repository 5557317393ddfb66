"""Static token vectors: a language model without layers, from the outputs of another one.

As in Model2Vec (Tulkens and van Dongen, 2024): a token's vector is its last state between the
special tokens alone, centred, and weighted by smooth inverse frequency, ``a / (a + p)`` (Arora et
al., ICLR 2017). Here frequencies are those in the training articles, and the vectors train further.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import BertConfig, BertModel, PreTrainedModel, PreTrainedTokenizerBase

from recbole_tinynews.encoder.language_model import load_plm, longest_text
from recbole_tinynews.encoder.plm_files import load_tokenizer, quiet
from recbole_tinynews.files.progress import progress_bar

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
    plm, tokenizer = load_plm(source).eval(), load_tokenizer(source)
    vectors = _weighted(_outputs(plm, tokenizer, len(articles)), torch.from_numpy(articles))
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
    static = BertModel(config)
    embeddings = static.embeddings
    for table in (embeddings.position_embeddings, embeddings.token_type_embeddings):
        nn.init.zeros_(table.weight)
    nn.init.constant_(embeddings.LayerNorm.weight, NORM_WEIGHT)
    embeddings.word_embeddings.weight.data.copy_(vectors)
    with quiet():
        static.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


@torch.no_grad()
def _outputs(plm: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, count: int) -> Tensor:
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


def _weighted(vectors: Tensor, articles: Tensor) -> Tensor:
    """Centred vectors, weighted by the inverse frequency of their tokens."""
    share = (articles / articles.sum()).to(vectors.dtype)[:, None]
    return (vectors - (share * vectors).sum(dim=0)) * (A / (A + share))
