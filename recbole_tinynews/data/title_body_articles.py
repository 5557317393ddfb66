"""Articles for title-body matching (docs/method.md)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from recbole.data.interaction import Interaction

from recbole_tinynews.data.articles import Article, articles_for, hold_out
from recbole_tinynews.data.dataloader import ImpressionDataLoader, TrainDataLoader, id_tensor
from recbole_tinynews.data.dataset import NewsDataset
from recbole_tinynews.data.fields import CANDIDATES, HISTORY
from recbole_tinynews.data.impressions import ArticleFacts, Impressions
from recbole_tinynews.data.negatives import BatchTitles, OtherTitles
from recbole_tinynews.data.news_text import tokenise
from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.files.array_cache import content_key
from recbole_tinynews.settings.protocol import Settings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class TitleBodyDataset:
    """Articles as impressions: the history is one body, the candidates are titles.

    Ids in one table: 0 is padding, ``1 .. articles`` titles, ``articles + 1 .. 2 articles`` bodies.
    Titles with equal tokens share the first one's id.
    """

    history_width: int | None = 1  # the body
    settings: ClassVar[tuple[str, ...]] = (
        *("post_train_corpus", "post_train_news", "text_prefix"),
        *("max_title_length", "max_body_length", "negatives", "seed"),
    )

    def __init__(
        self,
        articles: list[Article],
        tokenizer: PreTrainedTokenizerBase,
        max_title_length: int,
        max_body_length: int,
        negatives: int,
        seed: int,
        cache_dir: Path | None = None,
        prefix: str = "",
    ) -> None:
        self.cache_dir, self.tokenizer = cache_dir, tokenizer
        self.facts: ArticleFacts | None = None  # candidates are titles, not articles
        titles, bodies = (
            tokenise(["", *texts], tokenizer, max_length, cache_dir, prefix)
            for texts, max_length in (
                ([article.title for article in articles], max_title_length),
                ([article.body for article in articles], max_body_length),
            )
        )
        self.text_tokens = Ragged.concatenate([titles, bodies.between(1, bodies.rows)])
        self.articles = len(articles)
        self.titles = _first_with_equal_tokens(titles.between(1, titles.rows))
        self.content = content_key([part.tobytes() for part in self.text_tokens])
        self.train_articles, self.valid_articles = hold_out(self.articles, seed)
        self.inter_feat = self._held_out_impressions(OtherTitles(self.titles, negatives, seed))

    @classmethod
    def read(
        cls, config: Settings, news: NewsDataset, tokenizer: PreTrainedTokenizerBase
    ) -> TitleBodyDataset:
        """Articles for a stage; ``ValueError`` for too few articles or distinct titles."""
        data = cls(
            articles_for(config, news),
            tokenizer,
            config["max_title_length"],
            config["max_body_length"],
            config["negatives"],
            config["seed"],
            news.cache_dir,
            config["text_prefix"],
        )
        different = len(np.unique(data.titles))
        if config["negatives"] >= different:
            raise ValueError(
                f"negatives={config['negatives']} of post-training expects more titles than that, "
                f"got {different} in {data.articles} articles. Set fewer (for one stage: "
                "post_train_teacher_negatives), or give another corpus with --post_train_corpus."
            )
        return data

    def loaders(
        self, config: Settings, valid: Any
    ) -> tuple[TitleBodyDataLoader, ImpressionDataLoader]:
        """Training articles, and held-out ones as impressions."""
        return TitleBodyDataLoader(config, self), ImpressionDataLoader(config, self)

    def impressions(self, config: Settings) -> Impressions:
        """Held-out bodies as impressions."""
        return self.inter_feat

    def training_news(self) -> NDArray[np.int64]:
        """Distinct text ids of the training titles."""
        return np.unique(self.title_ids(self.train_articles))

    def title_ids(self, article: Any) -> Any:
        """Text ids of titles."""
        return self.titles[article] + 1

    def body_ids(self, article: Any) -> Any:
        """Text ids of bodies."""
        return article + 1 + self.articles

    def _held_out_impressions(self, negatives: OtherTitles) -> Impressions:
        """Held-out bodies, each with its title and random others for any ``negative_titles``."""
        articles = self.valid_articles
        others = negatives.draw(-1, articles)  # not a training epoch
        titles = self.title_ids(np.column_stack([articles, others])).astype(np.int32)
        labels = np.zeros(titles.shape, dtype=np.int8)
        labels[:, 0] = 1
        rows = len(articles)
        return Impressions(
            articles.astype(str),
            np.zeros(rows, dtype=np.int32),
            np.zeros(rows, dtype=np.int64),
            Ragged.from_lengths(self.body_ids(articles).astype(np.int32), np.ones(rows, np.int64)),
            Ragged.from_lengths(titles.ravel(), np.full(rows, titles.shape[1])),
            labels.ravel(),
        )


class TitleBodyDataLoader(TrainDataLoader):
    """One sample is one article: its body, its title and titles of other articles.

    Held-out titles are never negatives: training would lower their ranks in the validation. Batches
    have ``history`` ``[batch, 1]``, ids of the bodies, ``candidates`` ``[batch, 1 + negatives]``,
    the own title **first**, so ``label`` is 0; with ``negative_titles: in_batch`` candidates are a
    full batch.
    """

    def __init__(self, config: Settings, dataset: TitleBodyDataset) -> None:
        titles, seed = dataset.titles[dataset.train_articles], config["seed"]
        self.negatives = (
            BatchTitles(titles, config["train_batch_size"], seed)
            if config["negative_titles"] == "in_batch"
            else OtherTitles(titles, config["negatives"], seed)
        )
        super().__init__(config, dataset, len(dataset.train_articles))

    def news_ids(self) -> NDArray[np.int64]:
        """Ids of all texts under ``use_cache: true``, for all students."""
        if self.config["use_cache"] is not True:
            return super().news_ids()
        data = self._dataset
        articles = data.train_articles
        return np.union1d(data.title_ids(articles), data.body_ids(articles))

    def collate_samples(self, samples: NDArray[np.int64]) -> Interaction:
        """The batch of these training articles."""
        data = self._dataset
        articles = data.train_articles[samples]
        wrong = data.train_articles[self.negatives.draw(self.epoch, samples)]
        return Interaction(
            {
                HISTORY: id_tensor(data.body_ids(articles)[:, None]),
                CANDIDATES: id_tensor(data.title_ids(np.column_stack([articles, wrong]))),
                self.config["LABEL_FIELD"]: torch.zeros(len(articles), dtype=torch.long),
            }
        )


def _first_with_equal_tokens(titles: Ragged) -> NDArray[np.int64]:
    first: dict[bytes, int] = {}
    rows = (titles.row(row).tobytes() for row in range(titles.rows))
    return np.array([first.setdefault(tokens, row) for row, tokens in enumerate(rows)])
