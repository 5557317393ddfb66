"""The settings of a run: yaml files and what a user gives, layered, read once and checked once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

from recbole_tinynews.files.installation import recbole_folder
from recbole_tinynews.settings.literals import WHEN, Given, packaged_folder, read_yaml
from recbole_tinynews.settings.table import (
    Key,
    Models,
    known_without_yaml,
    parse_key,
    recbole_lists,
    setting,
    unfit_value,
    unknown_setting,
    unread_by,
)
from recbole_tinynews.settings.values import Rule, brief, refuse, rule_of_recbole, unfit

PROPERTIES = "properties"
METRICS = "metrics"  # in a stage's yaml: reported in addition to the run's
_CODE = Path(__file__).resolve().parents[1]  # a yaml may lie beside its recommender


class ModelFiles(NamedTuple):
    """The recommender whose settings are read, and the yaml files that declare them."""

    name: str
    classes: tuple[str, ...]  # names of its bases and of itself, weakest first
    overall: Path  # for all models of its kind
    stages: Mapping[str, Path]
    own: tuple[Path, ...]  # of the bases, weakest first, and of the class itself

    @property
    def is_news(self) -> bool:
        """Whether it is a news recommender, none of RecBole's models."""
        return self.overall.stem != "recbole"

    @property
    def reads_text(self) -> bool:
        """Whether it encodes texts, and so may have stages."""
        return self.overall.stem == "overall"


def is_shipped(file: Path) -> bool:
    """Whether a file comes with the package or with RecBole: it is no user's."""
    shipped = packaged_folder(PROPERTIES), _CODE, recbole_folder()
    return any(folder in file.parents for folder in shipped)


class Layer(NamedTuple):
    """Values from one source, which messages name; ``when`` has values under a condition."""

    source: str
    values: Mapping[Key, Any]
    when: tuple[tuple[str, Any, Mapping[Key, Any]], ...] = ()


