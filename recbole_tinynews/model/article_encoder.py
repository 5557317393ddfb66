"""The news encoder that settings ask for: of one text of an article, or of several views."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.encoder.column_tokenizer import ColumnTokenizer
from recbole_tinynews.encoder.frozen_states import Storage
from recbole_tinynews.encoder.language_model import longest_text
from recbole_tinynews.encoder.news_encoder import NewsEncoder
from recbole_tinynews.encoder.protocol import EncodesNews
from recbole_tinynews.encoder.text_encoder import TextEncoder
from recbole_tinynews.encoder.views import CategoryView, ViewsEncoder
from recbole_tinynews.encoder.words.word_encoder import WordEncoder
from recbole_tinynews.encoder.words.word_news_encoder import WordNewsEncoder
from recbole_tinynews.files.columns import CATEGORIES, TITLE
from recbole_tinynews.model.text_encoders import (
    language_model,
    reads_words,
    starts_as,
    vectors_of_words,
    views_of,
)
from recbole_tinynews.settings.protocol import Settings


class Reader(Protocol):
    """What a recommender says of how it reads; ``NewsRecommender`` describes its methods."""

    plm_source: str

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Of its language model, or by words."""

    def layers_kept(self, config: Settings) -> int | None:
        """How many layers of the language model are used."""

    def text_dim(self, config: Settings) -> int:
        """Size of the vector of a text."""

    def make_text_encoder(self, config: Settings, plm: PreTrainedModel) -> TextEncoder:
        """What makes a vector of a text, by the language model."""

    def text_table(self, config: Settings, dataset: Any, pad_token_id: int) -> Ragged:
        """The token ids of the view of the title."""

    def column_tokenizer(self, config: Settings, pad_token_id: int) -> ColumnTokenizer | None:
        """Tokenises given titles in the same way."""

    def storage(self, config: Settings, dataset: Any) -> Storage | None:
        """Where the frozen layers' hidden states are kept."""

    def make_word_context(self, config: Settings) -> nn.Module:
        """What comes between word vectors and pooling."""

    def make_word_pooling(self, config: Settings, dim: int) -> nn.Module:
        """One vector from those of words."""

    def make_composition(self, config: Settings, sizes: Mapping[str, int]) -> nn.Module:
        """One vector from those of views."""


def article_encoder(reader: Reader, config: Settings, dataset: Any) -> EncodesNews:
    """The encoder of the views of ``config``, by words or by a language model.

    Raises:
        ValueError: a text is longer than the language model reads.
    """
    read = _by_words if reads_words(config) else _by_language_model
    views: dict[str, Any] = dict.fromkeys(views_of(config)) | read(reader, config, dataset)
    if len(views) == 1:
        return views.popitem()[1]
    sizes = dict.fromkeys(views, reader.text_dim(config))
    for view in CATEGORIES:
        if view in views:
            categories, names = dataset.item_feat[view], dataset.field2id_token[view]
            views[view] = CategoryView(categories, names, config["category_dim"])
            sizes[view] = config["category_dim"]
    composition = reader.make_composition(config, sizes)
    return ViewsEncoder(views, composition, config["history_cache_steps"])


def read_articles(reader: Reader, encoder: EncodesNews, config: Settings, dataset: Any) -> None:
    """Let an encoder of ``article_encoder`` read the articles of another data set from now on."""
    tables = _token_tables(reader, config, dataset, encoder.pad_token_id)
    texts = {view: tokens for view, tokens, _ in tables}
    if not isinstance(encoder, ViewsEncoder):
        (encoder.tokens,) = texts.values()
        return
    encoder.read(texts, {view: dataset.item_feat[view] for view in encoder.categories})


def _by_words(reader: Reader, config: Settings, dataset: Any) -> dict[str, Any]:
    """An encoder of each text; all have the same word vectors."""
    words = vectors_of_words(config, reader.tokenizer, dataset.cache_dir)
    steps, made = config["history_cache_steps"], {}
    tables = _token_tables(reader, config, dataset, WordEncoder.pad_token_id)
    for view, tokens, tokenizer in tables:
        context: Any = reader.make_word_context(config)
        pooling = reader.make_word_pooling(config, context.dim)
        is_start = view == starts_as(config)
        encoder = WordEncoder(words, context, pooling, config["word_dropout"], is_start)
        made[view] = WordNewsEncoder(encoder, tokens, steps, tokenizer)
    return made


def _by_language_model(reader: Reader, config: Settings, dataset: Any) -> dict[str, Any]:
    """An encoder of each text; all have the same language model, pooling and dense layer."""
    plm = language_model(config, reader.plm_source, reader.layers_kept(config))
    most = longest_text(plm)  # asked of the model itself, which the encoder changes
    encoder, storage = reader.make_text_encoder(config, plm), reader.storage(config, dataset)
    steps, made = config["history_cache_steps"], {}
    tables = _token_tables(reader, config, dataset, encoder.pad_token_id)
    for view, tokens, tokenizer in tables:
        if tokens.lengths.max(initial=0) > most:
            raise ValueError(
                f"{type(reader).__name__} expects texts of at most {most} tokens, which "
                f"{config['plm']} can read, got {tokens.lengths.max()}. "
                f"Lower max_{view}_length{' or max_body_length' if view == TITLE else ''}."
            )
        made[view] = NewsEncoder(encoder, tokens, storage, steps, tokenizer)
    return made


def _token_tables(
    reader: Reader, config: Settings, dataset: Any, pad_token_id: int
) -> Iterator[tuple[str, Ragged, ColumnTokenizer | None]]:
    """Each text that is read: its view, its token ids, and what tokenises given articles."""
    for view in views_of(config):
        if view == TITLE:
            tokens = reader.text_table(config, dataset, pad_token_id)
            yield view, tokens, reader.column_tokenizer(config, pad_token_id)
        elif view not in CATEGORIES:
            how = reader.tokenizer, config[f"max_{view}_length"], config["text_prefix"]
            yield view, dataset.tokens(view, *how), ColumnTokenizer(view, *how)
