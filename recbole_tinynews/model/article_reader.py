"""News encoders by settings: a language model or word vectors, with categories as further views."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from recbole_tinynews.data.news_text import TITLE_ABSTRACT
from recbole_tinynews.data.no_articles import NoArticles
from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.encoder.column_tokenizer import ColumnTokenizer, pad_rows
from recbole_tinynews.encoder.frozen_states import Storage
from recbole_tinynews.encoder.language_model import load_plm, longest_text
from recbole_tinynews.encoder.news_encoder import NewsEncoder
from recbole_tinynews.encoder.one_text import OneTextEncoder
from recbole_tinynews.encoder.plm_files import bare_plm, load_tokenizer
from recbole_tinynews.encoder.text_encoder import TextEncoder
from recbole_tinynews.encoder.views import CategoryView, StartsAsText, ViewAttention, ViewsEncoder
from recbole_tinynews.encoder.word_vocabulary import word_embedding
from recbole_tinynews.encoder.words import WordEncoder, WordPooling
from recbole_tinynews.files.columns import CATEGORIES, TITLE
from recbole_tinynews.model.impression_recommender import ImpressionRecommender
from recbole_tinynews.model.text_encoders import (
    CONTEXTS,
    plm_source,
    plm_training,
    reads_titles_by_plm,
    reads_words,
    starts_as,
    starts_pretrained,
    unfit_word_vectors,
    views_of,
    word_vectors_file,
    words_of_texts,
)
from recbole_tinynews.settings.protocol import Settings


class ArticleReader(ImpressionRecommender):
    """Builds a recommender's news encoder from its settings.

    ``views`` are texts (title, abstract, body) and categories (category, subcategory), each with
    its encoder; ``make_composition`` combines them into one vector. ``plm_source``: folder of its
    language model, empty for word vectors; ``least``: smallest values of settings of its own.
    """

    least: ClassVar[Mapping[str, float]] = {}

    def __init__(self, config: Settings, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.plm_source, self._known_tokenizer = "", getattr(config, "tokenizer", None)
        if reads_words(config):
            self._known_tokenizer = self.word_tokenizer(config, dataset)
        else:
            self.plm_source = plm_source(config)
        self.news_encoder: NewsEncoder = self.make_news_encoder(config, dataset)

    @classmethod
    def conflicting_settings(cls, config: Settings, prefix: str) -> Iterator[str]:
        """Errors in combinations of a stage's valid settings; ``prefix`` is for messages."""
        for name, least in cls.least.items():
            if config[name] < least:
                yield f"{prefix}{name} expects at least {least}, got {config[name]}. Raise it"
        if reads_words(config):
            yield from unfit_word_vectors(config, prefix)

    @classmethod
    def news_dim(cls, config: Settings) -> int:
        """Size of a news vector."""
        return config["news_dim"]

    @classmethod
    def text_dim(cls, config: Settings) -> int:
        """Size of the vector of one text; some compositions have another ``news_dim``."""
        return cls.news_dim(config)

    def layers_kept(self, config: Settings) -> int | None:
        """Number of the language model's layers to keep; ``None``: all."""
        return config["num_hidden_layers"]

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Tokenizer of the language model or of the word vectors."""
        known = self._known_tokenizer
        return load_tokenizer(self.plm_source) if known is None else known

    def word_tokenizer(self, config: Settings, dataset: Any) -> PreTrainedTokenizerBase:
        """Tokenizer of the word vectors."""
        return words_of_texts(config, dataset)

    def news_tokens(self, config: Settings, dataset: Any) -> Ragged:
        """Token ids of ``news_text``, by news id."""
        return dataset.tokens(
            config["news_text"], self.tokenizer, longest_news_text(config), config["text_prefix"]
        )

    def text_widths(self, config: Settings, dataset: Any) -> NDArray[np.int64]:
        """Padded length of each text, if pooling includes pad tokens."""
        return np.full(dataset.num(dataset.iid_field), longest_news_text(config))

    def text_table(self, config: Settings, dataset: Any, pad_token_id: int) -> Ragged:
        """``news_tokens``, padded if pooling includes pad tokens."""
        tokens = self.news_tokens(config, dataset)
        if not pads_texts(config):
            return tokens
        return pad_rows(tokens, self.text_widths(config, dataset), pad_token_id)

    def column_tokenizer(self, config: Settings, pad_token_id: int) -> ColumnTokenizer | None:
        """Tokenizer of given articles, as ``text_table``; ``None``: a subclass reads others."""
        own, usual = type(self), ArticleReader
        if own.news_tokens is not usual.news_tokens or own.text_table is not usual.text_table:
            return None
        longest = longest_news_text(config)
        pad_to = longest if pads_texts(config) else 0
        text, prefix = config["news_text"], config["text_prefix"]
        return ColumnTokenizer(text, self.tokenizer, longest, prefix, pad_to, pad_token_id)

    def storage(self, config: Settings, dataset: Any) -> Storage | None:
        """Where the frozen layers' hidden states are stored; ``None``: recomputed each time."""
        if config["use_cache"] is False or dataset.cache_dir is None:
            return None
        return Storage(
            dataset.cache_dir,
            config["cache_precision"],
            config["cache_budget"],
            ample_room=config["use_cache"] == "auto",
        )

    def start_heads(self, config: Settings, dataset: Any) -> None:
        """Initialise heads by the language model, after earlier stages' weights are loaded."""
        self.news_encoder.start_heads(dataset.training_news(), config["centred"])

    def make_news_encoder(self, config: Settings, dataset: Any) -> NewsEncoder:
        """The news encoder; ``ValueError`` if a text is too long for it."""
        read = self._by_words if reads_words(config) else self._by_language_model
        views: dict[str, Any] = dict.fromkeys(views_of(config)) | read(config, dataset)
        if len(views) == 1:
            return views.popitem()[1]
        sizes = dict.fromkeys(views, self.text_dim(config))
        for view in CATEGORIES:
            if view in views:
                categories, names = dataset.item_feat[view], dataset.field2id_token[view]
                views[view] = CategoryView(categories, names, config["category_dim"])
                sizes[view] = config["category_dim"]
        composition = self.make_composition(config, sizes)
        return ViewsEncoder(views, composition, config["history_cache_steps"])

    def make_composition(self, config: Settings, sizes: Mapping[str, int]) -> nn.Module:
        """``{view: [articles, size]} -> [articles, news_dim]``, a module with ``dim``."""
        own = ViewAttention(sizes, self.news_dim(config), config["query_dim"])
        text = starts_as(config)
        return own if text is None else StartsAsText(text, own)

    def make_text_encoder(self, config: Settings, plm: PreTrainedModel) -> TextEncoder:
        """The language model with pooling and dense layer."""
        return TextEncoder(
            plm,
            self.text_dim(config),
            config["query_dim"],
            pooling=config["news_pooling"],
            mask_padding=config["mask_padding_in_news_pooling"],
            pretrained_heads=starts_pretrained(config),
            **plm_training(config),
        )

    def make_word_context(self, config: Settings) -> nn.Module:
        """``(hidden [tokens, word_dim], texts) -> [tokens, dim]``, a module with ``dim``."""
        return CONTEXTS[config["word_encoder"]](config["word_dim"], self.text_dim(config))

    def make_word_pooling(self, config: Settings, dim: int) -> nn.Module:
        """``(hidden [tokens, dim], texts) -> [texts, text_dim]``, a module with ``dim``."""
        return WordPooling(dim, config["query_dim"])

    def _by_words(self, config: Settings, dataset: Any) -> dict[str, Any]:
        file = word_vectors_file(config)
        words = word_embedding(self.tokenizer, config["word_dim"], file, dataset.cache_dir)
        steps, made = config["history_cache_steps"], {}
        tables = self._token_tables(config, dataset, WordEncoder.pad_token_id)
        for view, tokens, tokenizer in tables:
            context: Any = self.make_word_context(config)
            pooling = self.make_word_pooling(config, context.dim)
            is_start = view == starts_as(config)
            encoder = WordEncoder(words, context, pooling, config["word_dropout"], is_start)
            made[view] = OneTextEncoder(encoder, tokens, tokenizer, history_cache_steps=steps)
        return made

    def _by_language_model(self, config: Settings, dataset: Any) -> dict[str, Any]:
        # saved weights replace random ones
        is_bare = isinstance(dataset, NoArticles) or config["update_from"]
        plm = (bare_plm if is_bare else load_plm)(self.plm_source, self.layers_kept(config))
        most = longest_text(plm)  # before the encoder changes the model
        encoder, storage = self.make_text_encoder(config, plm), self.storage(config, dataset)
        steps, made = config["history_cache_steps"], {}
        tables = self._token_tables(config, dataset, encoder.pad_token_id)
        for view, tokens, tokenizer in tables:
            if tokens.lengths.max(initial=0) > most:
                raise ValueError(
                    f"{type(self).__name__} expects texts of at most {most} tokens, which "
                    f"{config['plm']} can read, got {tokens.lengths.max()}. "
                    f"Lower max_{view}_length{' or max_body_length' if view == TITLE else ''}."
                )
            made[view] = OneTextEncoder(encoder, tokens, tokenizer, storage, steps)
        return made

    def _token_tables(
        self, config: Settings, dataset: Any, pad_token_id: int
    ) -> Iterator[tuple[str, Ragged, ColumnTokenizer | None]]:
        for view in views_of(config):
            if view == TITLE:
                tokens = self.text_table(config, dataset, pad_token_id)
                yield view, tokens, self.column_tokenizer(config, pad_token_id)
            elif view not in CATEGORIES:
                how = self.tokenizer, config[f"max_{view}_length"], config["text_prefix"]
                yield view, dataset.tokens(view, *how), ColumnTokenizer(view, *how)


class ReadsTitlesByPLM(ArticleReader):
    """Mixin of recommenders that need one language model, which reads titles alone."""

    @classmethod
    def conflicting_settings(cls, config: Settings, prefix: str) -> Iterator[str]:
        """Also refuse word vectors and other views."""
        yield from super().conflicting_settings(config, prefix)
        if not reads_titles_by_plm(config):
            yield (
                f"{cls.__name__} needs one language model that reads titles, and expects "
                f"{prefix}news_encoder=plm and {prefix}views=[title], got {config['news_encoder']} "
                f"and {views_of(config)}. Set both, or choose another model"
            )


def longest_news_text(config: Settings) -> int:
    """Number of tokens that a text is truncated to."""
    abstract = config["max_abstract_length"] if config["news_text"] == TITLE_ABSTRACT else 0
    return config["max_title_length"] + abstract


def pads_texts(config: Settings) -> bool:
    """Whether pooling includes pad tokens (docs/method.md, section 3); never for word vectors."""
    return not config["mask_padding_in_news_pooling"] and not reads_words(config)
