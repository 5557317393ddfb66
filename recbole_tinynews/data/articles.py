"""Texts for stages without clicks: with title and body, masked, or all of the data set."""

from __future__ import annotations

from logging import getLogger
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from recbole.data.interaction import Interaction

from recbole_tinynews.data.dataloader import (
    ImpressionDataLoader,
    NewsBatch,
    TrainDataLoader,
    id_tensor,
)
from recbole_tinynews.data.dataset import NewsDataset
from recbole_tinynews.data.fields import CANDIDATES, HISTORY, LENGTHS, PLACES, TOKENS, TRUTH
from recbole_tinynews.data.negatives import random_bits
from recbole_tinynews.data.news_text import tokenise
from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.files.array_cache import content_key
from recbole_tinynews.files.columns import ABSTRACT, BODY, TITLE
from recbole_tinynews.files.lines import read_lines
from recbole_tinynews.processes.group import shard
from recbole_tinynews.settings.protocol import Settings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


FEWEST_ARTICLES = 20  # one is held out and nine are negatives
HELD_OUT_SHARE, HELD_OUT_MOST = 0.05, 500


class Article(NamedTuple):
    """A nonempty title and body."""

    title: str
    body: str


def articles_for(config: Settings, news: NewsDataset) -> list[Article]:
    """Articles of ``post_train_corpus``, or by default of the data set."""
    corpus = config["post_train_corpus"]
    return read_corpus(Path(corpus)) if corpus else articles_of(news, news_to_read(config, news))


def news_to_read(config: Settings, news: NewsDataset) -> NDArray[np.int64]:
    """Ascending ids of articles for training without clicks, by ``post_train_news``."""
    every = np.arange(1, len(news.news_text[TITLE]))
    if config["post_train_news"] == "all":
        return every
    training = news.inter_feat.news_ids()
    if config["post_train_news"] == "archive":
        return np.union1d(training, np.setdiff1d(every, news.log.news_ids()))
    return training


def read_corpus(path: Path) -> list[Article]:
    """Articles of a tab-separated file without header: id, title, body; plain or gzip.

    Those without title or body are dropped; ``ValueError`` for fewer than ``FEWEST_ARTICLES``.
    """
    articles = []
    for number, line in enumerate(read_lines(path), start=1):
        columns = line.split("\t")
        if len(columns) != 3:
            raise ValueError(
                f"{path}, line {number}, expects 3 tab-separated columns (id, title, body), "
                f"got {len(columns)}."
            )
        articles.append(Article(columns[1].strip(), columns[2].strip()))
    return _complete(articles, str(path))


def articles_of(news: NewsDataset, ids: NDArray[np.int64]) -> list[Article]:
    """Articles with title and body (or abstract); ``ValueError`` below ``FEWEST_ARTICLES``."""
    text = news.news_text
    articles = [
        Article(
            text[TITLE][news_id].strip(),
            text[BODY][news_id].strip() or text[ABSTRACT][news_id].strip(),
        )
        for news_id in ids.tolist()
    ]
    return _complete(articles, f"{len(ids)} news of data set '{news.dataset_name}'")


def _complete(articles: list[Article], source: str) -> list[Article]:
    """Articles with title and body; ``ValueError`` for too few."""
    complete = [article for article in articles if article.title and article.body]
    if dropped := len(articles) - len(complete):
        getLogger().info(f"{source}: {dropped} articles without a title or a body are left out.")
    if len(complete) < FEWEST_ARTICLES:
        raise ValueError(
            f"Post-training expects at least {FEWEST_ARTICLES} articles with title and body, "
            f"got {len(complete)} from {source}. Name a corpus with --post_train_corpus=FILE, or "
            "read the news of all splits with --post_train_news=all."
        )
    return complete


