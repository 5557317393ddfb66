"""News encoders by settings: a language model or word vectors, with categories as further views."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from torch import nn
from transformers import PreTrainedTokenizerBase

from recbole_tinynews.data.news_text import TITLE_ABSTRACT
from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.encoder.hidden_states import Storage
from recbole_tinynews.encoder.news_encoder import NewsEncoder
from recbole_tinynews.encoder.one_text import ColumnTokenizer, OneTextEncoder
from recbole_tinynews.encoder.plm_files import (
    bare_plm,
    load_plm,
    load_tokenizer,
    locate_plm,
    longest_text,
    plm_size,
)
from recbole_tinynews.encoder.static_model import LanguageModel
from recbole_tinynews.encoder.text_encoder import TextEncoder, TextVectors
from recbole_tinynews.encoder.vectors_of_file import GivenVectors, TableOfVectors, VectorsOfFile
from recbole_tinynews.encoder.views import CategoryView, StartsAsText, ViewAttention, ViewsEncoder
from recbole_tinynews.encoder.words import (
    WordCNN,
    WordEncoder,
    WordPooling,
    WordSelfAttention,
    size_of_vectors,
    word_embedding,
    word_tokenizer,
)
from recbole_tinynews.files.columns import ABSTRACT, CATEGORIES, TITLE
from recbole_tinynews.files.vector_files import vector_size
from recbole_tinynews.model.interface import ImpressionRecommender
from recbole_tinynews.settings.protocol import Settings

ANY = object()  # of a setting that a base has fixed
CONTEXTS = {"cnn": WordCNN, "self_attention": WordSelfAttention}


def views_of(config: Settings) -> list[str]:
    """The views read; older artifacts have no ``views`` and read the title."""
    return config["views"] or [TITLE]


def texts_of_views(config: Settings) -> list[str]:
    """The views that are texts."""
    return [view for view in views_of(config) if view not in CATEGORIES]


def starts_as(config: Settings) -> str | None:
    """The text that an article's vector starts as with pretrained heads; otherwise ``None``."""
    return texts_of_views(config)[0] if starts_pretrained(config) else None


def reads_words(config: Settings | Mapping[str, Any]) -> bool:
    """Whether word vectors replace the language model."""
    return config["news_encoder"] == "words"


def reads_vectors(config: Settings | Mapping[str, Any]) -> bool:
    """Whether a file gives the vectors of articles, in place of a language model."""
    return config["vectors"] is not None


def has_plm(config: Settings | Mapping[str, Any]) -> bool:
    """Whether a language model encodes texts."""
    return not (reads_words(config) or reads_vectors(config))


def starts_pretrained(config: Settings) -> bool:
    """Whether heads start as the ranking of the language model or (even random) word vectors."""
    return config["head_init"] == "pretrained"


def reads_titles_by_plm(config: Settings) -> bool:
    """Whether a language model reads the title as the only view."""
    return has_plm(config) and views_of(config) == [TITLE]


def plm_source(config: Settings) -> str:
    """Folder or hub name of the language model."""
    return locate_plm(config["plm"], [Path(config["data_path"])])


def plm_depth(config: Settings) -> int:
    """Number of layers that are kept of the language model."""
    layers = config["num_hidden_layers"]
    return plm_size(plm_source(config)).layers if layers is None else layers


def words_of_texts(config: Settings, dataset: Any) -> PreTrainedTokenizerBase:
    """Word tokenizer of the texts read; a finished recommender has its own."""
    return dataset.made_of_texts(texts_read(config), word_tokenizer)


def texts_read(config: Settings) -> tuple[str, ...]:
    """The texts read of an article; ``news_text`` replaces the view of the title."""
    return tuple(config["news_text"] if v == TITLE else v for v in texts_of_views(config))


def word_vectors_file(config: Settings) -> Path | None:
    """Path of ``word_vectors``; ``None``: random."""
    return _beside(config, config["word_vectors"]) if config["word_vectors"] else None


def vectors_file(config: Settings | Mapping[str, Any]) -> Path:
    """Path of ``vectors``."""
    return _beside(config, config["vectors"])


def _beside(config: Settings | Mapping[str, Any], name: str) -> Path:
    """The path of a file as given, or in the folder of the data set."""
    beside, given = Path(config["data_path"]) / name, Path(name)
    return beside if beside.is_file() and not given.is_file() else given


