"""Factories of a stage's settings, data, model, trainer and loaders, for each kind of model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import torch
from recbole.data.dataloader import AbstractDataLoader
from recbole.data.transform import construct_transform
from recbole.utils import init_seed
from torch import Tensor

from recbole_tinynews.data.articles import TrainingNews
from recbole_tinynews.data.dataloader import ImpressionDataLoader
from recbole_tinynews.data.dataset import NewsDataset
from recbole_tinynews.distillation.teachers import Teachers
from recbole_tinynews.encoder.plm_files import load_tokenizer, plm_content
from recbole_tinynews.encoder.trimming import derived_plm
from recbole_tinynews.encoder.words import vocabulary_of
from recbole_tinynews.files.array_cache import content_key
from recbole_tinynews.files.columns import TITLE
from recbole_tinynews.model.article_reader import (
    has_plm,
    plm_source,
    reads_vectors,
    reads_words,
    texts_read,
    vectors_file,
    word_vectors_file,
    words_of_texts,
)
from recbole_tinynews.model.recommender import NewsRecommender
from recbole_tinynews.pipeline.artifact import SETTINGS_FILE, identity_of
from recbole_tinynews.pipeline.config import NewsConfig
from recbole_tinynews.pipeline.stage import Stage
from recbole_tinynews.recbole_models import patches
from recbole_tinynews.recbole_models.feeds import feed_of
from recbole_tinynews.recbole_models.interactions import (
    InteractionDataset,
    RowDataLoader,
    train_loader,
)
from recbole_tinynews.recbole_models.item_text import (
    item_tables,
    item_vectors,
    locate_vectors,
    put_item_text,
)
from recbole_tinynews.settings.protocol import Settings
from recbole_tinynews.settings.registry import has_language_model, is_news_model
from recbole_tinynews.trainer import UntrainedTrainer, find_trainer, on_impressions


class ImpressionFactory:
    """Factory of recommenders without a news encoder; base of the others."""

    def __init__(self, config: NewsConfig, dataset: NewsDataset) -> None:
        self.config, self.dataset = config, dataset
        train, self.valid, self.test = dataset.build()
        assert train is not None, "a data set without training impressions is refused when read"
        self.train: NewsDataset = train

    def data(self, model_class: type, config: NewsConfig) -> Any:
        """The training impressions."""
        return self.train

    def data_content(self, model_class: type, config: NewsConfig) -> str:
        """Digest of the atomic files."""
        return self.dataset.content

    def language_model_content(self, config: NewsConfig) -> str:
        """Digest of what encodes texts, or a hub name; empty for models that read none."""
        return content_of_texts(config)

    def ranks_news(self, model_class: type) -> bool:
        """Whether it is evaluated on impressions; stages of texts alone are not."""
        return getattr(model_class, "ranks_news", True)

    def data_mistakes(self, stage: Stage, config: NewsConfig) -> Iterator[str]:
        """Messages about data that leave nothing to train or to validate a stage on."""
        validates = config["eval_step"] > 0 and config["epochs"] != 0
        if validates and self.valid is not None and not self.valid.inter_feat.rankable:
            yield (
                "Validation expects impressions with clicked and unclicked candidates, and found "
                f"none among {len(self.valid)} in {self.dataset.dataset_name}.valid.inter. Give "
                "labelled validation data, or train without: --eval_step=0"
            )

    def model_settings(self, config: NewsConfig) -> NewsConfig:
        """The settings from which a stage's models are built."""
        return config

    def model(self, model_class: type, config: NewsConfig) -> Any:
        """A new model, on its device."""
        data = self.data(model_class, config)
        return model_class(self.model_settings(config), data).to(config["device"])

    def start(self, model: Any, config: NewsConfig, data: Any, new_heads: bool) -> None:
        """Finish the initialisation of a new model after the hand-over."""

    def trainer(
        self,
        config: NewsConfig,
        model: Any,
        folder: Path | None = None,
        teachers: Teachers | None = None,
    ) -> Any:
        """The model's trainer."""
        of_student = {} if teachers is None else {"teachers": teachers}
        return find_trainer(type(model))(config, model, folder=folder, **of_student)

    def loaders(self, config: NewsConfig, data: Any) -> tuple[Any, Any]:
        """Training and validation loaders, each may be ``None``."""
        return None, self.impressions(config, self.valid) if self.valid else None

    def impressions(self, config: NewsConfig, shown: NewsDataset) -> AbstractDataLoader:
        """A loader of whole impressions."""
        return ImpressionDataLoader(config, shown)


