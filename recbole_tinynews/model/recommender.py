"""The base of recommenders that encode texts: news encoder, user encoder, dot product."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from recbole.data.interaction import Interaction
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_tinynews.data.dataloader import ImpressionDataLoader, articles_of
from recbole_tinynews.data.dataset import NewsDataset
from recbole_tinynews.data.fields import (
    CANDIDATE_FEATURES,
    CANDIDATES,
    CONTEXT_ARTICLE,
    HISTORY,
    IMPRESSION_SIZE,
)
from recbole_tinynews.data.popularity import Counting
from recbole_tinynews.distillation.loss_terms import loss_terms
from recbole_tinynews.encoder.hidden_states import NO_STATES, StateRequest
from recbole_tinynews.encoder.plm_files import write_bare_plm
from recbole_tinynews.encoder.users import StartsAsMean, UserEncoder
from recbole_tinynews.encoder.words import write_tokenizer
from recbole_tinynews.files.columns import CATEGORIES
from recbole_tinynews.files.whole import write_text
from recbole_tinynews.model.article_reader import (
    ArticleReader,
    reads_vectors,
    reads_words,
    starts_pretrained,
)
from recbole_tinynews.model.interface import (
    BatchContext,
    Encoded,
    Outputs,
    features_of_impressions,
    further_features,
    reader_features,
)
from recbole_tinynews.model.time_features import TimeScore
from recbole_tinynews.settings.protocol import Settings

START_IMPRESSIONS = 20_000  # for fitting the initial weights of popularity
CATEGORY_NAMES = "categories.json"  # names by field, in the order of their ids, without padding


class NewsRecommender(ArticleReader):
    """Scores candidates by the vectors of their texts and of the texts that the user clicked.

    Its loss is the cross entropy of the click. A subclass may override ``losses``,
    ``make_news_encoder`` or ``make_user_encoder``; docs/extending.md has a complete example.

    Attributes:
        reads: class of its training data.
        ranks_news: whether it ranks news, and is evaluated.
        why_not_loaded: why ``load`` refuses it, as a clause after "which"; empty: it ranks given
            articles.
        time: the term that ``popularity`` adds to scores, like ``TimeScore``, or ``None``.
        counting: the counters that its scores use, or ``None``.
        article_categories: a buffer ``[news, 2]`` of those that compare categories: equal numbers
            for equal names, 0 where unknown. ``load`` puts those of served articles in its place.
        teacher_states: the hidden states that its loss needs from its teachers.
        loss_units: the unit that each loss is averaged over, by loss name, where not ``samples``:
            ``articles`` of histories and candidates with repeats; distinct ``texts``, their
            ``tokens``, or ``pairs`` of tokens of one text. Several processes weight means by it.
    """

    trainer_class = "NewsTrainer"
    reads: ClassVar[Any] = NewsDataset
    ranks_news: ClassVar[bool] = True
    why_not_loaded: ClassVar[str] = ""
    teacher_states: StateRequest = NO_STATES
    loss_units: Mapping[str, str] = {}

    def __init__(self, config: Settings, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.label_field, self.user_field = config["LABEL_FIELD"], config["USER_ID_FIELD"]
        self.user_encoder = self.make_user_encoder(config)
        self.time = self.make_time_score(config)
        self.counting = None if self.time is None else Counting.of(config)

    @classmethod
    def conflicting_settings(cls, config: Settings, prefix: str) -> Iterator[str]:
        """Also require what the parts of the reader and the page are added to."""
        yield from super().conflicting_settings(config, prefix)
        for part, needed in (("reader", "popularity"), ("context", "reader")):
            if config[part] == "added" and config[needed] == "none":
                yield (
                    f"{prefix}{part}=added must stand beside {needed}=added, got {needed}=none. "
                    f"Set {prefix}{needed}=added, or leave {prefix}{part} out"
                )

    def make_user_encoder(self, config: Settings) -> nn.Module:
        """``(history vectors [batch, history, dim], clicked [batch, history]) -> [batch, dim]``.

        What ``of_readers`` returns are its further arguments.
        """
        return UserEncoder(
            self.news_dim(config),
            config["query_dim"],
            config["user_encoder"],
            config["history_padding"],
            starts_as_mean=starts_pretrained(config),
        )

    def make_time_score(self, config: Settings) -> Any:
        """The term that ``popularity`` adds, like ``TimeScore``; ``None``: no term."""
        if config["popularity"] != "added":
            return None
        counting = Counting.of(config)
        sizes = len(counting.windows), counting.limited
        further = further_features(counting)
        return TimeScore(*sizes, config["popularity_hidden"], counting.reader, further)

    @torch.no_grad()
    def start_time(self, config: Settings, dataset: NewsDataset, again: bool = False) -> None:
        """Fit ``popularity`` weights to up to 20,000 evenly spaced training impressions.

        ``again``: continue from the present weights, as updates do, if the term has ``fit_again``.
        """
        fit = getattr(self.time, "fit_again" if again else "start", None)
        if fit is None:
            return
        training = self.training
        self.eval()
        loader = ImpressionDataLoader(config, dataset)
        count = loader.impressions.rows
        rows = np.linspace(0, count - 1, min(count, START_IMPRESSIONS)).astype(np.int64)
        parts = []
        for some in np.array_split(rows, -(-len(rows) // loader.step)):
            batch = loader.collate_impressions(some).to(self.device)
            labels = batch[self.label_field]
            if self.reads_reader:
                text, context, *_ = self.match_impressions(batch)
                parts.append((text.float(), context.counters, labels))
            else:
                counters = batch.interaction.pop(CANDIDATE_FEATURES)  # leaves text scores
                parts.append((self.predict(batch).float(), counters, labels))
        text, counters, labels = (torch.cat(each) for each in zip(*parts, strict=True))
        offsets = torch.from_numpy(loader.impressions.candidates.take(rows).offsets)
        fit(text, counters, labels, offsets)
        self.train(training)

    def started(self, config: Settings, own: nn.Module) -> nn.Module:
        """Make a user encoder start as the mean of the clicks under ``head_init: pretrained``."""
        return StartsAsMean(own) if starts_pretrained(config) else own

    def write_parts(self, config: Settings, folder: Path) -> None:
        """Write into a new folder what ``load`` builds it from, beside settings and weights.

        Configuration and tokenizer of the language model, or the tokenizer by words, and the names
        of categories; nothing if it ranks no given articles.
        """
        if not self.ranks_news or self.why_not_loaded or reads_vectors(config):
            return
        if reads_words(config):
            write_tokenizer(self.tokenizer, folder)
        else:
            write_bare_plm(self.plm_source, folder, self.layers_saved(config))
        names = {field: [*map(str, self.categories[field][1:])] for field in CATEGORIES}
        write_text(folder / CATEGORY_NAMES, json.dumps(names, ensure_ascii=False, indent=1) + "\n")

    @property
    def teachers(self) -> Sequence[NewsRecommender]:
        """The recommenders that it stands for as a teacher: itself, or those that it combines."""
        return [self]

    def make_teachers(self, config: Settings, dataset: Any, count: int) -> Any:
        """Teachers that train jointly with it; ``None``: its teachers are finished."""
        return None

    @property
    def parameter_count(self) -> int:
        """Number of parameters of news and user encoder, including the unused pooler."""
        parts = self.news_encoder, self.user_encoder
        return sum(p.numel() for part in parts for p in part.parameters())

    def encode_news(self, news_ids: Tensor) -> Tensor:
        """News vectors, ``[*news_ids.shape, news_dim]``; zeros for padding."""
        return self.news_encoder(news_ids)

    def article_vectors(self, news_ids: Tensor) -> Tensor:
        """Vectors of articles ``[articles, news_dim]`` by which they are compared."""
        return self.encode_news(news_ids)

    def encode_user(self, history: Tensor, clicked: Tensor, *of_readers: Tensor) -> Tensor:
        """User vectors ``[batch, news_dim]``; ``of_readers``: as the method returns them."""
        return self.user_encoder(history, clicked, *of_readers)

    def of_readers(self, interaction: Interaction) -> tuple[Tensor, ...]:
        """What the user encoder reads of a batch beside the clicks, each ``[batch, ...]``."""
        return ()

    def encode(self, interaction: Interaction, request: StateRequest = NO_STATES) -> Encoded:
        """Vectors of a training batch's articles, with the hidden states of the same pass."""
        context = self._context(interaction)
        ids, states = torch.cat([context.history, context.candidates], dim=1), None
        if context.page is not None:
            ids = torch.cat([ids, context.page.unsqueeze(1)], dim=1)
        with self.news_encoder.of_batch(articles_of(interaction)):
            if any(request):  # encode all articles: vectors of earlier steps have no states
                with self.news_encoder.record_states(request) as recorder:
                    vectors = self.encode_news(ids)
                states = recorder.states()
            else:
                with self.news_encoder.reusing_all_but(context.candidates):
                    vectors = self.encode_news(ids)
        clicks, page = context.history.shape[1], None
        if context.page is not None:
            ids, vectors, page = ids[:, :-1], vectors[:, :-1], vectors[:, -1]
        if self.reads_reader:
            history, news = vectors[:, :clicks], vectors[:, clicks:]
            features = reader_features(news, history, context, page)
            context = context.with_further(features)
        return Encoded(vectors, ids != 0, clicks, context, states)

    def _context(self, interaction: Interaction) -> BatchContext:
        fields = interaction.interaction
        of_readers, counters = self.of_readers(interaction), fields.get(CANDIDATE_FEATURES)
        reads_page = self.counting is not None and self.counting.page
        page = fields[CONTEXT_ARTICLE] if reads_page else None
        return BatchContext(fields[HISTORY], fields[CANDIDATES], of_readers, counters, page)

    @property
    def reads_reader(self) -> bool:
        """Whether scores read the reader's own clicks and exposures beside their history."""
        return self.counting is not None and self.counting.reader

    def match(self, news: Encoded) -> Outputs:
        """User vectors, and their dot products with the candidates as scores."""
        user = self._encode_users(news.history, news.clicked, news.context)
        scores = (news.candidates @ user.unsqueeze(-1)).squeeze(-1)
        return Outputs(scores, user, news)

    def _encode_users(
        self, history: Tensor, clicked: Tensor, context: BatchContext | None
    ) -> Tensor:
        return self.encode_user(history, clicked, *(context.of_readers if context else ()))

    def total_scores(
        self, text: Tensor, context: BatchContext | None, user: Tensor, news: Tensor
    ) -> Tensor:
        """Text scores plus any other term: with ``popularity``, text + time.

        The only place to add a term: training, teachers and ``predict`` all use it. ``text`` is
        ``[batch, candidates]``, in ``predict`` ``[sum of impression_size]``; ``user`` is ``[batch,
        dim]``, in ``predict`` one for each candidate; ``news`` is ``[*text.shape, dim]``.
        """
        if self.time is None or context is None or context.counters is None:
            return text
        return self.time(text, context.counters, user, news)

    def outputs_of(self, news: Encoded) -> Outputs:
        """Outputs of ``match`` with total scores."""
        outputs = self.match(news)
        candidates = outputs.news.candidates
        scores = self.total_scores(outputs.scores, news.context, outputs.user, candidates)
        text = None if scores is outputs.scores else outputs.scores
        return outputs._replace(scores=scores, text_scores=text)

    def score(self, interaction: Interaction, request: StateRequest = NO_STATES) -> Outputs:
        """Score a training batch: one row of candidates for each history."""
        return self.outputs_of(self.encode(interaction, request))

    def predict(self, interaction: Interaction) -> Tensor:
        """Scores of every candidate of whole impressions, ``[sum of impression_size]``."""
        text, context, users, candidates = self.match_impressions(interaction)
        return self.total_scores(text, context, users, candidates)

    def match_impressions(
        self, interaction: Interaction
    ) -> tuple[Tensor, BatchContext, Tensor, Tensor]:
        """Arguments of ``total_scores`` for whole impressions."""
        context, sizes = self._context(interaction), interaction[IMPRESSION_SIZE]
        history, clicked = self.encode_news(context.history), context.history != 0
        users = self._encode_users(history, clicked, context).repeat_interleave(sizes, 0)
        candidates = self.encode_news(context.candidates)
        context = self.with_reader(context, candidates, history, sizes)
        return (candidates * users).sum(-1), context, users, candidates

    def with_reader(
        self, context: BatchContext, news: Tensor, history: Tensor, sizes: Tensor
    ) -> BatchContext:
        """The context of whole impressions with ``reader_features``, if scores read those.

        ``news`` are vectors of the candidates, ``[sum of sizes, dim]``, ``history`` those of the
        clicks, ``[batch, history, dim]``.
        """
        if not self.reads_reader or context.counters is None:
            return context
        page = None if context.page is None else self.encode_news(context.page)
        return context.with_further(features_of_impressions(news, history, sizes, context, page))

    def calculate_loss(self, interaction: Interaction) -> tuple[Tensor, ...]:
        """Score a training batch once, and compute all losses from it."""
        outputs = self.score(interaction)
        losses: Any = self.losses(outputs, interaction)
        further = self.further_losses(outputs, interaction)
        return loss_terms({**losses._asdict(), **further}) if further else losses

    def further_losses(self, outputs: Outputs, interaction: Interaction) -> dict[str, Tensor]:
        """Weighted loss terms by name, added to ``losses`` even when a student replaces those."""
        return {}

    def losses(self, outputs: Outputs, interaction: Interaction) -> tuple[Tensor, ...]:
        """A NamedTuple of weighted loss terms, each the mean over the batch.

        RecBole sums them and the log shows their names. To extend a base class:
        ``loss_terms({**super().losses(outputs, interaction)._asdict(), "mine": ...})``.
        """
        target = F.cross_entropy(outputs.scores, interaction[self.label_field])
        return loss_terms({"target": target})
