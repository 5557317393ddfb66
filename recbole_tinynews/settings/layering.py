"""Layered settings of a run and of each of its stages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from recbole_tinynews.paths import packaged_folder
from recbole_tinynews.settings.declared import Models
from recbole_tinynews.settings.layers import (
    Layer,
    ModelFiles,
    NewsYaml,
    StageYaml,
)
from recbole_tinynews.settings.literals import read_yaml
from recbole_tinynews.settings.names import (
    OF_TEACHERS,
    Key,
    parse_key,
    parse_keys,
    unknown_setting,
)
from recbole_tinynews.settings.recbole_models import rules_of
from recbole_tinynews.settings.values import unfit_value

DEFAULT_MODEL, DEFAULT_DATASET = "TinyNewsRec", "mind-mini"

DEFAULT = "default"  # source of values that no layer sets
PROPERTIES = "properties"
WITH_PLM = "with_plm"  # in a data set's yaml: {language model: settings specific to it}
WORDS = "words"  # a news_encoder; a data set can have a yaml of that name


class Layering:
    """Settings in layers, weakest first, each overriding the ones before.

    ``declared`` has the default of every existing setting, ``defaults`` those of the run and of
    stages before data set and user; ``before_user`` are merged values without the user's,
    ``values`` all.
    """

    def __init__(
        self,
        kind: Models,
        files: ModelFiles,
        declared: dict[str, Any],
        base: Mapping[str, Any],
        given: Mapping[str, Any],
        stages: Mapping[str, StageYaml],
    ) -> None:
        self.kind, self.files = kind, files
        self.rules = rules_of(kind, files)
        self.declared = declared
        # settings without a rule take their default's type, but RecBole's defaults mix types
        self.typed_defaults = declared if kind is Models.NEWS else {}
        self.stages = dict(stages)
        self.defaults: dict[Key, Any] = {Key(None, name): v for name, v in declared.items()}
        self.layers: list[Layer] = []
        self.before_user: dict[Key, Any] = {Key(None, name): v for name, v in base.items()}
        self.values: dict[Key, Any] = {}
        self._given = parse_keys(given, self.stages)
        self._dataset, self._classes = "", list[str]()  # names of the class and its bases
        self._same_plm: Callable[[Any, Any], bool] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Drop the rules: lambdas can't be pickled, and data loader workers check no values."""
        return {**self.__dict__, "rules": {}, "_same_plm": None}

    def add(self, source: str, values: Mapping[Key, Any]) -> None:
        """Add a layer of values from the package or a class."""
        self.layers.append(Layer(source, values))
        self.before_user.update(values)

    def add_file(self, file: Path, values: Mapping[str, Any] | None = None) -> None:
        """Add a yaml file as a layer, with all of its values or only these."""
        read = read_yaml(file) if values is None else values
        self.add(f"file {file}", parse_keys(read, self.stages))

    def finish(self, given: Sequence[Layer]) -> None:
        """Add the user's layers, which override all others."""
        self.layers += given
        self.values = self.before_user | {k: v for layer in given for k, v in layer.values.items()}

    def mistake_of(self, name: str, value: Any) -> str | None:
        """Error message for an invalid name or value; None if both are valid."""
        key = parse_key(name, self.stages)
        default = self.typed_defaults.get(key.name)
        unknown = unknown_setting(key, self.declared, self.stages)
        return unknown or unfit_value(key.name, value, self.rules, default)

    def source_of(self, key: Key) -> str:
        """Where a value was set, for messages."""
        found = [layer.source for layer in self.layers if key in layer.values]
        return found[-1] if found else DEFAULT

    def changed(self, values: Mapping[Key, Any]) -> list[tuple[Key, Any, Any, str]]:
        """Key, value, default and source of non-default settings, most recently set first."""
        sources: dict[Key, str] = {}  # ordered by when they were last set
        for source, of_layer in self.layers:
            for key in of_layer:
                sources.pop(key, None)
                sources[key] = source
        return [
            (key, values[key], self.defaults.get(key), source)
            for key, source in reversed(sources.items())
            if key in values and values[key] != self.defaults.get(key)
        ]

    def overrides(self, stage: str, values: Mapping[Key, Any]) -> dict[str, Any]:
        """Values of a stage that override those of the run, of which ``values`` has all."""
        if stage not in self.stages:
            return {}
        seen: dict[str, Any] = {}
        layers = Key(None, "teacher_num_hidden_layers")
        if stage.endswith(OF_TEACHERS) and layers in values:
            seen["num_hidden_layers"] = values[layers]
        seen |= {key.name: value for key, value in values.items() if key.stage == stage}
        if seen.get("news_encoder", values.get(Key(None, "news_encoder"))) == WORDS:
            seen |= self._suited_to_words(stage)
        return seen

    def _suited_to_words(self, stage: str) -> dict[str, Any]:
        """The stage's defaults for word vectors, unless the user set the stage's value."""
        # the package's other values for a stage are tuned for language models
        packaged, of_words = f"file {packaged_folder(PROPERTIES)}", f".{WORDS}.yaml"
        given = {
            key.name
            for source, values in self.layers
            if source.endswith(of_words) or not source.startswith(packaged)
            for key in values
            if key.stage == stage
        }
        return {n: v for n, v in self.stages[stage].with_words.items() if n not in given}

    # News recommenders

    def add_news_yaml(
        self,
        yaml: NewsYaml,
        dataset: str,
        classes: Sequence[str],
        same_plm: Callable[[Any, Any], bool] | None,
    ) -> None:
        """Add the yaml of a news recommender and of its data set.

        ``classes`` are names of the class and its bases, weakest first; ``same_plm`` compares
        values of ``plm`` (None: no text is encoded).
        """
        self.layers += yaml.layers
        self.defaults = {Key(None, name): v for name, v in yaml.declared.items()} | yaml.values
        self.before_user.update(yaml.values)
        self._dataset, self._classes, self._same_plm = dataset, [*classes], same_plm
        self._add_data_set(packaged_folder(PROPERTIES))
        self._add_working_folder()

    def _add_data_set(self, folder: Path) -> None:
        """Add a data set's yaml files."""

        def add(*names: str) -> None:
            for file in _of_data_set(folder, *names):
                values = read_yaml(file)
                of_plm = values.pop(WITH_PLM, {})
                self.add_file(file, values)
                for plm, suited in of_plm.items() if self._same_plm else ():
                    self.add(f"file {file}", self._suited_to(plm, suited, self._same_plm))

        if self._same_plm:
            add(self._dataset)
        if self._same_plm and self._news_encoder == WORDS:
            add(f"{self._dataset}.{WORDS}")
        add(*(f"{self._dataset}.{name}" for name in self._classes))

    def _add_working_folder(self) -> None:
        """Add ``properties/`` of the working directory over the package's; it declares nothing."""
        folder = Path(PROPERTIES)
        if folder.resolve() == packaged_folder(PROPERTIES).resolve():
            return
        places = [self.files.overall.name, *(f"model/{name}.yaml" for name in self._classes)]
        for place in places:
            if (folder / place).is_file():
                self.add_file(folder / place)
        self._add_data_set(folder)

    @property
    def _news_encoder(self) -> Any:
        key = Key(None, "news_encoder")
        return self._given.get(key, self.before_user.get(key))

    def _suited_to(self, plm: str, suited: Mapping[str, Any], same_plm: Any) -> dict[Key, Any]:
        """Values that apply to this run's language models; stages with another one keep theirs."""
        given, before = self._given, self.before_user
        values = parse_keys(suited, self.stages)
        if not same_plm(given.get(Key(None, "plm"), plm), plm):
            return {}
        others = [
            stage for stage in self.stages if not same_plm(given.get(Key(stage, "plm"), plm), plm)
        ]
        kept = {
            Key(stage, key.name): before[key]
            for stage in others
            for key in values
            if key.stage is None and key in before and Key(stage, key.name) not in before
        }
        return {key: v for key, v in values.items() if key.stage not in others} | kept

    # RecBole's own models

    def add_recbole_yaml(self, dataset: str, model: str) -> None:
        """Add our yaml for impressions and the yaml of users' classes over RecBole's."""
        files, own = self.files, self.files.of_users
        self._dataset, self._classes = dataset, [model]
        on_impressions = self.kind is Models.RECBOLE_ON_IMPRESSIONS
        for file in files.own:  # RecBole itself has loaded the yaml of `model`
            if file not in own and file.stem != model:
                self.before_user.update(parse_keys(read_yaml(file), ()))
        if on_impressions:
            self.before_user.update(parse_keys(read_yaml(files.overall), ()))
            self._add_data_set(packaged_folder(PROPERTIES))
        for file in own:
            self.add_file(file)
        if on_impressions:
            self._add_working_folder()


def _of_data_set(folder: Path, *names: str) -> Iterator[Path]:
    """Existing yaml files."""
    for name in dict.fromkeys(names):
        file = folder / "dataset" / f"{name}.yaml"
        if file.is_file():
            yield file