def unfit_word_vectors(config: Settings, prefix: str) -> Iterator[str]:
    """Errors in the file of word vectors, from its first line."""
    file = word_vectors_file(config)
    if file is None:
        return
    try:
        size = size_of_vectors(file)
    except (OSError, ValueError) as problem:
        yield f"{prefix}word_vectors: {problem}".removesuffix(".")
        return
    if size != config["word_dim"]:
        yield (
            f"{prefix}word_dim expects {size}, the size of the vectors in {file}, got "
            f"{config['word_dim']}. Set {prefix}word_dim={size}"
        )


class ArticleReader(ImpressionRecommender):
    """Builds a recommender's news encoder from its settings.

    ``views`` are texts (title, abstract, body) and categories (category, subcategory), each with
    its encoder; ``make_composition`` combines them into one vector. ``plm_source``: folder of its
    language model, empty for word vectors; ``categories``: their names by field, in the order of
    their ids, with padding; ``least``: smallest values of settings of its own; ``fixed``: values
    that other settings must have, beside those of its bases, of which ``ANY`` lifts one.

    Encoders are built from settings, tokenizer and names of categories, which are saved beside the
    weights. Everything else of a data set comes by ``read_articles``; ``load`` has no data set, and
    passes ``None`` and settings with ``tokenizer`` and ``categories``.

    A subclass may have a method ``make_texts`` that makes a text for each article, which it reads
    in the title's place, from columns of ``text_fields``: titles, abstracts, bodies, categories,
    subcategories or sources.
    """

    make_texts: Callable[[Mapping[str, Sequence[str]]], Sequence[str]] | None = None
    text_fields: ClassVar[tuple[str, ...]] = (TITLE, ABSTRACT)

    least: ClassVar[Mapping[str, float]] = {}
    fixed: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, config: Settings, dataset: Any) -> None:
        super().__init__(config, dataset)
        saved: Any = config
        self.categories: Mapping[str, Sequence[str]] = (
            saved.categories if dataset is None else getattr(dataset, "field2id_token", {})
        )
        self.plm_source, self._known_tokenizer = "", getattr(config, "tokenizer", None)
        if has_plm(config):
            self.plm_source = plm_source(config)
        elif reads_words(config) and self._known_tokenizer is None:
            self._known_tokenizer = self.word_tokenizer(config, dataset)
        self._is_saved = dataset is None or bool(config["update_from"])
        self._cache_dir: Path | None = None if dataset is None else dataset.cache_dir
        self._pad_token_id, self._longest_text = 0, sys.maxsize
        self.news_encoder: NewsEncoder = self.make_news_encoder(config)
        if dataset is not None:
            self.read_articles(config, dataset)

    @classmethod
    def conflicting_settings(cls, config: Settings, prefix: str) -> Iterator[str]:
        """Errors in combinations of a stage's valid settings; ``prefix`` is for messages."""
        for name, least in cls.least.items():
            if config[name] < least:
                yield f"{prefix}{name} expects at least {least}, got {config[name]}. Raise it"
        lifted: set[str] = set()
        for base in cls.__mro__:
            fixed = vars(base).get("fixed", {})
            wrong = [n for n in fixed if n not in lifted and fixed[n] not in (ANY, config[n])]
            for name in wrong:
                expected = "~" if fixed[name] is None else str(fixed[name]).replace("'", "")
                yield (
                    f"{prefix}{name} expects {expected} in {cls.__name__}, got {config[name]}. "
                    f"Leave {prefix}{name} out, or choose another model"
                )
            lifted |= {name for name, value in fixed.items() if value is ANY}
        pooling = config["news_pooling"]
        if pads_texts(config) and pooling in ("last", "weighted_mean"):
            yield (
                f"{prefix}news_pooling={pooling} expects texts without pad tokens at their end. "
                f"Set {prefix}mask_padding_in_news_pooling=True"
            )
        if reads_vectors(config):
            yield from cls.unfit_vectors(config, prefix)
        elif reads_words(config):
            yield from unfit_word_vectors(config, prefix)

    @classmethod
    def unfit_vectors(cls, config: Settings, prefix: str) -> Iterator[str]:
        """Errors in ``vectors`` and in what stands beside it."""
        if views_of(config) != [TITLE] or reads_words(config):
            yield (
                f"{prefix}vectors replaces a language model that reads titles, and must stand "
                f"beside {prefix}news_encoder=plm and {prefix}views=[title], got "
                f"{config['news_encoder']} and {views_of(config)}. Set both, or leave it out"
            )
        try:
            vector_size(vectors_file(config))
        except ValueError as problem:
            yield f"{prefix}vectors: {problem}".removesuffix(".")

    @classmethod
    def news_dim(cls, config: Settings) -> int:
        """Size of a news vector."""
        return config["news_dim"]

    @classmethod
    def text_dim(cls, config: Settings) -> int:
        """Size of the vector of one text; some compositions have another ``news_dim``."""
        return cls.news_dim(config)

    @classmethod
    def layers_kept(cls, config: Settings) -> int | None:
        """Number of the language model's layers to keep; ``None``: all."""
        return config["num_hidden_layers"]

    @classmethod
    def layers_saved(cls, config: Settings) -> int | None:
        """Number of layers in the configuration that its finished folder has; ``None``: all."""
        return cls.layers_kept(config)

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Tokenizer of the language model or of the word vectors."""
        known = self._known_tokenizer
        return load_tokenizer(self.plm_source) if known is None else known

    def word_tokenizer(self, config: Settings, dataset: Any) -> PreTrainedTokenizerBase:
        """Tokenizer of the word vectors."""
        return words_of_texts(config, dataset)

    def read_articles(self, config: Settings, dataset: Any) -> None:
        """Take from the data set what training and evaluation need; ``load`` does not call it.

        Here the news encoder's articles; a subclass may register buffers of its own, with
        ``persistent=False``. Raises ``ValueError`` if a text is too long for the language model.
        """
        if isinstance(self.news_encoder, VectorsOfFile):
            given = GivenVectors.read(vectors_file(config), dataset)
            self.news_encoder.put_vectors(given, plm_source(config))
            return
        articles: dict[str, Any] = {}
        for view in views_of(config):
            if view in CATEGORIES:
                articles[view] = dataset.item_feat[view]
                continue
            tokens = articles[view] = self.text_tokens(config, dataset, view)
            if (longest := tokens.lengths.max(initial=0)) > self._longest_text:
                raise ValueError(
                    f"{type(self).__name__} expects texts of at most {self._longest_text} tokens, "
                    f"which {config['plm']} can read, got {longest}. Lower max_{view}_length"
                    f"{' or max_body_length' if view == TITLE else ''}."
                )
        self.news_encoder.put_articles(articles, self.storage(config, dataset))

    def text_tokens(self, config: Settings, dataset: Any, view: str) -> Ragged:
        """Token ids of a text of the data set's articles, by news id."""
        return self.column_tokenizer(config, view).of_data_set(dataset)

    def text_length(self, config: Settings) -> int:
        """Number of tokens that a title, or what is read in its place, is truncated to."""
        return longest_news_text(config)

    def column_tokenizer(self, config: Settings, view: str) -> ColumnTokenizer:
        """Tokenizer of a text of articles."""
        prefix = config["text_prefix"]
        if view != TITLE:
            return ColumnTokenizer(view, self.tokenizer, config[f"max_{view}_length"], prefix)
        longest = self.text_length(config)
        padding = longest if pads_texts(config) else 0, self._pad_token_id
        text = ColumnTokenizer(config["news_text"], self.tokenizer, longest, prefix, *padding)
        text.make, text.made_of = self.make_texts, self.text_fields
        return text

    def storage(self, config: Settings, dataset: Any) -> Storage | None:
        """Where the frozen layers' hidden states are stored; ``None``: recomputed each time."""
        if config["use_cache"] is False or dataset.cache_dir is None or reads_words(config):
            return None
        folder, precision = dataset.cache_dir, config["cache_precision"]
        return Storage(folder, precision, ample_room=config["use_cache"] == "auto")

    def start_heads(self, config: Settings, dataset: Any) -> None:
        """Initialise heads by the language model, after earlier stages' weights are loaded."""
        self.news_encoder.start_heads(dataset.training_news(), config["centred"])

    def make_news_encoder(self, config: Settings) -> NewsEncoder:
        """The news encoder, without articles."""
        if reads_vectors(config):
            size, how = vector_size(vectors_file(config)), starts_pretrained(config)
            return VectorsOfFile(TableOfVectors(size, self.text_dim(config), how))
        read = self._by_words if reads_words(config) else self._by_language_model
        views: dict[str, Any] = dict.fromkeys(views_of(config)) | read(config)
        if len(views) == 1:
            return views.popitem()[1]
        sizes = dict.fromkeys(views, self.text_dim(config))
        for view in CATEGORIES:
            if view in views:
                views[view] = CategoryView(self.categories[view], config["category_dim"])
                sizes[view] = config["category_dim"]
        composition = self.make_composition(config, sizes)
        return ViewsEncoder(views, composition, config["history_cache_steps"])

    def make_composition(self, config: Settings, sizes: Mapping[str, int]) -> nn.Module:
        """``{view: [articles, size]} -> [articles, news_dim]``, a module with ``dim``."""
        own = ViewAttention(sizes, self.news_dim(config), config["query_dim"])
        text = starts_as(config)
        return own if text is None else StartsAsText(text, own)

    def make_text_encoder(self, config: Settings, plm: LanguageModel) -> TextEncoder:
        """The language model with pooling and dense layer."""
        return TextEncoder(
            plm,
            self.text_dim(config),
            config["query_dim"],
            pooling=config["news_pooling"],
            mask_padding=config["mask_padding_in_news_pooling"],
            pretrained_heads=starts_pretrained(config),
            finetune_layers=config["finetune_layers"],
            dropout=config["plm_dropout"],
        )

    def make_word_context(self, config: Settings) -> nn.Module:
        """``(hidden [tokens, word_dim], texts) -> [tokens, dim]``, a module with ``dim``."""
        return CONTEXTS[config["word_encoder"]](config["word_dim"], self.text_dim(config))

    def make_word_pooling(self, config: Settings, dim: int) -> nn.Module:
        """``(hidden [tokens, dim], texts) -> [texts, text_dim]``, a module with ``dim``."""
        return WordPooling(dim, config["query_dim"])

    def _by_words(self, config: Settings) -> dict[str, OneTextEncoder]:
        file = word_vectors_file(config)
        words = word_embedding(self.tokenizer, config["word_dim"], file, self._cache_dir)
        made = {}
        for view in texts_of_views(config):
            context: Any = self.make_word_context(config)
            pooling = self.make_word_pooling(config, context.dim)
            is_start = view == starts_as(config)
            encoder = WordEncoder(words, context, pooling, config["word_dropout"], is_start)
            made[view] = self._of_text(config, encoder, view)
        return made

    def _by_language_model(self, config: Settings) -> dict[str, OneTextEncoder]:
        # saved weights replace random ones
        make = bare_plm if self._is_saved else load_plm
        plm = make(self.plm_source, self.layers_kept(config))
        self._longest_text = longest_text(plm)  # before the encoder changes the model
        encoder = self.make_text_encoder(config, plm)
        self._pad_token_id = encoder.pad_token_id
        return {view: self._of_text(config, encoder, view) for view in texts_of_views(config)}

    def _of_text(self, config: Settings, encoder: TextVectors, view: str) -> OneTextEncoder:
        tokenizer, steps = self.column_tokenizer(config, view), config["history_cache_steps"]
        return OneTextEncoder(encoder, tokenizer=tokenizer, history_cache_steps=steps)


class ReadsTitlesByPLM(ArticleReader):
    """Mixin of recommenders that need one language model, which reads titles alone."""

    fixed: ClassVar[Mapping[str, Any]] = {
        **{"news_encoder": "plm", "views": [TITLE], "vectors": None}
    }


def longest_news_text(config: Settings) -> int:
    """Number of tokens that a text is truncated to."""
    abstract = config["max_abstract_length"] if config["news_text"] == TITLE_ABSTRACT else 0
    return config["max_title_length"] + abstract


def pads_texts(config: Settings) -> bool:
    """Whether pooling includes pad tokens (docs/method.md, section 3); never for word vectors."""
    return not config["mask_padding_in_news_pooling"] and has_plm(config)