class RunSettings:
    """Every setting of a model on a data set, with the given values and all their mistakes.

    ``declared`` has the default of every existing setting, ``defaults`` those of the run and of its
    stages, ``values`` what holds, without RecBole's values below it; ``declares`` the settings that
    a stage's yaml alone declares; ``warnings`` tell which values have no effect.
    """

    def __init__(self, files: ModelFiles, dataset: str = "", given: Given | None = None) -> None:
        self.files, self.dataset, self.stages = files, dataset, tuple(files.stages)
        self.given = given or Given([], [])
        self.kind = Models.NEWS if files.is_news else Models.RECBOLE
        self.declares: dict[str, set[str]] = {}
        declaring = [*(self._of_news() if files.is_news else self._of_recbole())]
        below = dict(recbole_overall_settings())
        self._own_rules: dict[str, Rule | None] = {}
        if not files.is_news:
            own = _plain(_merged(map(self._layer, self._stock_files)))
            below |= {**dict.fromkeys(known_without_yaml(Models.RECBOLE)), **own}
            # where the table has no rule, or one for other models, as for a list of reg_weight
            special = {n: v for n, v in own.items() if not setting(n).rule or unfit_value(n, v)}
            self._own_rules = {n: rule_of_recbole(n, v) for n, v in special.items()}
        self.defaults = {Key(None, n): v for n, v in below.items()} | _merged(declaring)
        self.declared = _plain(self.defaults)
        packaged = [*declaring, *self._of_data_set()]
        of_user = [_layer_of(source, v, self._key_of) for source, v in self.given.sources]
        data = self.given.data_folder(dataset)
        self.layers = [*_resolved([*packaged, *of_user], self.stages, data)]
        self.values: dict[Key, Any] = _merged(self.layers)
        self._sources: dict[Key, str] = {}  # strongest first
        for layer in reversed(self.layers):
            for key in layer.values:
                self._sources.setdefault(key, layer.source)
        self.mistakes = [*self.given.mistakes, *self._mistakes([*packaged, *of_user])]
        self.warnings = [*self._drop_unread(_merged(packaged))]

    # Layers

    def _key_of(self, name: str) -> Key:
        return parse_key(name, self.stages)

    def _key_in(self, stage: str, name: str) -> Key:
        """Key in a stage's yaml: the stage's own, unless it is the first to declare the name."""
        return Key(None if name in self.declares[stage] else stage, name)

    def _layer(self, file: Path) -> Layer:
        return _layer_of(f"file {file}", read_yaml(file), self._key_of)

    def _of_news(self) -> Iterator[Layer]:
        """Files of a news recommender, of which a stage's may declare settings too."""
        overall, stages = self.files.overall, self.files.stages
        own = {file: self._layer(file) for file in self.files.own}
        yield self._layer(overall)
        known = recbole_overall_settings().keys() | read_yaml(overall).keys()
        for stage, file in stages.items():
            for own_file, layer in own.items():
                # a user's class may give another default to what the package's stages declare
                if not is_shipped(file) or is_shipped(own_file):
                    known |= _plain(layer.values).keys()
            self.declares[stage] = read_yaml(file).keys() - known - {WHEN}
            known |= self.declares[stage]
            yield _layer_of(f"file {file}", read_yaml(file), partial(self._key_in, stage))
        yield from own.values()

    def _of_recbole(self) -> Iterator[Layer]:
        """Files over those that RecBole reads by itself."""
        stock = [file for file in self._stock_files if file.stem != self.files.name]
        of_users = (file for file in self.files.own if not is_shipped(file))
        yield from map(self._layer, (*stock, self.files.overall, *of_users))

    @property
    def _stock_files(self) -> list[Path]:
        return [file for file in self.files.own if is_shipped(file)]

    def _of_data_set(self) -> Iterator[Layer]:
        """Yaml files of the data set, the working folder's last; they declare nothing."""
        names = [f"{self.dataset}.{name}" for name in self.files.classes]
        if self.files.reads_text:
            names.insert(0, self.dataset)
        folders = {path.resolve(): path for path in (Path(PROPERTIES), packaged_folder(PROPERTIES))}
        for folder in reversed(folders.values()):
            for name in dict.fromkeys(names):
                file = folder / "dataset" / f"{name}.yaml"
                if file.is_file():
                    yield self._layer(file)

    # Checks

    def mistake_of(self, name: str, value: Any) -> str | None:
        """Error message for an invalid name or value; None if both are valid."""
        key = parse_key(name, self.stages)
        return unknown_setting(key, self.declared, self.stages) or self._unfit(key, value)

    def refuse(self, further: Iterable[str] = ()) -> None:
        """Raise ``ValueError`` with all mistakes and further ones, if there are any."""
        refuse(f"The settings of {self.files.name} don't fit:", [*self.mistakes, *further])

    def _unfit(self, key: Key, value: Any) -> str | None:
        if isinstance(value, str) and value == "None":
            return "got the text 'None': write ~ or null for no value"
        if key.name in self._own_rules:
            return unfit(self._own_rules[key.name], value)
        # RecBole's defaults mix types
        default = self.declared.get(key.name) if self.files.is_news else None
        return unfit_value(key.name, value, default)

    def _mistakes(self, layers: Sequence[Layer]) -> Iterator[str]:
        """Unknown names, then invalid values."""
        yield from (mistake for layer in layers for mistake in self._unknown(layer))
        for key, value in self.values.items():
            if mistake := self._unfit(key, value):
                yield f"{key} ({self._sources[key]}) {mistake}"

    def _unknown(self, layer: Layer) -> Iterator[str]:
        for key in (*layer.values, *(key for *_, values in layer.when for key in values)):
            of_stage = f"file {self.files.stages.get(key.stage or '')}" == layer.source
            mistake = unknown_setting(key, self.declared, self.stages)
            if mistake and not (of_stage and key.name == METRICS):
                yield f"{key!s:.100} ({layer.source}) {mistake}"

    def _drop_unread(self, before: Mapping[Key, Any]) -> Iterator[str]:
        """Reset unread settings, which would change fingerprints; yield a warning for each."""
        unread = unread_by(self.kind)
        for key in [key for key in self.values if key.name in unread]:
            value = self.values.pop(key)
            if value != before.get(key, self.declared.get(key.name)):
                yield f"{key} ({self._sources[key]}) has no effect, got {brief(value)}"
            if key in before:
                self.values[key] = before[key]

    # Views

    def changed(self) -> list[tuple[Key, Any, Any, str]]:
        """Key, value, default and source of non-default settings, strongest source first."""
        return [
            (key, self.values[key], self.defaults.get(key), source)
            for key, source in self._sources.items()
            if key in self.values and self.values[key] != self.defaults.get(key)
        ]

    def asked(self) -> set[str]:
        """Names that a data set's yaml, a user's class or the user sets."""
        declaring = {f"file {file}" for file in (self.files.overall, *self._stock_files)}
        return {key.name for key, source in self._sources.items() if source not in declaring}

    def read_by(
        self, stage: str, of_stage: ModelFiles, is_last: bool, is_student: bool
    ) -> set[str]:
        """Settings that a stage may read: not those of other stages, nor of its system alone.

        A student ignores only settings declared outside the package: another weight of a user's
        own loss does not retrain Stage I. A user's own stage may read every setting.
        """
        ours = {name for name, file in self.files.stages.items() if is_shipped(file)}
        if not self.files.is_news or (stage not in ours and not is_last):
            return self.declared.keys() - unread_by(self.kind)
        files = [of_stage.overall, *of_stage.own]
        files += [file for file in self.files.own if is_student and is_shipped(file)]
        read = {name for file in files for name in read_yaml(file)} - {WHEN}
        for other, declares in self.declares.items():
            if other == stage or (is_student if other in ours else is_last):
                read |= declares
        return (read | recbole_overall_settings().keys()) - unread_by(self.kind)


