"""The base of recommenders that encode texts: news encoder, user encoder, dot product."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from recbole.data.interaction import Interaction
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from recbole_tinynews.data.batch import plan_of
from recbole_tinynews.data.dataset import NewsDataset
from recbole_tinynews.data.fields import CANDIDATES, HISTORY, IMPRESSION_SIZE
from recbole_tinynews.data.news_text import TITLE_ABSTRACT
from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.data.training_data import TrainingData
from recbole_tinynews.distillation.loss_terms import loss_terms
from recbole_tinynews.distillation.outputs import BatchIds, Encoded, Outputs
from recbole_tinynews.encoder.adapters import is_adapter
from recbole_tinynews.encoder.cached_encoder import CachedEncoder
from recbole_tinynews.encoder.column_tokenizer import ColumnTokenizer, pad_rows
from recbole_tinynews.encoder.frozen_states import Storage
from recbole_tinynews.encoder.language_model import load_tokenizer, locate_plm
from recbole_tinynews.encoder.planning import ArticlePlanner, MaskedTextPlanner
from recbole_tinynews.encoder.protocol import EncodesNews
from recbole_tinynews.encoder.self_attention import HEAD_DIM
from recbole_tinynews.encoder.states import NO_TAPS, Taps
from recbole_tinynews.encoder.text_encoder import TextEncoder
from recbole_tinynews.encoder.text_pooling import WordPooling
from recbole_tinynews.encoder.users.attentive import UserEncoder
from recbole_tinynews.encoder.users.starts_as_mean import StartsAsMean
from recbole_tinynews.encoder.view_composition import StartsAsText, ViewAttention
from recbole_tinynews.model.article_encoder import article_encoder, read_articles
from recbole_tinynews.model.impression_recommender import ImpressionRecommender
from recbole_tinynews.model.text_encoders import (
    CONTEXTS,
    encoder_by,
    reads_titles_by_plm,
    reads_words,
    starts_as,
    starts_pretrained,
    unfit_heads,
    unfit_word_vectors,
    views_of,
    words_of_texts,
)
from recbole_tinynews.settings.protocol import Settings


class NewsRecommender(ImpressionRecommender):
    """Scores candidates by the vectors of their texts and of the texts that the user clicked.

    A subclass says what is learnt by ``losses``, which returns a NamedTuple of weighted loss terms
    (RecBole adds them up; the log shows their names). To read other text, override
    ``news_tokens``; to model news or users in another way, ``make_news_encoder`` or
    ``make_user_encoder``. docs/extending.md has a whole one.

    An article is read by its ``views``: texts (title, abstract, body), each by a text encoder, and
    categories (category, subcategory). ``make_composition`` makes one vector of several.

    Attributes:
        reads: the kind of data it is trained on.
        two_towers: whether a score is the dot product of a user's vector and an article's; else
            ``match`` scores whole impressions too.
        reads_user_ids: whether its user encoder has a third argument, ids of users ``[batch]``,
            which are below ``user_count``; 0 is a user whom training has not seen.
        needs_language_model: whether word vectors cannot take its place.
        reads_for_users: whether an article has no vector by itself, since users read it in
            different ways.
        ranks_news: whether it ranks news at all, and is evaluated.
        ranks_given_articles: whether its artifact can be loaded to rank articles as they are given;
            else it needs their ids in its data set.
        makes_teachers: whether its ``make_teachers`` returns teachers that train together with it;
            else its teachers are frozen.
        pretrains_itself: whether stages before it train the layers that it finetunes; unless
            ``teacher_num_hidden_layers`` says otherwise, they have as many.
    """

    trainer_class = "NewsTrainer"
    reads: ClassVar[type[TrainingData]] = NewsDataset
    ranks_news: ClassVar[bool] = True
    ranks_given_articles: ClassVar[bool] = True
    makes_teachers: ClassVar[bool] = False
    pretrains_itself: ClassVar[bool] = False
    two_towers: ClassVar[bool] = True
    reads_user_ids: ClassVar[bool] = False
    needs_language_model: ClassVar[bool] = False
    reads_for_users: ClassVar[bool] = False

    def __init__(self, config: Settings, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.label_field, self.user_field = config["LABEL_FIELD"], config["USER_ID_FIELD"]
        self.plm_source, self._words = "", None
        if reads_words(config):
            self._words = self.word_tokenizer(config, dataset)
        else:
            self.plm_source = locate_plm(config["plm"], [Path(config["data_path"])])
        if self.reads_user_ids:
            self.user_count: int = dataset.num(self.user_field)
            trained = torch.zeros(self.user_count, dtype=torch.bool)
            trained[torch.from_numpy(np.unique(dataset.inter_feat.user))] = True
            self.register_buffer("_trained_users", trained, persistent=False)
        self.news_encoder: EncodesNews = self.make_news_encoder(config, dataset)
        self.user_encoder = self.make_user_encoder(config)

    @classmethod
    def conflicting_settings(cls, config: Settings, prefix: str) -> Iterator[str]:
        """Mistakes in combinations of settings that are valid one by one, found before training.

        Args:
            config: the settings as the stage that trains the model sees them.
            prefix: of the stage's settings, to name them by; empty for the last stage.
        """
        if reads_words(config):
            yield from unfit_word_vectors(config, prefix)
            usual = cls.make_word_context is NewsRecommender.make_word_context
            if usual and config["word_encoder"] == "self_attention":
                of = f"{HEAD_DIM}, the size of a head of {prefix}word_encoder=self_attention"
                yield from unfit_heads(cls.text_dim(config), HEAD_DIM, of, prefix)
        of_plm = cls.needs_language_model or cls.pretrains_itself
        if of_plm and not reads_titles_by_plm(config):
            yield (
                f"{cls.__name__} needs one language model that reads titles, and expects "
                f"{prefix}news_encoder=plm and {prefix}views=[title], got {config['news_encoder']} "
                f"and {views_of(config)}. Set both so, or choose another model"
            )

    # --------------------------------------------------------------------- what it is made of

    def news_tokens(self, config: Settings, dataset: Any) -> Ragged:
        """Token ids that the news encoder reads for each news id, of the text of ``news_text``."""
        return dataset.tokens(
            config["news_text"], self.tokenizer, longest_news_text(config), config["text_prefix"]
        )

    def text_widths(self, config: Settings, dataset: Any) -> NDArray[np.int64]:
        """The padded length of each text, used where pad tokens take part in pooling."""
        return np.full(dataset.num(dataset.iid_field), longest_news_text(config))

    def layers_kept(self, config: Settings) -> int | None:
        """How many of the language model's first layers are used; ``None``: all."""
        return config["num_hidden_layers"]

    @classmethod
    def news_dim(cls, config: Settings) -> int:
        """Size of a news vector."""
        return config["news_dim"]

    @classmethod
    def text_dim(cls, config: Settings) -> int:
        """Size of the vector of a text, which is an article's unless several views make it."""
        return cls.news_dim(config)

    def make_user_encoder(self, config: Settings) -> nn.Module:
        """``(history vectors [batch, history, dim], clicked [batch, history]) -> [batch, dim]``."""
        return UserEncoder(
            self.news_dim(config),
            config["query_dim"],
            config["user_encoder"],
            config["history_padding"],
            starts_as_mean=starts_pretrained(config),
        )

    def started(self, config: Settings, own: nn.Module) -> nn.Module:
        """A user encoder as it is, or starting as the mean of the clicks if heads start pretrained.

        ``UserEncoder`` does that by itself.
        """
        return StartsAsMean(own) if starts_pretrained(config) else own

    def start_heads(self, config: Settings, dataset: Any) -> None:
        """Start what earlier stages have not: the heads that depend on the language model.

        It is called once before a training, after the weights of earlier stages are loaded.
        """
        if isinstance(self.news_encoder, CachedEncoder):  # others start by themselves
            self.news_encoder.start_heads(dataset.training_news(), config["centred"])

    def storage(self, config: Settings, dataset: Any) -> Storage | None:
        """Where the frozen layers' hidden states are kept; ``None``: computed each time."""
        if config["use_cache"] is False or dataset.cache_dir is None:
            return None
        return Storage(
            dataset.cache_dir,
            config["cache_precision"],
            config["cache_budget"],
            ample_room=config["use_cache"] == "auto",
        )

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer of its language model, or that by words."""
        return load_tokenizer(self.plm_source) if self._words is None else self._words

    def word_tokenizer(self, config: Settings, dataset: Any) -> PreTrainedTokenizerBase:
        """The tokenizer by words, each of which has a vector."""
        return words_of_texts(config, dataset)

    def text_table(self, config: Settings, dataset: Any, pad_token_id: int) -> Ragged:
        """The token ids that the news encoder reads: ``news_tokens``, padded for some pooling."""
        tokens = self.news_tokens(config, dataset)
        if pads_texts(config):
            widths = self.text_widths(config, dataset)
            tokens = pad_rows(tokens, widths, pad_token_id)
        return tokens

    def column_tokenizer(self, config: Settings, pad_token_id: int) -> ColumnTokenizer | None:
        """Tokenises given articles as ``text_table`` reads those of the data set.

        ``None``: a subclass reads other texts, and does not say how those are given.
        """
        own, usual = type(self), NewsRecommender
        if own.news_tokens is not usual.news_tokens or own.text_table is not usual.text_table:
            return None
        longest = longest_news_text(config)
        pad_to = longest if pads_texts(config) else 0
        text, prefix = config["news_text"], config["text_prefix"]
        return ColumnTokenizer(text, self.tokenizer, longest, prefix, pad_to, pad_token_id)

    def make_news_encoder(self, config: Settings, dataset: Any) -> EncodesNews:
        """The module that turns news ids into vectors; ``EncodesNews`` is its interface.

        Raises:
            ValueError: a text is longer than the language model reads.
        """
        return article_encoder(self, config, dataset)

    def read_articles(self, config: Settings, dataset: Any) -> None:
        """Read the articles of this data set from now on: those that it is to rank."""
        read_articles(self, self.news_encoder, config, dataset)

    def make_composition(self, config: Settings, sizes: Mapping[str, int]) -> nn.Module:
        """``{view: [articles, size]} -> [articles, news_dim]``, with that as its ``dim``."""
        own = ViewAttention(sizes, self.news_dim(config), config["query_dim"])
        text = starts_as(config)
        return own if text is None else StartsAsText(text, own)

    def make_text_encoder(self, config: Settings, plm: PreTrainedModel) -> TextEncoder:
        """What makes a vector of a text, by the language model: with pooling and dense layer."""
        return encoder_by(plm, config, self.text_dim(config))

    def make_word_context(self, config: Settings) -> nn.Module:
        """``(hidden [tokens, word_dim], texts) -> [tokens, dim]``, with its ``dim``."""
        return CONTEXTS[config["word_encoder"]](config["word_dim"], self.text_dim(config))

    def make_word_pooling(self, config: Settings, dim: int) -> nn.Module:
        """``(hidden [tokens, dim], texts) -> [texts, text_dim]``, with that as its ``dim``."""
        return WordPooling(dim, config["query_dim"])

    @property
    def teachers(self) -> Sequence[NewsRecommender]:
        """The teachers that a student of it gets: itself, or the recommenders that it combines."""
        return [self]

    @property
    def teacher_taps(self) -> Taps:
        """The inner states that its loss asks its teachers for: none."""
        return NO_TAPS

    @property
    def parameter_count(self) -> int:
        """Number of parameters of news and user encoder, the unused pooler included."""
        parts = self.news_encoder, self.user_encoder
        served = [p for part in parts for n, p in part.named_parameters() if not is_adapter(n)]
        return sum(p.numel() for p in served)

    # ------------------------------------------------------------------------ what it computes

    def encode_news(self, news_ids: Tensor) -> Tensor:
        """News vectors, ``[*news_ids.shape, news_dim]``; zeros for padding."""
        return self.news_encoder(news_ids)

    def encode_user(self, history: Tensor, clicked: Tensor, *users: Tensor) -> Tensor:
        """User vectors ``[batch, news_dim]`` from the vectors of the clicked news.

        Shapes:
            users: ids ``[batch]``, for a recommender that reads them, and nothing for others.
        """
        return self.user_encoder(history, clicked, *users)

    def encode(self, interaction: Interaction, taps: Taps = NO_TAPS) -> Encoded:
        """Vectors of a training batch's articles, with the inner states of the same pass."""
        history_ids, candidate_ids = interaction[HISTORY], interaction[CANDIDATES]
        # one call for both, so that an article in history and candidates is encoded once
        ids, states = torch.cat([history_ids, candidate_ids], dim=1), None
        with self._following(interaction):
            if any(taps):  # of all the news: a vector of an earlier step has no states
                with self.news_encoder.tapped(taps) as tap:
                    vectors = self.encode_news(ids)
                states = tap.states()
            else:
                with self.news_encoder.reusing_all_but(candidate_ids):
                    vectors = self.encode_news(ids)
        width = history_ids.shape[1]
        about = BatchIds(history_ids, candidate_ids, self._users(interaction))
        return Encoded(vectors[:, width:], vectors[:, :width], history_ids != 0, states, about)

    def _users(self, interaction: Interaction) -> Tensor | None:
        """Ids of users ``[batch]``, 0 for those whom training has not seen, if they are read."""
        if not self.reads_user_ids:
            return None
        users = interaction[self.user_field]
        return torch.where(self.get_buffer("_trained_users")[users], users, 0)

    def planner(self) -> ArticlePlanner | MaskedTextPlanner | None:
        """Makes the plan that comes with a training batch; ``None``: its encoder follows none."""
        encoder = self.news_encoder
        return encoder.planner(shared=True) if isinstance(encoder, CachedEncoder) else None

    @property
    def counted_by(self) -> Mapping[str, str]:
        """What the mean of a loss is taken over, by its name; those not named: over ``samples``.

        ``articles`` of histories and candidates with their repeats; distinct ``texts``, their
        ``tokens``, or the ``pairs`` of tokens of one text. Where several processes train together,
        each weights the mean over its own part of a batch by the size of that part.
        """
        return {}

    def _following(self, interaction: Interaction) -> AbstractContextManager[None]:
        """Inside, the news encoder follows the plan of the batch."""
        if isinstance(self.news_encoder, CachedEncoder):
            return self.news_encoder.planned(plan_of(interaction))
        return nullcontext()

    def match(self, news: Encoded) -> Outputs:
        """User vectors from histories, and their dot products with the candidates as scores."""
        user = self._encode_users(news.history, news.clicked, news.ids and news.ids.users)
        scores = (news.candidates @ user.unsqueeze(-1)).squeeze(-1)
        return Outputs(scores, news.candidates, news.history, user, news.states)

    def _encode_users(self, history: Tensor, clicked: Tensor, users: Tensor | None) -> Tensor:
        return self.encode_user(history, clicked, *(() if users is None else (users,)))

    def score(self, interaction: Interaction, taps: Taps = NO_TAPS) -> Outputs:
        """Score a training batch: one row of candidates for each history."""
        return self.match(self.encode(interaction, taps))

    def calculate_loss(self, interaction: Interaction) -> tuple[Tensor, ...]:
        """Score a training batch once, and compute all losses from it."""
        outputs = self.score(interaction)
        losses: Any = self.losses(outputs, interaction)
        further = self.further_losses(outputs, interaction)
        return loss_terms({**losses._asdict(), **further}) if further else losses

    def further_losses(self, outputs: Outputs, interaction: Interaction) -> dict[str, Tensor]:
        """Weighted loss terms of a recommender that it keeps as a student, by name: none.

        ``losses`` is what a student has anew.
        """
        return {}

    def losses(self, outputs: Outputs, interaction: Interaction) -> tuple[Tensor, ...]:
        """Weighted loss terms by name, each the mean over the batch.

        A subclass adds its own to its base's:
        ``loss_terms({**super().losses(outputs, interaction)._asdict(), "mine": ...})``.
        """
        raise NotImplementedError(
            f"{type(self).__name__} must implement losses(outputs, interaction)."
        )

    def predict(self, interaction: Interaction) -> Tensor:
        """Scores of every candidate of whole impressions, ``[sum of impression_size]``."""
        history_ids, sizes = interaction[HISTORY], interaction[IMPRESSION_SIZE]
        clicked, who = history_ids != 0, self._users(interaction)
        history, candidates = self.encode_news(history_ids), self.encode_news
        if not self.two_towers:
            shown = one_row_each(interaction[CANDIDATES], sizes)
            about = BatchIds(history_ids, shown, who)
            scores = self.match(Encoded(candidates(shown), history, clicked, ids=about)).scores
            return scores[shown_of(sizes)]
        users = self._encode_users(history, clicked, who)
        return (candidates(interaction[CANDIDATES]) * users.repeat_interleave(sizes, 0)).sum(-1)


def one_row_each(candidates: Tensor, sizes: Tensor) -> Tensor:
    """The candidates of each impression in a row, padded behind with 0.

    >>> one_row_each(torch.tensor([4, 5, 6]), torch.tensor([1, 2])).tolist()
    [[4, 0], [5, 6]]
    """
    there = shown_of(sizes)
    return torch.zeros_like(there, dtype=candidates.dtype).masked_scatter(there, candidates)


def shown_of(sizes: Tensor) -> Tensor:
    """Which places of such rows hold a candidate, ``[impressions, largest]``."""
    return torch.arange(int(sizes.max()), device=sizes.device) < sizes[:, None]


def longest_news_text(config: Settings) -> int:
    """Tokens at which the text of an article is cut."""
    abstract = config["max_abstract_length"] if config["news_text"] == TITLE_ABSTRACT else 0
    return config["max_title_length"] + abstract


def pads_texts(config: Settings) -> bool:
    """Whether pad tokens take part in pooling (docs/method.md, section 3); words have none."""
    return not config["mask_padding_in_news_pooling"] and not reads_words(config)