def hold_out(texts: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of training texts, ascending, and of at least one random validation text.

    >>> [len(part) for part in hold_out(40, seed=0)]
    [38, 2]
    """
    held_out = max(1, min(HELD_OUT_MOST, int(texts * HELD_OUT_SHARE)))
    order = np.random.default_rng(seed).permutation(texts)
    return np.sort(order[held_out:]), order[:held_out]


class TrainingNews:
    """Every article of ``post_train_news`` once per epoch; other attributes are the data set's."""

    settings: ClassVar[tuple[str, ...]] = ("post_train_news",)
    content: str
    cache_dir: Path | None

    def __init__(self, news: NewsDataset, articles: NDArray[np.int64], content: str) -> None:
        self.news, self.articles, self.content = news, articles, content

    @classmethod
    def read(
        cls, config: Settings, news: NewsDataset, tokenizer: PreTrainedTokenizerBase
    ) -> TrainingNews:
        """News for a stage with these settings."""
        articles, content = news_to_read(config, news), news.content
        if config["post_train_news"] != "train":
            content = content_key([content, articles.tobytes()])
        return cls(news, articles, content)

    def loaders(
        self, config: Settings, valid: Any
    ) -> tuple[TrainingNewsLoader, ImpressionDataLoader | None]:
        """Training articles, and validation impressions."""
        return (
            TrainingNewsLoader(config, self),
            ImpressionDataLoader(config, valid) if valid else None,
        )

    def __getattr__(self, name: str) -> Any:
        if name == "news":  # not set yet while being copied
            raise AttributeError(name)
        return getattr(self.news, name)


class TrainingNewsLoader(TrainDataLoader):
    """One sample is one article, as the only click and the only candidate (``[batch, 1]``)."""

    def __init__(self, config: Settings, dataset: TrainingNews) -> None:
        self.articles = dataset.articles
        super().__init__(config, dataset, len(self.articles))

    def news_ids(self) -> NDArray[np.int64]:
        """Ids of all articles."""
        return self.articles

    def collate_samples(self, samples: NDArray[np.int64]) -> Interaction:
        """The batch of these articles."""
        ids = id_tensor(self.articles[samples][:, None])
        label = torch.zeros(len(samples), dtype=torch.long)
        return Interaction({HISTORY: ids, CANDIDATES: ids, self.config["LABEL_FIELD"]: label})


CHOSEN, MASKED, REPLACED = 0.15, 0.8, 0.1  # of ordinary tokens; of chosen; of chosen
OTHER_TOKEN = 1 << 32  # draws below choose places, from here on replacement tokens


class MaskedTokens(NamedTuple):
    """Masked ``tokens``, concatenated, with ``places`` and ``truth`` of the tokens to predict."""

    tokens: NDArray[np.int64]
    places: NDArray[np.int64]
    truth: NDArray[np.int64]


class Masking:
    """BERT's masking (Devlin et al., NAACL 2019, section 3.1).

    Ordinary tokens are chosen with probability 0.15; of these 80 % become the mask token, 10 % a
    random ordinary token. ``ValueError`` for a tokenizer without mask token.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, seed: int) -> None:
        if tokenizer.mask_token_id is None:
            raise ValueError(
                "Masked-language-model training expects a tokenizer with a mask token, and that of "
                f"{tokenizer.name_or_path} has none. Choose another plm."
            )
        self.seed, self.mask_id = seed, int(tokenizer.mask_token_id)
        self.special = np.array(sorted(tokenizer.all_special_ids))
        self.ordinary = np.setdiff1d(np.arange(len(tokenizer)), self.special)

    def draw(self, epoch: int, tokens: Ragged, texts: NDArray) -> MaskedTokens:
        """Mask ``tokens``; ``texts`` are the numbers of its rows."""
        truth = tokens.values.astype(np.int64)
        text = np.repeat(texts, tokens.lengths)
        place = np.arange(len(truth)) - np.repeat(tokens.offsets[:-1], tokens.lengths)
        draw = random_bits(self.seed, epoch, text, place) / 2.0**64  # uniform on [0, 1]
        chosen = (draw < CHOSEN) & ~np.isin(truth, self.special)
        masked = chosen & (draw < CHOSEN * MASKED)
        replaced = chosen & ~masked & (draw < CHOSEN * (MASKED + REPLACED))
        bits = random_bits(self.seed, epoch, text[replaced], place[replaced] + OTHER_TOKEN)
        seen = truth.copy()
        seen[masked] = self.mask_id
        seen[replaced] = self.ordinary[bits % np.uint64(len(self.ordinary))]
        return MaskedTokens(seen, np.flatnonzero(chosen), truth[chosen])


HELD_OUT_EPOCH = -1  # every validation masks the same tokens


class MaskedTextDataset:
    """Texts as ragged token ids, a twentieth of them held out; a subclass chooses the texts."""

    settings: ClassVar[tuple[str, ...]] = ("max_body_length", "seed")

    def __init__(
        self,
        texts: list[str],
        tokenizer: PreTrainedTokenizerBase,
        max_length: int,
        seed: int,
        cache_dir: Path | None = None,
    ) -> None:
        if len(texts) < 2:
            raise ValueError(
                "Masked-language-model training expects at least 2 texts, one of them to be held "
                f"out, got {len(texts)}. Name a corpus with --post_train_corpus=FILE, convert "
                "news with their text, or read those of all splits with --post_train_news=all."
            )
        self.cache_dir = cache_dir
        self.masking = Masking(tokenizer, seed)
        tokens = tokenise(["", *texts], tokenizer, max_length, cache_dir)
        self.tokens = tokens.between(1, tokens.rows)
        self.content = content_key([part.tobytes() for part in self.tokens])
        self.train_texts, self.valid_texts = hold_out(len(texts), seed)

    @classmethod
    def read(
        cls, config: Settings, news: NewsDataset, tokenizer: PreTrainedTokenizerBase
    ) -> MaskedTextDataset:
        """Texts for a stage with these settings."""
        texts = cls.texts(config, news)
        return cls(texts, tokenizer, config["max_body_length"], config["seed"], news.cache_dir)

    @staticmethod
    def texts(config: Settings, news: NewsDataset) -> list[str]:
        """Nonempty texts to read."""
        raise NotImplementedError

    def loaders(
        self, config: Settings, valid: Any
    ) -> tuple[MaskedTextDataLoader, MaskedTextDataLoader]:
        """Training texts, and held-out texts that are always masked alike."""
        held_out = MaskedTextDataLoader(config, self, self.valid_texts)
        held_out.set_epoch(HELD_OUT_EPOCH)
        return MaskedTextDataLoader(config, self, self.train_texts), held_out


class MaskedBodies(MaskedTextDataset):
    """Bodies of the post-training corpus (DAPT), as in title-body matching."""

    settings = (*MaskedTextDataset.settings, "post_train_corpus", "post_train_news")

    @staticmethod
    def texts(config: Settings, news: NewsDataset) -> list[str]:
        """Bodies of corpus or data set; the abstract if an article has no body."""
        return [article.body for article in articles_for(config, news)]


class MaskedNews(MaskedTextDataset):
    """Title and abstract of each of the data set's articles, as one text (TAPT)."""

    settings = (*MaskedTextDataset.settings, "post_train_news")

    @staticmethod
    def texts(config: Settings, news: NewsDataset) -> list[str]:
        """Nonempty texts of ``post_train_news``; no click is read."""
        titles, abstracts = news.news_text[TITLE], news.news_text[ABSTRACT]
        joined = (
            f"{titles[news_id].strip()} {abstracts[news_id].strip()}".strip()
            for news_id in news_to_read(config, news).tolist()
        )
        return [each for each in joined if each]


class MaskedTextDataLoader(TrainDataLoader):
    """One sample is one text, masked differently in each epoch.

    A batch has concatenated texts, never indexed by row: ``tokens`` after masking, their
    ``lengths [batch]``, and ``places`` and original tokens (``truth``) to predict, ``[chosen]``.
    """

    def __init__(
        self, config: Settings, dataset: MaskedTextDataset, texts: NDArray[np.int64]
    ) -> None:
        self.texts = texts
        super().__init__(config, dataset, len(texts))

    def collate_part(self, samples: NDArray[np.int64]) -> NewsBatch:
        """This process's texts, sharded by length, and its share of the chosen tokens."""
        lengths = self._dataset.tokens.lengths[self.texts[samples]]
        own = shard(samples[np.argsort(lengths, kind="stable")], self.group)
        batch = self.collate_samples(own if len(own) else samples[:1])
        chosen = len(self.collate_samples(samples)[TRUTH])
        share = len(batch[TRUTH]) / chosen if len(own) and chosen else 0.0
        return NewsBatch(batch.interaction, shares={"samples": share})

    def collate_samples(self, samples: NDArray[np.int64]) -> Interaction:
        """The batch of these texts."""
        texts = self.texts[samples]
        tokens = self._dataset.tokens.take(texts)
        masked = self._dataset.masking.draw(self.epoch, tokens, texts)
        return Interaction(
            {
                TOKENS: torch.from_numpy(masked.tokens),
                LENGTHS: id_tensor(tokens.lengths),
                PLACES: torch.from_numpy(masked.places),
                TRUTH: torch.from_numpy(masked.truth),
            }
        )
