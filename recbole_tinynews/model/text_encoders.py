"""The text encoders that settings choose: a language model, or word vectors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from recbole_tinynews.data.word_vectors import size_of_vectors
from recbole_tinynews.encoder.plm_files import locate_plm, plm_size
from recbole_tinynews.encoder.word_vocabulary import word_tokenizer
from recbole_tinynews.encoder.words import WordCNN, WordSelfAttention
from recbole_tinynews.files.columns import CATEGORIES, TITLE
from recbole_tinynews.settings.protocol import Settings

CONTEXTS = {"cnn": WordCNN, "self_attention": WordSelfAttention}


def views_of(config: Settings) -> list[str]:
    """The views read; older artifacts have no ``views`` and read the title."""
    return config["views"] or [TITLE]


def starts_as(config: Settings) -> str | None:
    """The text that an article's vector starts as with pretrained heads; otherwise ``None``."""
    texts = (view for view in views_of(config) if view not in CATEGORIES)
    return next(texts) if starts_pretrained(config) else None


def reads_words(config: Settings | Mapping[str, Any]) -> bool:
    """Whether word vectors replace the language model."""
    return config["news_encoder"] == "words"


def starts_pretrained(config: Settings) -> bool:
    """Whether heads start as the ranking of the language model or (even random) word vectors."""
    return config["head_init"] == "pretrained"


def reads_titles_alone(config: Settings) -> bool:
    """Whether the title is the only view, which post-training matches with bodies."""
    return views_of(config) == [TITLE]


def reads_titles_by_plm(config: Settings) -> bool:
    """Whether a language model reads the title as the only view."""
    return not reads_words(config) and reads_titles_alone(config)


def plm_source(config: Settings) -> str:
    """Folder or hub name of the language model."""
    return locate_plm(config["plm"], [Path(config["data_path"])])


def plm_depth(config: Settings) -> int:
    """Number of layers that are kept of the language model."""
    layers = config["num_hidden_layers"]
    return plm_size(plm_source(config)).layers if layers is None else layers


def plm_training(config: Settings) -> dict[str, Any]:
    """How the language model trains, as arguments of ``TextEncoder``."""
    return {
        "finetune_layers": config["finetune_layers"],
        "dropout": config["plm_dropout"],
        "lora_rank": config["lora_rank"],
    }


def words_of_texts(config: Settings, dataset: Any) -> PreTrainedTokenizerBase:
    """Word tokenizer of the texts read; a finished recommender has its own."""
    return dataset.made_of_texts(texts_read(config), word_tokenizer)


def texts_read(config: Settings) -> tuple[str, ...]:
    """The texts read of an article; ``news_text`` replaces the view of the title."""
    fields = (config["news_text"] if view == TITLE else view for view in views_of(config))
    return tuple(field for field in fields if field not in CATEGORIES)


def word_vectors_file(config: Settings) -> Path | None:
    """Path of ``word_vectors``, as given or in the folder of the data set; ``None``: random."""
    if not config["word_vectors"]:
        return None
    beside = Path(config["data_path"]) / config["word_vectors"]
    given = Path(config["word_vectors"])
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