class NewsFactory(ImpressionFactory):
    """Factory of recommenders that encode texts."""

    def __init__(self, config: NewsConfig, dataset: NewsDataset) -> None:
        super().__init__(config, dataset)
        self._data: dict[tuple, Any] = {}
        self._derived: dict[tuple, str] = {}  # language models by settings
        self._load_tokenizer = cache(load_tokenizer)  # multilingual ones take more than a second

    def model_settings(self, config: NewsConfig) -> NewsConfig:
        """With the derived language model as ``plm``."""
        if not has_plm(config):
            return config
        return config.with_plm(self._plm_source(config), self._tokenizer(config))

    def _plm_source(self, config: NewsConfig) -> str:
        """Folder or hub name of the language model, derived if the settings say so."""
        source, layers = plm_source(config), config["num_hidden_layers"]
        if config["update_from"]:  # derived when it was first trained
            return source
        how = config["text_prefix"], config["vocabulary_min_articles"], layers == 0
        if (source, how) not in self._derived:
            made = derived_plm(source, content_of_language_model(source), self.train, *how)
            self._derived[source, how] = made
        return self._derived[source, how]

    def data(self, model_class: type[NewsRecommender], config: NewsConfig) -> Any:
        """Impressions, or texts for stages without clicks; equal data are read once."""
        kind, by_plm = model_class.reads, has_plm(config)
        if not by_plm and issubclass(kind, NewsDataset):  # needs no tokens
            return self.train
        tokens_of = self._plm_source(config) if by_plm else texts_read(config)
        wanted = (kind, tokens_of, *(config[name] for name in kind.settings))
        if wanted not in self._data:  # a corpus is large, and shared by all teachers
            self._data[wanted] = kind.read(config, self.train, self._tokenizer(config))
        return self._data[wanted]

    def _tokenizer(self, config: NewsConfig) -> Any:
        if reads_vectors(config):
            return None
        if reads_words(config):
            return words_of_texts(config, self.train)
        return self._load_tokenizer(self._plm_source(config))

    def data_content(self, model_class: type[NewsRecommender], config: NewsConfig) -> str:
        """Digest of the impressions, or of the texts' tokens and the vocabulary."""
        data: Any = self.data(model_class, config)
        if data is self.train or not reads_words(config):
            return data.content
        # all words of the data set have vectors, not only those of these texts
        return content_key([data.content, json.dumps(vocabulary_of(data.tokenizer))])

    def language_model_content(self, config: NewsConfig) -> str:
        """Digest of the language model or word vectors, or the model's hub name."""
        source = source_of_texts(config)
        derived = self._plm_source(config) if has_plm(config) else source
        # the name of a derived one is a digest
        return content_of_language_model(source) if derived == source else Path(derived).name

    def data_mistakes(self, stage: Stage, config: NewsConfig) -> Iterator[str]:
        """Those of clicks and texts too; stages of texts alone have validations of their own."""
        reads, name = stage.model.reads, self.dataset.dataset_name
        trains = not issubclass(find_trainer(stage.model), UntrainedTrainer)
        on_clicks = trains and issubclass(reads, NewsDataset)
        if on_clicks and not self.train.inter_feat.rankable:
            yield (
                f"Stage {stage.name} expects training impressions with clicked and unclicked "
                f"candidates, and {name}.train.inter has none among {len(self.train)}. Convert "
                "labelled impressions"
            )
        text = config["news_text"]
        if on_clicks and not any(map(str.strip, self.dataset.texts(text))):
            yield (
                f"Stage {stage.name} expects articles with words, and all texts of {name}.item are "
                f"empty (news_text={text}). Convert the data set with its texts"
            )
        if issubclass(reads, NewsDataset):
            try:
                self.train.check_log(config)
            except ValueError as mistake:
                yield f"Stage {stage.name}: {str(mistake).removesuffix('.')}"
        if issubclass(reads, NewsDataset | TrainingNews):
            yield from super().data_mistakes(stage, config)

    def start(self, model: NewsRecommender, config: NewsConfig, data: Any, new_heads: bool) -> None:
        """Initialise the heads that no earlier stage has, and fit the term of popularity."""
        if new_heads:
            model.start_heads(config, data)
        if issubclass(model.reads, NewsDataset):
            model.start_time(config, self.train, again=not new_heads)

    def loaders(self, config: NewsConfig, data: Any) -> tuple[Any, Any]:
        """Training and validation loaders; the latter may be ``None``."""
        return data.loaders(config, self.valid)


