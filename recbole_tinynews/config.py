"""RecBole's Config with our yaml between RecBole's and the user's; every setting is checked."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from recbole.config import Config

from recbole_tinynews import compat
from recbole_tinynews.data import fields
from recbole_tinynews.encoder.language_model import locate_plm
from recbole_tinynews.evaluation.recbole_metrics import (
    COUNT_METRIC,
    METRICS,
    bigger_is_better,
    needs_clicks,
    register_metrics,
    results_of,
)
from recbole_tinynews.files.columns import BODY, ITEM, LABELS
from recbole_tinynews.paths import packaged_folder
from recbole_tinynews.processes.group import launched_group, local_rank
from recbole_tinynews.recbole_models.feeds import UNFIT
from recbole_tinynews.recbole_models.fitting import fit_settings, has_impressions
from recbole_tinynews.registry import (
    find_model,
    find_part,
    has_language_model,
    is_news_model,
    is_stock_model,
    model_yaml_files,
    overall_yaml_file,
    stage_yaml_files,
    users_yaml_files,
    with_parts,
)
from recbole_tinynews.settings.command_line import TEXT_SETTINGS, parse_command_line
from recbole_tinynews.settings.declared import Models, known_without_yaml, rules_for, unread_by
from recbole_tinynews.settings.layers import (
    METRICS_SETTING,
    Layer,
    NewsYaml,
    StageYaml,
    read_news_yaml,
)
from recbole_tinynews.settings.literals import LiteralLoader, parse_value, read_yaml
from recbole_tinynews.settings.mistakes import (
    field_mistakes,
    name_mistakes,
    package_mistakes,
    process_mistakes,
    switch_mistakes,
    value_mistakes,
)
from recbole_tinynews.settings.names import (
    plain_name,
    recbole_model_settings,
    recbole_overall_settings,
    settings_of_stage,
    split_stage,
    unknown_setting,
)
from recbole_tinynews.settings.parts import (
    FINETUNED,
    OF_TEACHERS,
    PARTS,
    USUAL,
    StageDefaults,
    defaults_of_teachers,
    for_stage,
)
from recbole_tinynews.settings.recbole_models import rules_by_default
from recbole_tinynews.settings.unread import drop_unread, keep_mode_alone
from recbole_tinynews.settings.values import TEXT, Rule, unfit_value
from recbole_tinynews.trainer.optimization import default_precision

DEFAULT_MODEL = "TinyNewsRec"
DEFAULT_DATASET = "mind-mini"

_RECBOLES_DATASET = "ml-100k"  # RecBole brings it along, wherever data_path points
_FOLD = re.compile(r"-fold\d+(?=\.|$)")  # in the name of a data set, and of its yaml
WITH_PLM = "with_plm"  # in a data set's yaml: {language model: settings that suit no other one}
WORDS = "words"  # of news_encoder; a data set can have a yaml of that name
_TAKEN = frozenset(
    (*(getattr(fields, name) for name in fields.__all__), *ITEM[1:], BODY, LABELS)
)  # names of fields that no setting has


class ChangedSetting(NamedTuple):
    """A setting that differs from its default, and what has set it."""

    name: str
    value: Any
    default: Any
    source: str


class NewsConfig(Config):
    """All settings of a run; ``config["name"]`` reads one, as in RecBole.

    Weakest first: RecBole's yaml, and for news recommenders ours (``overall``, the stages', the
    model's, the data set's, the data set's for the model; without a language model
    ``impressions``, the model's, the data set's for the model); then the user's files,
    ``config_dict`` and ``command_line``, a list of ``--key=value``. ``sys.argv`` is never read: a
    host program's own flags are not settings. Text is read as yaml and never evaluated.

    Every mistake that can be seen before data or weights are touched is reported in one
    ``ValueError``: unknown names, values that don't fit, files that can't be read.

    RecBole's own models keep RecBole's settings under the same strictness about names. Where the
    data set holds impressions, ``properties/recbole.yaml`` is laid over them, and the yaml of a
    user's class over both.

    Attributes:
        on_impressions: whether the model runs on impressions, with MIND's metrics.
        metric_results: names of the results of the metrics that the run asks for.
        warnings: settings that were given and have no effect.
    """

    def __init__(
        self,
        model: str | type | None = None,
        dataset: str | None = None,
        config_file_list: Sequence[str | Path] | None = None,
        config_dict: Mapping[str, Any] | None = None,
        command_line: Sequence[str] = (),
    ) -> None:
        self._command_line = command_line
        self._layers: list[Layer] = []  # values by source, as they are read
        self._declared: dict[str, Any] = {}  # every setting there is, with its default
        self._stages: dict[str, StageYaml] = {}
        self._switches: list[str] = []
        self._mistakes: list[str] = []
        self.metric_results: list[str] = []
        self.warnings: list[str] = []
        self._defaults: dict[str, Any] = {}  # as declared, with a stage's prefix too
        self._run_config: NewsConfig | None = None  # the run's config, in a stage's copy
        self._system: type | None = None  # the class of the model without student and teachers
        self._of_teachers: list[StageDefaults] = []
        self._otherwise_encoded: dict[str, Any] = {}  # what holds with another news encoder
        super().__init__(model, dataset, config_file_list, config_dict)

    @property
    def stage_names(self) -> tuple[str, ...]:
        """Stages that settings can be given for, as in ``finetune_teacher_epochs``."""
        return tuple(self._stages)

    def for_stage(self, stage: str, number: int = 0) -> NewsConfig:
        """The settings as ``stage`` sees them: its own where it has them, else the plain ones.

        A teacher has ``teacher_num_hidden_layers`` layers (None: all) unless the stage's own
        ``num_hidden_layers`` says otherwise. A stage without such settings, the last one for
        instance, sees the plain ones. The copy shares no settings with this config; its
        ``for_stage`` starts from the settings of the run again.

        Args:
            stage: its name.
            number: which of several equal stages; it is added to the seed.
        """
        if self._run_config is not None:  # a student asks for its teachers' settings
            return self._run_config.for_stage(stage, number)
        staged = copy.copy(self)
        staged._run_config = self
        final = copy.deepcopy(self.final_config_dict)
        final |= copy.deepcopy(for_stage(stage, self._of_teachers))
        if stage in self.stage_names:
            final = settings_of_stage(stage, final)
            if final.get("news_encoder") == WORDS:
                final |= self._suited_to_words(stage)
        if number:
            final["seed"] += number
        if self.on_impressions:
            final["valid_metric_bigger"] = bigger_is_better(final["valid_metric"])
        staged.final_config_dict = final
        return staged

    def _suited_to_words(self, stage: str) -> dict[str, Any]:
        """What the stage's yaml says of word vectors, where nobody sets it for the stage.

        What the package's other yaml files say of stages suits language models.
        """
        packaged, of_words = f"file {packaged_folder('properties')}", f".{WORDS}.yaml"
        told = {
            name
            for source, values in self._layers
            if source.endswith(of_words) or not source.startswith(packaged)
            for name in values
        }
        suited = self._stages[stage].with_words
        return {n: v for n, v in suited.items() if f"{stage}_{n}" not in told}

    def mistake_of(self, name: str, value: Any) -> str | None:
        """What is wrong with this value of a setting, taken alone; None: nothing is."""
        unknown = unknown_setting(name, self._declared, self.stage_names)
        if unknown:
            return unknown
        defaults = self._typed_defaults
        plain = plain_name(name, defaults, self.stage_names)
        return unfit_value(plain, value, self._rules(), defaults.get(plain))

    def settings_of_others(
        self, stage: str, model_class: type, is_student: bool = False
    ) -> set[str]:
        """Settings that don't concern this stage, but only other stages or other models.

        They are declared by the yaml of the requested system or of another stage. A student belongs
        to its system: of these settings, only those that a class outside the package declares don't
        concern it, so that another weight of a user's own loss doesn't retrain Stage I. A user's
        own stage may read every setting.

        Args:
            stage: name of the stage; the last one is named after the system's class.
            model_class: class of the model that it trains.
            is_student: whether it has teachers.
        """
        packaged = packaged_folder("properties")
        ours = {name for name, each in self._stages.items() if packaged in each.file.parents}
        if stage not in ours and stage != self.model_class.__name__:
            return set()
        of_system = model_yaml_files(self.model_class)
        others = _names_in(of_system)
        shared = _names_in([overall_yaml_file(model_class), *model_yaml_files(model_class)])
        for other, of_stage in self._stages.items():
            if other == stage or (is_student and other in ours):
                shared |= of_stage.declares
            elif other in ours or stage in ours:
                others |= of_stage.declares
        if is_student:
            shared |= _names_in([file for file in of_system if packaged in file.parents])
        return others - shared - recbole_overall_settings().keys()

    def changed_settings(self) -> list[ChangedSetting]:
        """The settings that differ from their defaults, the last given ones first."""
        final = self.final_config_dict
        sources: dict[str, str] = {}  # in the order in which they were set last
        for layer in self._layers:
            for name in layer.values:
                sources.pop(name, None)
                sources[name] = layer.source
        return [
            ChangedSetting(name, final[name], self._defaults.get(name), source)
            for name, source in reversed(sources.items())
            if name in final and final[name] != self._defaults.get(name)
        ]

    # RecBole's hooks, in the order of their call

    def compatibility_settings(self) -> None:
        """Set only the names that numpy lacks; RecBole's own method fails on numpy 2."""
        compat.apply()

    def _init_parameters_category(self) -> None:
        super()._init_parameters_category()
        for category, names in self.parameters.items():  # RecBole extends its module's own list
            self.parameters[category] = list(names)

    def _build_yaml_loader(self) -> type[yaml.SafeLoader]:
        return LiteralLoader

    def _update_internal_config_dict(self, file: str) -> dict[str, Any]:
        values = read_yaml(file)  # cached, while RecBole parses it for each config
        self.internal_config_dict.update(values)
        return values

    def _load_config_files(self, file_list: Sequence[str | Path] | None) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        for file in [file_list] if isinstance(file_list, (str, Path)) else file_list or ():
            try:
                values = read_yaml(file)
            except ValueError as error:
                self._mistakes.append(str(error))
            else:
                merged.update(self._add_layer(f"file {file}", values))
        return merged

    def _load_variable_config_dict(self, config_dict: Mapping[str, Any] | None) -> dict[str, Any]:
        values = {
            name: parse_value(value)
            if isinstance(value, str) and name not in TEXT_SETTINGS
            else value
            for name, value in (config_dict or {}).items()
        }
        return self._add_layer("config_dict", values)

    def _load_cmd_line(self) -> dict[str, Any]:
        values, self._switches, mistakes = parse_command_line(self._command_line)
        self._mistakes += mistakes
        return self._add_layer("command line", values)

    def _get_model_and_dataset(
        self, model: str | type | None, dataset: str | None
    ) -> tuple[str, type, str]:
        model = model or self.external_config_dict.get("model") or DEFAULT_MODEL
        dataset = dataset or self.external_config_dict.get("dataset") or DEFAULT_DATASET
        try:
            model_class = find_model(model)
        except ValueError as problem:
            reason = UNFIT.get(str(model))
            if reason is None:
                raise
            # otherwise a user would install its package in vain
            raise ValueError(f"model {model} cannot run on impressions: {reason}") from problem
        return super()._get_model_and_dataset(self._with_parts(model_class), str(dataset))

    def _with_parts(self, model_class: type) -> type:
        """The class with the student and the teachers that are named, where it may have others."""
        self._system = model_class
        if not getattr(model_class, "has_parts", False):
            return model_class
        found = dict.fromkeys(PARTS, find_part(USUAL))
        for part in PARTS:
            name = self.external_config_dict.get(part)
            if TEXT.holds(name):  # anything else is refused by its rule
                try:
                    found[part] = find_part(name)
                except ValueError as problem:
                    self._mistakes.append(f"{part} {problem}")
        return with_parts(model_class, **found)

    def _misplaced_parts(self) -> Iterator[str]:
        """Students and teachers named where they are read too late to choose a class."""
        for part in PARTS if getattr(self.model_class, "has_parts", False) else ():
            used = self.external_config_dict.get(part, USUAL)
            if self.final_config_dict[part] != used:
                yield (
                    f"{part}={self.final_config_dict[part]} is in the yaml of a model or data set, "
                    "and chooses no class there. Name it on the command line, in a config file or "
                    "in config_dict"
                )

    def _load_internal_config_dict(self, model: str, model_class: type, dataset: str) -> None:
        self._is_news = is_news_model(model_class)
        data_path = self.external_config_dict.get("data_path", "dataset")
        data_folder = self._data_folder(data_path, dataset)
        # A missing data set is reported as missing, not as one without impressions.
        missing = not data_folder.is_dir() and dataset != _RECBOLES_DATASET
        self.on_impressions = self._is_news or missing or has_impressions(data_folder)
        # By a name that RecBole has no yaml for: a user's news recommender may be called as one
        # of RecBole's models.
        name = "" if self._is_news else model
        super()._load_internal_config_dict(name, model_class, dataset)
        given, self._layers = self._layers, []  # what was given overrides what is loaded now
        if self._is_news:
            self._load_our_yaml(model_class, dataset)
        else:
            self._load_recbole_yaml(model_class, dataset)
        self._layers += given

    def _set_default_parameters(self) -> None:
        final = self.final_config_dict
        rules, defaults = self._rules(), self._typed_defaults
        stages = self.stage_names
        self._drop_unread()
        mistakes = [
            *(self._find_data() if self.on_impressions else ()),
            *self._mistakes,
            *self._misplaced_parts(),
            *name_mistakes(self._layers, self._declared, stages),
            *switch_mistakes(self._switches, self._declared, stages),
            *value_mistakes(final, self._layers, defaults, rules, stages),
            *process_mistakes(
                final, self.model, launched_group().size, has_language_model(self.model_class)
            ),
            *package_mistakes(final),
        ]
        if self.on_impressions and not self._is_news:
            asked = {name for layer in self._layers for name in layer.values}
            mistakes += fit_settings(self.model_class, final, asked)
        if self.on_impressions:
            mistakes += field_mistakes(final, _TAKEN)
            mistakes += self._map_metrics()
        if mistakes:
            raise ValueError("\n- ".join([f"The settings of {self.model} don't fit:", *mistakes]))
        if self.on_impressions:
            self.warnings += keep_mode_alone(final, self.internal_config_dict)
        if not self._is_news and isinstance(final["clip_grad_norm"], (int, float)):
            final["clip_grad_norm"] = {"max_norm": final["clip_grad_norm"]}  # as RecBole reads it
        if self._is_news:
            self._map_precision()
            self._map_layers()
        super()._set_default_parameters()
        if self.on_impressions:
            final["valid_metric_bigger"] = bigger_is_better(final["valid_metric"])

    def _init_device(self) -> None:
        """One process on one device; a ``CUDA_VISIBLE_DEVICES`` of the host is respected.

        RecBole overwrites it by its default ``gpu_id``, and ignores ``use_gpu``.
        """
        final = self.final_config_dict
        gpu_id = final["gpu_id"]
        ids = gpu_id if isinstance(gpu_id, (list, tuple)) else [gpu_id]
        final["gpu_id"] = gpu_id = ",".join("" if each is None else str(each) for each in ids)
        wanted = bool(final["use_gpu"] and gpu_id)
        if wanted and "gpu_id" in self.external_config_dict:
            os.environ["CUDA_VISIBLE_DEVICES"] = gpu_id
        final["device"] = torch.device("cuda" if wanted and torch.cuda.is_available() else "cpu")
        final["single_spec"] = True  # RecBole's DistributedDataParallel is not ours
        final["local_rank"] = 0
        if not launched_group().alone:
            self._init_process()
        if "precision" in final and final["precision"] is None:
            final["precision"] = default_precision(final["device"])

    def _init_process(self) -> None:
        """One of several processes: a device of its own, and only the first one shows anything."""
        final, number = self.final_config_dict, local_rank()
        if final["device"].type == "cuda":
            if number >= torch.cuda.device_count():
                raise ValueError(
                    f"Training expects a GPU for each process of a machine, got process {number} "
                    f"and {torch.cuda.device_count()} GPUs. Start fewer processes, or set "
                    "use_gpu=False."
                )
            final["device"] = torch.device("cuda", number)
            torch.cuda.set_device(number)
        if not launched_group().first:
            final["show_progress"] = final["log_wandb"] = False

    # Our own steps

    @property
    def _typed_defaults(self) -> dict[str, Any]:
        """What a value without a rule is compared with; RecBole's models mix kinds freely."""
        return self._declared if self._is_news else {}

    def _rules(self) -> dict[str, Rule]:
        rules = rules_for(self._kind)
        if self.on_impressions and not self._is_news:
            own = rules_by_default(_of_stock_model(self.model_class))
            general = rules.keys() - known_without_yaml(Models.OF_RECBOLE)
            rules = {**rules, **{name: rule for name, rule in own.items() if name not in general}}
        return rules

    def _add_layer(self, source: str, values: dict[str, Any]) -> dict[str, Any]:
        self._layers.append(Layer(source, values))
        return values

    def _load_our_yaml(self, model_class: type, dataset: str) -> None:
        yaml = _news_yaml(model_class)
        self._declared, self._stages = yaml.declared, yaml.stages
        self._layers += yaml.layers
        self._defaults = {**yaml.declared, **yaml.values}
        self.internal_config_dict.update(yaml.values)
        if has_language_model(model_class):  # which the data set's own yaml names and trains
            self._load_of_data_set(dataset)
            without = dict(self.internal_config_dict)
            if self._news_encoder == WORDS:
                self._load_of_data_set(f"{dataset}.{WORDS}")
            final = self.internal_config_dict
            self._otherwise_encoded = {n: v for n, v in without.items() if final[n] != v}
        of_classes = [f"{dataset}.{cls.__name__}" for cls in reversed(model_class.__mro__)]
        # a subclass keeps what suits its base
        self._load_of_data_set(*dict.fromkeys(of_classes))
        if model_class is not self._system:
            self._keep_parts_apart(model_class, yaml)

    def _keep_parts_apart(self, model_class: Any, yaml: NewsYaml) -> None:
        """Let teachers have the defaults of their own class, and none of the student's."""
        assert self._system is not None
        of_teacher: dict[str, Any] = {}
        for file in model_yaml_files(model_class.teacher_class):
            of_teacher |= read_yaml(file)
        for name in of_teacher.keys() - self._declared.keys():
            self._declared[name] = self._defaults[name] = of_teacher[name]
            self.internal_config_dict[name] = of_teacher[name]
        given = {*self.external_config_dict, *(n for each in self._layers for n in each.values)}
        usual = _news_yaml(self._system).values
        self._of_teachers = defaults_of_teachers(
            yaml.values, usual, of_teacher, given, self.stage_names
        )
        encoder = of_teacher.get("news_encoder", usual["news_encoder"])
        for file in _yaml_files_of_data_set(f"{self.dataset}.{WORDS}"):
            values = read_yaml(file).items() if encoder == WORDS else ()
            self._lay_over(file, {f"{FINETUNED}_{name}": value for name, value in values})
        if encoder != self._news_encoder:
            kept = self._otherwise_encoded
            others = {  # of the student's yaml, teachers have nothing
                n: usual.get(n, v) if v == yaml.values.get(n) else v
                for n, v in kept.items()
                if n not in self.external_config_dict
            }
            self._of_teachers.append(StageDefaults(OF_TEACHERS, others))

    def _load_recbole_yaml(self, model_class: type, dataset: str) -> None:
        """Load RecBole's yaml, ours over it, and the yaml of a user's class over both."""
        self._declared = self._defaults = declared_settings(model_class, self.on_impressions)
        own = users_yaml_files(model_class)
        if not is_stock_model(model_class):  # else RecBole has loaded them, in its own order
            for file in model_yaml_files(model_class):
                self.internal_config_dict.update(read_yaml(file) if file not in own else {})
        if self.on_impressions:
            self.internal_config_dict.update(read_yaml(properties_file("recbole.yaml")))
            self._load_of_data_set(f"{dataset}.{self.model}")
        for file in own:
            self.internal_config_dict.update(self._add_layer(f"file {file}", read_yaml(file)))

    def _load_of_data_set(self, *names: str) -> None:
        """Lay yaml files of a data set, which set values and declare nothing, over the rest."""
        for file in _yaml_files_of_data_set(*names):
            values = read_yaml(file)
            of_plm = values.pop(WITH_PLM, {})
            self._lay_over(file, values)
            for plm, values in of_plm.items():
                self._lay_over(file, self._suited_to(plm, values))

    def _lay_over(self, file: Path, values: dict[str, Any]) -> None:
        self.internal_config_dict.update(self._add_layer(f"file {file}", values))

    @property
    def _news_encoder(self) -> str | None:
        """How texts are read, as far as the settings are known by now."""
        usual = self.internal_config_dict.get("news_encoder")
        return self.external_config_dict.get("news_encoder", usual)

    def _suited_to(self, plm: str, values: dict[str, Any]) -> dict[str, Any]:
        """Those of the values that hold with the language models that are chosen.

        A stage that has another one keeps what it has without them.
        """
        given = self.external_config_dict
        if not self._is_plm(given.get("plm", plm), plm):
            return {}
        others = [
            stage
            for stage in self.stage_names
            if not self._is_plm(given.get(f"{stage}_plm", plm), plm)
        ]
        suited = {n: v for n, v in values.items() if split_stage(n, others)[0] is None}
        before = self.internal_config_dict
        usual = {
            f"{stage}_{name}": before[name]
            for stage in others
            for name in suited  # those with no stage's prefix
            if split_stage(name, self.stage_names)[0] is None
            and f"{stage}_{name}" not in before
            and name in before
        }
        return {**suited, **usual}

    def _is_plm(self, one: str, other: str) -> bool:
        """Whether two values of ``plm`` name the same language model."""
        folder = self._data_folder(
            self.external_config_dict.get("data_path", "dataset"), self.dataset
        )
        first, second = (Path(locate_plm(str(plm), [folder])) for plm in (one, other))
        return first == second or (first.is_dir() and first.resolve() == second.resolve())

    def _map_metrics(self) -> Iterator[str]:
        """Put our registered metrics where MIND's are named, and check ``valid_metric``.

        A stage whose yaml names metrics shows them beside those of the run.
        """
        final = self.final_config_dict
        of_stages = {
            stage: final.get(f"{stage}_{METRICS_SETTING}") or [] for stage in self.stage_names
        }
        for name, named in [(METRICS_SETTING, final[METRICS_SETTING]), *of_stages.items()]:
            if not set(_lower(named)) <= METRICS.keys() or (name == METRICS_SETTING and not named):
                setting = name if name == METRICS_SETTING else f"{name}_{METRICS_SETTING}"
                yield (
                    f"{setting} expects some of {', '.join(METRICS).upper()}, computed for "
                    f"each impression, got {named}"
                )
                return
        register_metrics()
        names = _lower(final[METRICS_SETTING])
        final[METRICS_SETTING] = [*(METRICS[name].__name__ for name in names), COUNT_METRIC]
        for stage, named in of_stages.items():
            if named:
                further = [name for name in _lower(named) if name not in names]
                beside = [METRICS[name].__name__ for name in further]
                final[f"{stage}_{METRICS_SETTING}"] = [*beside, *final[METRICS_SETTING]]
        self.metric_results = results = results_of(names, _as_list(final["topk"]))
        decisive = [result for result in results if needs_clicks(result)]
        choices = ", ".join(decisive) or "the results of a metric of clicks, such as AUC"
        for name, value in final.items():
            plain = plain_name(name, self._declared, self.stage_names)
            if plain == "valid_metric" and str(value).lower() not in decisive:
                yield f"{name} expects one of {choices} (see metrics, topk), got {value}"

    @property
    def _kind(self) -> Models:
        if self._is_news:
            return Models.NEWS
        return Models.RECBOLE_ON_IMPRESSIONS if self.on_impressions else Models.RECBOLE

    def _drop_unread(self) -> None:
        unread = unread_by(self._kind)
        self.warnings += drop_unread(
            self.final_config_dict,
            self.internal_config_dict,
            self._layers,
            unread - {"config_files", "config_file"},
            self.stage_names,
        )

    def _map_precision(self) -> None:
        """Let RecBole's ``enable_amp`` turn on mixed precision, unless ``precision`` is given."""
        final = self.final_config_dict
        asked = "precision" in self.external_config_dict
        if final["enable_amp"] and not asked and final.get("precision") is None:
            final["precision"] = "auto"

    def _map_layers(self) -> None:
        """Let a model that pretrains itself have its own number of layers in that stage too."""
        final = self.final_config_dict
        own = getattr(self.model_class, "pretrains_itself", False)
        if own and final["teacher_num_hidden_layers"] is None:
            final["teacher_num_hidden_layers"] = final["num_hidden_layers"]

    def _data_folder(self, data_path: Any, dataset: str) -> Path:
        """The folder of the data set; the packaged one if no path is given and none is there."""
        folder, packaged = Path(str(data_path), dataset), packaged_folder("dataset") / dataset
        given = "data_path" in self.external_config_dict or folder.is_dir()
        return folder if given or not packaged.is_dir() else packaged

    def _find_data(self) -> Iterator[str]:
        folder = self._data_folder(self.final_config_dict["data_path"], self.dataset)
        self.final_config_dict["data_path"] = str(folder.parent)
        if not folder.is_dir():
            yield (
                f"dataset expects a folder {folder.resolve()} (data_path/dataset), which does not "
                "exist. Convert MIND into it: python -m recbole_tinynews.convert --train=DIR "
                f"--valid=last-day --test=DIR --dataset={self.dataset} --output={folder.parent}"
            )


