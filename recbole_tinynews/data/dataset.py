"""RecBole data set with ragged news impressions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from functools import partial
from logging import getLogger
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from recbole.utils import FeatureSource, FeatureType, set_color

from recbole_tinynews.data.atomic_files import (
    NO_IMPRESSIONS,
    Indices,
    ItemColumns,
    TokenIndex,
    check_articles,
    check_candidates,
    publication_times,
    read_impressions,
    read_news,
)
from recbole_tinynews.data.dataloader import ClickDataLoader, ImpressionDataLoader
from recbole_tinynews.data.impressions import (
    ArticleFacts,
    CandidateFeatures,
    Impressions,
    RecentClicks,
    with_offsets,
)
from recbole_tinynews.data.news_text import TITLE_ABSTRACT, with_abstract
from recbole_tinynews.data.popularity import (
    Counting,
    popularity_features,
    refuse_without_times,
    wanted_counters,
)
from recbole_tinynews.files.array_cache import Arrays, GrowingArray, cached_arrays, content_key
from recbole_tinynews.files.columns import (
    ABSTRACT,
    CANDIDATES,
    CATEGORIES,
    CATEGORY,
    CONTEXT_ARTICLE,
    DEVICE,
    GROUPS,
    HISTORY,
    ITEM_ID,
    LABELS,
    PADDING,
    PUBLISHED,
    SOURCE,
    SUBCATEGORY,
    TITLE,
)
from recbole_tinynews.settings.protocol import Settings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SPLITS = ("train", "valid", "test")
TEXT_FIELDS = tuple(n for n in ItemColumns._fields if n not in (ITEM_ID, PUBLISHED, *GROUPS))
CACHE_FORMAT = "impressions 3"  # raise it when the meaning of the cached arrays changes


class NewsDataset(Dataset):
    """News text and impressions from the atomic files of ``docs/data.md``.

    Users and news have RecBole's indices (``token2id``, ``id2token``, ``num``), with padding 0.
    Articles missing from ``NAME.item`` have empty texts. Text is raw and not indexed.

    Attributes:
        inter_feat: impressions of all splits in the order of ``splits``, of one after ``build``.
        log: impressions of all splits.
        published: UTC seconds by news id, NaN if unknown; ``None`` if all are.
        item_feat: ``category`` and ``subcategory`` indices by news id.
        news_text: ``title``, ``abstract`` and ``body`` by news id; padding is empty.
        facts: category and training clicks by news id; ``None`` before ``build``.
        content: digest of the atomic files, whatever their path.
    """

    settings: ClassVar[tuple[str, ...]] = ()  # all stages read the same impressions
    inter_feat: Impressions
    history_width: int | None = None
    facts: ArticleFacts | None = None

    def _load_data(self, token: str, dataset_path: str) -> None:
        folder = Path(dataset_path)
        news_file = folder / f"{token}.item"
        inter_files = {split: folder / f"{token}.{split}.inter" for split in SPLITS}
        present = {split: file for split, file in inter_files.items() if file.is_file()}
        if not news_file.is_file() or "train" not in present:
            raise FileNotFoundError(
                f"NewsDataset expects {news_file} and {inter_files['train']}, but did not find "
                "both. Convert MIND with recbole-tinynews convert."
            )
        self.cache_dir = Path(self.config["checkpoint_dir"]) / token / "cache"
        self.content = content_key([CACHE_FORMAT, *present, news_file, *present.values()])
        news = read_news(news_file)
        for warning in check_articles(news_file, news):
            getLogger().warning(warning)
        make = partial(_index_impressions, self.cache_dir, news.item_id, present)
        arrays = cached_arrays(self.cache_dir, "impressions", self.content, make)
        self.inter_feat = Impressions.of_arrays(arrays)
        self.splits, self.file_size_list = list(present), arrays["sizes"].tolist()
        sizes = dict(zip(self.splits, self.file_size_list, strict=True))
        empty = [present[split] for split, rows in sizes.items() if not rows]
        if empty:  # nothing to train on, or no validation although its file exists
            raise ValueError(
                f"NewsDataset expects impressions in {', '.join(map(str, empty))}, got only a "
                "header. Convert the data set again, or delete the file of a validation or test "
                "set that is meant to be empty."
            )
        known = 1 + len(news.item_id)
        trained = self.inter_feat.between(0, sizes["train"]).candidates.values
        for warning in check_candidates(present["train"], trained, known):
            getLogger().warning(warning)
        self._set_index(self.uid_field, np.array(arrays["users"]))
        self._set_index(self.iid_field, np.array(arrays["news"]))
        self.devices = arrays["devices"].tolist()
        self.user_feat = None

        unseen = len(arrays["news"]) - known
        self.news_text = {
            field: ["", *getattr(news, field), *[""] * unseen] for field in TEXT_FIELDS
        }
        columns = {self.iid_field: torch.arange(known + unseen)}
        for field in CATEGORIES:
            index = TokenIndex()
            tokens = [token or PADDING for token in getattr(news, field)]  # unknown: id 0
            ids = index.ids([PADDING, *tokens, *[PADDING] * unseen])
            columns[field] = torch.from_numpy(ids).long()
            self._set_index(field, index.tokens())
        self.item_feat = Interaction(columns)
        self._sources = ["", *news.source, *[""] * unseen]
        self._made_of_texts: dict[Hashable, Any] = {}
        times = publication_times(news_file, news)
        unknown = np.full(unseen, np.nan)
        self.published = None if times is None else np.concatenate([[np.nan], times, unknown])
        self.log, self._first_row = self.inter_feat, 0
        self._made_of_log: dict[Hashable, Any] = {}
        self._describe_fields()

    def _set_index(self, field: str, tokens: NDArray[np.str_]) -> None:
        self.field2id_token[field] = tokens
        self.field2token_id[field] = dict(zip(tokens.tolist(), range(len(tokens)), strict=True))

    def _describe_fields(self) -> None:
        token, sequence = FeatureType.TOKEN, FeatureType.TOKEN_SEQ
        inter = FeatureSource.INTERACTION
        history = int(self.inter_feat.history.lengths.max(initial=0))
        candidates = int(self.inter_feat.candidates.lengths.max(initial=0))
        for field, kind, source, length in (
            (self.uid_field, token, FeatureSource.USER_ID, 1),
            (self.iid_field, token, FeatureSource.ITEM_ID, 1),
            (self.time_field, FeatureType.FLOAT, inter, 1),
            (HISTORY, sequence, inter, history),
            (CANDIDATES, sequence, inter, candidates),
            (LABELS, FeatureType.FLOAT_SEQ, inter, candidates),
            (CATEGORY, token, FeatureSource.ITEM, 1),
            (SUBCATEGORY, token, FeatureSource.ITEM, 1),
        ):
            self.set_field_property(field, kind, source, length)
        for field in (HISTORY, CANDIDATES):
            self.field2id_token[field] = self.field2id_token[self.iid_field]
            self.field2token_id[field] = self.field2token_id[self.iid_field]

    def _data_processing(self) -> None:
        """Disabled: ids are indexed on reading, and the conversion has filtered."""
        self.feat_name_list = self._build_feat_name_list()

    def _change_feat_format(self) -> None:
        """Disabled: impressions stay ragged; only batches are padded."""

    def build(self) -> list[NewsDataset | None]:
        """Training, validation and test impressions; ``None`` for a missing split."""
        training = self.inter_feat.between(0, self.file_size_list[0])
        self.facts = ArticleFacts.of(self.item_feat[CATEGORY].numpy(), training)
        parts: dict[str, NewsDataset] = {}
        for split, (start, stop) in self._rows_of_splits().items():
            parts[split] = self.copy(self.inter_feat.between(start, stop))
            parts[split]._first_row = start
        return [parts.get(split) for split in SPLITS]

    def copy(self, new_inter_feat: Impressions) -> NewsDataset:
        """The data set with other impressions; the log and what is made of it are shared."""
        part: NewsDataset = super().copy(new_inter_feat)
        part.log, part._made_of_log = self.log, self._made_of_log
        return part

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the other splits, which a loader's worker does not read."""
        return {**self.__dict__, "log": None, "_made_of_log": {}}

    def _rows_of_splits(self) -> dict[str, tuple[int, int]]:
        ends = np.cumsum(self.file_size_list).tolist()
        return dict(zip(self.splits, zip([0, *ends], ends, strict=False), strict=True))

    @classmethod
    def read(
        cls, config: Settings, news: NewsDataset, tokenizer: PreTrainedTokenizerBase
    ) -> NewsDataset:
        """``news`` itself: stages on clicks train on the run's impressions."""
        return news

    def loaders(
        self, config: Settings, valid: Any
    ) -> tuple[ClickDataLoader, ImpressionDataLoader | None]:
        """Clicks to train on, and validation impressions."""
        return ClickDataLoader(config, self), ImpressionDataLoader(config, valid) if valid else None

    def impressions(self, config: Settings) -> Impressions:
        """Impressions, with what else the settings read: counters, and clicks of the log.

        ``ValueError`` for unknown times.
        """
        first, last = self._first_row, self._first_row + self.inter_feat.rows
        self.check_log(config)
        counting = wanted_counters(config)
        further: dict[str, Any] = {}
        if counting is not None:
            every = self.log._replace(features=self._of_log(counting, self._count))
            further["features"] = every.between(first, last).features
            further["reads_page"] = counting.page
        if config["history_from"] == "log":
            known = config["popularity_delay"], config["popularity_from"] == "stream"
            further["recent"] = self._of_log(known, self._recent_clicks).between(first, last)
        return self.inter_feat._replace(**further)

    def _of_log(self, key: Hashable, make: Callable[[Any], Any]) -> Any:
        """What ``make(key)`` makes of the log, once for all splits."""
        if key not in self._made_of_log:
            self._made_of_log[key] = make(key)
        return self._made_of_log[key]

    def check_log(self, config: Settings) -> None:
        """``ValueError`` where the log lacks what the settings count: times, or pages."""
        counting = wanted_counters(config)
        if counting is None and config["history_from"] != "log":
            return
        self._of_log("times", self._refuse_without_times)
        if counting is not None and counting.page and not self.log.columns[CONTEXT_ARTICLE].any():
            raise ValueError(
                f"context=added needs the column {CONTEXT_ARTICLE} of {self.dataset_name}."
                "train.inter, and no impression has one. Convert a data set that has it "
                "(docs/data.md), or set context=none."
            )

    def _refuse_without_times(self, _: str) -> None:
        for split, (start, stop) in self._rows_of_splits().items():
            refuse_without_times(self.log.between(start, stop), split)

    def _count(self, counting: Counting) -> CandidateFeatures:
        cache = self.cache_dir, self.content
        arguments = self.log, counting, self.file_size_list[0], self.published
        return popularity_features(*arguments, cache, self.devices)

    def _recent_clicks(self, known: tuple[int, bool]) -> RecentClicks:
        delay, stream = known
        events = self.log if stream else self.log.between(0, self.file_size_list[0])
        clicked = np.flatnonzero(events.labels == 1)
        clicks = events.candidates.rows_of(clicked), events.candidates.values[clicked]
        names = self.field2id_token[self.iid_field]
        return RecentClicks.of(self.log.user, self.log.timestamp, clicks, delay, names)

    def texts(self, field: str) -> list[str]:
        """Texts by news id: a column, or ``title_abstract``."""
        if field != TITLE_ABSTRACT:
            return self.news_text[field]
        both = zip(self.news_text[TITLE], self.news_text[ABSTRACT], strict=True)
        return [with_abstract(*each) for each in both]

    def groups(self) -> dict[str, NDArray[np.str_]]:
        """Texts of ``category``, ``subcategory`` and ``source`` by news id; empty: unknown."""
        made = {SOURCE: np.array(self._sources)}
        for field in CATEGORIES:
            names, ids = self.field2id_token[field], self.item_feat[field].numpy()
            made[field] = np.where(ids == 0, "", names[ids])
        return made

    def made_of_texts(self, fields: tuple[str, ...], make: Callable[[Iterable[str]], Any]) -> Any:
        """Cached result of ``make`` on these texts of all articles."""
        key = fields, make
        if key not in self._made_of_texts:
            self._made_of_texts[key] = make(text for field in fields for text in self.texts(field))
        return self._made_of_texts[key]

    def training_news(self) -> NDArray[np.int64]:
        """Distinct article ids of histories and candidates."""
        return self.inter_feat.news_ids()

    def num(self, field: str) -> int:
        """Number of ids of an indexed field; ``ValueError`` for text."""
        if field in TEXT_FIELDS:
            raise ValueError(
                f"Dataset.num expects an indexed field, got the text '{field}', which is read raw. "
                "Use dataset.news_text for text."
            )
        return super().num(field)

    def counter(self, field: str) -> Counter:
        """Clicks of each user or article in these impressions."""
        impressions = self.inter_feat
        clicked = np.flatnonzero(impressions.labels == 1)
        if field == self.iid_field:
            return Counter(impressions.candidates.values[clicked].tolist())
        if field == self.uid_field:
            return Counter(impressions.user[impressions.candidates.rows_of(clicked)].tolist())
        raise ValueError(
            f"Dataset.counter expects '{self.uid_field}' or '{self.iid_field}', got '{field}'."
        )

    @property
    def avg_actions_of_users(self) -> float:
        """Mean clicks of users with clicks."""
        return float(np.mean(list(self.user_counter.values()) or [0]))

    @property
    def avg_actions_of_items(self) -> float:
        """Mean clicks of articles with clicks."""
        return float(np.mean(list(self.item_counter.values()) or [0]))

    @property
    def sparsity(self) -> float:
        """Share of (user, article) pairs without a click."""
        return 1 - sum(self.item_counter.values()) / self.user_num / self.item_num

    def __len__(self) -> int:
        return self.inter_feat.rows

    @property
    def inter_num(self) -> int:
        """Number of impressions, the rows of ``.inter`` files."""
        return len(self)

    def __getitem__(self, index: object, join: bool = True) -> Interaction:
        raise TypeError(
            f"{type(self).__name__} holds ragged impressions and is not indexed by row. "
            "Use dataset.inter_feat (Impressions), or a loader for batches."
        )

    def __str__(self) -> str:
        rows = max(1, len(self))
        history, candidates = (
            len(each.values) for each in (self.inter_feat.history, self.inter_feat.candidates)
        )
        lines = {
            "The number of candidates": candidates,
            "Average candidates": f"{candidates / rows:.1f}",
            "Average history": f"{history / rows:.1f}",
            "Impressions of": dict(zip(self.splits, self.file_size_list, strict=True)),
        }
        described = (set_color(name, "blue") + f": {value}" for name, value in lines.items())
        return "\n".join([super().__str__(), *described])


def _index_impressions(folder: Path, item_ids: list[str], files: dict[str, Path]) -> Arrays:
    """Arrays of all files, which may be larger than memory."""
    indices, empty = Indices(item_ids), NO_IMPRESSIONS.arrays()
    columns = {name: GrowingArray(folder, values) for name, values in empty.items()}
    sizes = []
    for file in files.values():
        sizes.append(0)
        for block in read_impressions(file, indices):
            sizes[-1] += block.rows
            for name, values in block.arrays().items():
                columns[name].append(values)
    return {
        "sizes": np.array(sizes),
        "users": indices.users.tokens(),
        "news": indices.news.tokens(),
        "devices": indices.context[DEVICE].tokens(),
        **with_offsets({name: column.array() for name, column in columns.items()}),
    }