class RecBoleFactory(ImpressionFactory):
    """Factory of RecBole's own models, which read impressions as single interactions.

    ``item_vectors`` are those of ``item_text``, computed for the first model.
    """

    item_vectors: Tensor | None = None

    def __init__(self, config: NewsConfig, dataset: NewsDataset) -> None:
        super().__init__(config, dataset)
        patches.apply_to_models()
        self.feed = feed_of(config.model_class, config["MODEL_INPUT_TYPE"])
        self.interactions = InteractionDataset(self.train, config, self.feed)
        construct_transform(config)  # adds field names to the config, for BERT4Rec

    def data(self, model_class: type, config: NewsConfig) -> InteractionDataset:
        """The training interactions."""
        return self.interactions

    def model(self, model_class: type, config: NewsConfig) -> Any:
        """A new model; seeded, since some draw random values that are not among their weights."""
        made = self._model_by_ids(model_class, config)
        if config["item_text"]:
            tables = item_tables(made, self.interactions)  # may refuse the model, before encoding
            if self.item_vectors is None:
                with torch.random.fork_rng():  # the model is the same when they are known
                    self.item_vectors = self._encode(config)
            put_item_text(tables, self.item_vectors, config["item_text_ids"])
        return made.to(config["device"])

    def _encode(self, config: NewsConfig) -> Tensor:
        news = self.train
        columns: dict[str, Any] = {**news.news_text, **news.groups()}
        columns[TITLE] = news.texts(config["news_text"])
        ids, prefix = news.field2id_token[news.iid_field], config["text_prefix"]
        where = news.cache_dir, config["device"]
        return item_vectors(source_of_item_text(config), ids, columns, prefix, *where)

    def _model_by_ids(self, model_class: type, config: NewsConfig) -> Any:
        init_seed(config["seed"], config["reproducibility"])
        try:
            return model_class(config, self.interactions)
        except Exception as problem:  # these models don't check settings, and fail in any way
            raise ValueError(
                f"RecBole's {model_class.__name__} cannot be built with these settings: "
                f"{type(problem).__name__}: {' '.join(str(problem).split())[:300]} Check the "
                "settings of its yaml that you have changed."
            ) from problem

    def trainer(
        self, config: NewsConfig, model: Any, folder: Path | None = None, teachers: Any = None
    ) -> Any:
        """The model's RecBole trainer, on whole impressions."""
        return on_impressions(find_trainer(type(model)))(config, model, folder)

    def loaders(
        self, config: NewsConfig, data: InteractionDataset
    ) -> tuple[AbstractDataLoader, AbstractDataLoader | None]:
        """RecBole's training loader, and one of whole validation impressions or ``None``."""
        valid = self.impressions(config, self.valid) if self.valid else None
        return train_loader(config, data), valid

    def impressions(self, config: NewsConfig, shown: NewsDataset) -> AbstractDataLoader:
        """A loader of whole impressions, with one row per candidate."""
        return RowDataLoader(config, InteractionDataset(shown, config, self.feed))


def factory_of(config: NewsConfig, dataset: NewsDataset) -> ImpressionFactory:
    """The factory for this kind of model."""
    if has_language_model(config.model_class):
        return NewsFactory(config, dataset)
    kind = ImpressionFactory if is_news_model(config.model_class) else RecBoleFactory
    return kind(config, dataset)


def source_of_item_text(config: Settings) -> str:
    """File, folder or hub name that ``item_text`` of one of RecBole's own models means."""
    return locate_vectors(config["item_text"], [Path(config["data_path"])])


def source_of_texts(config: Settings) -> str:
    """Source of the text encoders: a language model, or a file of vectors or word vectors."""
    if reads_vectors(config):
        return str(vectors_file(config))
    if reads_words(config):
        return str(word_vectors_file(config) or "random word vectors")
    return plm_source(config)


def content_of_texts(config: Settings) -> str:
    """Digest of what encodes texts, or a hub name; empty for models that read none."""
    if config["item_text"]:
        return content_of_language_model(source_of_item_text(config))
    return content_of_language_model(source_of_texts(config)) if config["plm"] else ""


def content_of_language_model(source: str) -> str:
    """Digest of a language model, of a file of vectors or of a finished recommender."""
    if Path(source).is_file():
        return content_key([Path(source)])
    if (Path(source) / SETTINGS_FILE).is_file():  # a finished recommender
        return identity_of(Path(source))
    return plm_content(source)
