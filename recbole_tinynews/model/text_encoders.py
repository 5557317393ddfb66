"""The text encoders that settings choose: a language model, or word vectors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from recbole_tinynews.data.no_articles import NoArticles
from recbole_tinynews.data.word_vectors import size_of_vectors
from recbole_tinynews.encoder.language_model import load_plm
from recbole_tinynews.encoder.plm_files import bare_plm
from recbole_tinynews.encoder.text_encoder import TextEncoder
from recbole_tinynews.encoder.token_encoder import TokenEncoder
from recbole_tinynews.encoder.words.context import WordCNN, WordSelfAttention
from recbole_tinynews.encoder.words.vocabulary import word_embedding, word_tokenizer
from recbole_tinynews.files.columns import CATEGORIES, TITLE
from recbole_tinynews.settings.protocol import Settings

CONTEXTS = {"cnn": WordCNN, "self_attention": WordSelfAttention}


def views_of(config: Settings) -> list[str]:
    """What is read of an article; recommenders from before there were views read its title."""
    return config["views"] or [TITLE]


def starts_as(config: Settings) -> str | None:
    """The text that an article starts as where heads start pretrained; ``None``: it does not."""
    texts = (view for view in views_of(config) if view not in CATEGORIES)
    return next(texts) if starts_pretrained(config) else None


def reads_words(config: Settings | Mapping[str, Any]) -> bool:
    """Whether texts are read by word vectors, and no language model is needed."""
    return config["news_encoder"] == "words"


def starts_pretrained(config: Settings) -> bool:
    """Whether heads start as the ranking of the language model, or of the word vectors, alone.

    Random word vectors have one too: texts with equal words are close.
    """
    return config["head_init"] == "pretrained"


def reads_titles_alone(config: Settings) -> bool:
    """Whether an article is one text, its title: what post-training matches with bodies."""
    return views_of(config) == [TITLE]


def reads_titles_by_plm(config: Settings) -> bool:
    """Whether an article is its title, as one language model reads it."""
    return not reads_words(config) and reads_titles_alone(config)


def language_model(dataset: Any, source: str, layers: int | None) -> PreTrainedModel:
    """The language model of ``source``, with its first ``layers`` (``None``: all).

    It has random weights where the recommender is built to load its saved ones.
    """
    load = bare_plm if isinstance(dataset, NoArticles) else load_plm
    return load(source, layers)


def encoder_by(plm: PreTrainedModel, config: Settings, dim: int) -> TextEncoder:
    """A language model with pooling and dense layer, whose vectors have the size ``dim``."""
    return TextEncoder(
        plm,
        dim,
        config["query_dim"],
        pooling=config["news_pooling"],
        mask_padding=config["mask_padding_in_news_pooling"],
        pretrained_heads=starts_pretrained(config),
        **_training_of(config),
    )


def token_encoder_by(plm: PreTrainedModel, config: Settings, dim: int, length: int) -> TokenEncoder:
    """A language model with a dense layer, whose tokens have vectors of the size ``dim``.

    ``length`` is that of the longest text, in tokens.
    """
    return TokenEncoder(plm, dim, config["query_dim"], length, **_training_of(config))


def _training_of(config: Settings) -> dict[str, Any]:
    """How a language model trains."""
    return {
        "finetune_layers": config["finetune_layers"],
        "dropout": config["plm_dropout"],
        "lora_rank": config["lora_rank"],
    }


def words_of_texts(config: Settings, dataset: Any) -> PreTrainedTokenizerBase:
    """The tokenizer by words of the texts that are read; a finished recommender has its own."""
    return dataset.made_of_texts(texts_read(config), word_tokenizer)


def texts_read(config: Settings) -> tuple[str, ...]:
    """The texts of an article that are read; ``news_text`` says which is the view of the title."""
    fields = (config["news_text"] if view == TITLE else view for view in views_of(config))
    return tuple(field for field in fields if field not in CATEGORIES)


def vectors_of_words(
    config: Settings, tokenizer: PreTrainedTokenizerBase, cache_dir: Path | None
) -> nn.Embedding:
    """Vectors of the words, from ``word_vectors`` or random."""
    return word_embedding(tokenizer, config["word_dim"], word_vectors_file(config), cache_dir)


def word_vectors_file(config: Settings) -> Path | None:
    """The file of word vectors; ``None``: they start at random.

    It is relative to the working directory, or to the folder of the data set.
    """
    if not config["word_vectors"]:
        return None
    beside = Path(config["data_path"]) / config["word_vectors"]
    given = Path(config["word_vectors"])
    return beside if beside.is_file() and not given.is_file() else given


def unfit_heads(size: int, head: int, of: str, prefix: str) -> Iterator[str]:
    """Why heads of this size, ``of`` something, don't make a news vector, if they don't."""
    if size % head:
        yield f"{prefix}news_dim expects a multiple of {of}, got {size}. Change one of them"


def unfit_word_vectors(config: Settings, prefix: str) -> Iterator[str]:
    """Why word vectors cannot be read, as far as the first line of their file shows it."""
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