def _merged(layers: Iterable[Layer]) -> dict[Key, Any]:
    """Values of layers, later over earlier."""
    return {key: value for layer in layers for key, value in layer.values.items()}


def _plain(values: Mapping[Key, Any]) -> dict[str, Any]:
    """Those of the run."""
    return {key.name: value for key, value in values.items() if key.stage is None}


def _layer_of(source: str, values: dict[str, Any], key_of: Callable[[str], Key]) -> Layer:
    """Values of a source, and those under conditions; ``ValueError`` if these cannot be read."""
    conditions = values.get(WHEN, {})
    try:
        when = tuple(
            (name, value, {key_of(n): v for n, v in under.items()})
            for name, each in conditions.items()
            for value, under in each.items()
        )
    except AttributeError as problem:  # one of them is no mapping
        raise ValueError(
            f"{WHEN} ({source}) must be {{setting: {{value: {{settings}}}}}}, got "
            f"{brief(conditions)}. Name a setting, one of its values, and the settings that hold "
            "where it has that value."
        ) from problem
    plain = {key_of(name): value for name, value in values.items() if name != WHEN}
    return Layer(source, plain, when)


def _resolved(layers: Sequence[Layer], stages: Sequence[str], data: Path) -> Iterator[Layer]:
    """The layers, each followed by those of its conditions that are met.

    A value for the run holds where the run meets the condition; stages that don't keep what they
    had. A value for a stage holds where that stage meets it.
    """
    final, before = _merged(layers), dict[Key, Any]()
    for layer in layers:
        yield layer._replace(when=())
        before.update(layer.values)
        for name, wanted, values in layer.when:
            of_run = final.get(Key(None, name))
            met = {
                stage: _is_same(final.get(Key(stage, name), of_run), wanted, data)
                for stage in (None, *stages)
            }
            applied = {key: value for key, value in values.items() if met[key.stage]}
            kept = [key.name for key in applied if key.stage is None and key in before]
            for key in (Key(stage, name) for stage in stages if not met[stage] for name in kept):
                if key not in before:
                    applied[key] = before[Key(None, key.name)]
            before.update(applied)
            yield Layer(layer.source, applied)


def _is_same(value: Any, wanted: Any, data: Path) -> bool:
    """Whether a setting has this value, or names the same folder, perhaps of the data set."""
    if value == wanted or not isinstance(value, str) or not isinstance(wanted, str):
        return bool(value == wanted)
    named = (next(filter(Path.is_dir, (Path(v), data / v)), Path(v)) for v in (value, wanted))
    return len({path.resolve() for path in named}) == 1


# RecBole's settings


def recbole_overall_files() -> list[Path]:
    """RecBole's yaml files for every model; later ones override."""
    properties = recbole_folder() / "properties"
    return [properties / "dataset" / "sample.yaml", properties / "overall.yaml"]


@cache
def recbole_overall_settings() -> Mapping[str, Any]:
    """RecBole's settings for every model; None where it declares no default."""
    names = [name for names in recbole_lists().values() for name in names]
    declared = dict.fromkeys([*names, *known_without_yaml(Models.EVERY)])
    for file in recbole_overall_files():
        declared |= read_yaml(file)
    return declared