def declared_settings(model_class: type, on_impressions: bool = True) -> dict[str, Any]:
    """The default of every setting of a model, by its plain name."""
    if is_news_model(model_class):
        return _news_yaml(model_class).declared
    declared = {**recbole_overall_settings(), **recbole_model_settings()}
    own = users_yaml_files(model_class)
    stock = [file for file in model_yaml_files(model_class) if file not in own]
    for file in [*stock, *([properties_file("recbole.yaml")] if on_impressions else []), *own]:
        declared |= read_yaml(file)
    return declared


def _news_yaml(model_class: type) -> NewsYaml:
    stages, models = stage_yaml_files(model_class), model_yaml_files(model_class)
    return read_news_yaml(overall_yaml_file(model_class), stages, models)


def _of_stock_model(model_class: type) -> dict[str, Any]:
    """The settings of one of RecBole's own models, or of a class derived from it, with defaults."""
    own = users_yaml_files(model_class)
    stock = [file for file in model_yaml_files(model_class) if file not in own]
    return {name: default for file in stock for name, default in read_yaml(file).items()}


def _names_in(files: Sequence[Path]) -> set[str]:
    return {name for file in files for name in read_yaml(file)}


def _yaml_files_of_data_set(*names: str) -> Iterator[Path]:
    """Those that there are; folds have those of the data set that they are made of."""
    for name in names:
        file = properties_file("dataset", f"{_FOLD.sub('', name)}.yaml")
        if file.is_file():
            yield file


def properties_file(*parts: str) -> Path:
    """The path of one of our yaml files."""
    return packaged_folder("properties").joinpath(*parts)


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _lower(names: Any) -> list[str]:
    """The names in lower case, each once."""
    return list(dict.fromkeys(str(name).lower() for name in _as_list(names)))
