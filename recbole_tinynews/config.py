"""RecBole's Config with our yaml below the user's settings, and with checks of every setting."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from recbole.config import Config

from recbole_tinynews import compat, registry
from recbole_tinynews.data import fields
from recbole_tinynews.encoder.plm_files import is_same_plm
from recbole_tinynews.evaluation.recbole_metrics import bigger_is_better, map_metrics
from recbole_tinynews.files.columns import BODY, ITEM, LABELS
from recbole_tinynews.paths import packaged_folder
from recbole_tinynews.processes.device import choose_device, gpu_numbers
from recbole_tinynews.processes.group import launched_group
from recbole_tinynews.recbole_models.feeds import fit_settings, has_impressions
from recbole_tinynews.settings import mistakes
from recbole_tinynews.settings.declared import unread_by
from recbole_tinynews.settings.layering import DEFAULT_DATASET, DEFAULT_MODEL
from recbole_tinynews.settings.layers import Files, read_given, settings_of_others
from recbole_tinynews.settings.literals import LiteralLoader, read_yaml
from recbole_tinynews.settings.names import Key
from recbole_tinynews.settings.values import refuse
from recbole_tinynews.trainer.optimization import default_precision

_RECBOLES_DATASET = "ml-100k"  # part of RecBole, for any data_path
# field names in use that no setting can change
_TAKEN = {each for name, each in vars(fields).items() if name.isupper()} | {*ITEM[1:], BODY, LABELS}


class NewsConfig(Config):
    """All settings of a run; ``config["name"]`` reads one, as in RecBole.

    In ascending precedence: RecBole's yaml; ours (``overall``, stages, model, data set, data set
    for the model); ``properties/`` of the working folder; the user's files, ``config_dict`` and
    ``command_line``, a list of ``--key=value``; ``sys.argv`` is never read. One ``ValueError``
    lists all errors that show before data or weights are read.

    ``on_impressions``: whether the model runs on impressions, with MIND's metrics; ``of_stages``:
    values by stage and name; ``metric_results``: names of the results of the run's metrics;
    ``warnings``: given settings without effect; ``tokenizer``: that of ``plm``, if it is loaded.
    """

    tokenizer: Any = None

    def __init__(
        self,
        model: str | type | None = None,
        dataset: str | None = None,
        config_file_list: Files = None,
        config_dict: Mapping[str, Any] | None = None,
        command_line: Sequence[str] = (),
    ) -> None:
        self._given = read_given(config_file_list, config_dict, command_line)
        self._mistakes = list(self._given.mistakes)
        self._run_config: NewsConfig | None = None  # the run's config, in a stage's copy
        self.of_stages: dict[str, dict[str, Any]] = {}
        self.metric_results: list[str] = []
        self.warnings: list[str] = []
        self._of_others: dict[tuple[str, type, bool], set[str]] = {}
        super().__init__(model, dataset)

    @property
    def stage_names(self) -> tuple[str, ...]:
        """Stages with settings of their own, as in ``finetune_teacher_epochs``."""
        return tuple(self._settings.stages)

    def by_key(self) -> dict[Key, Any]:
        """All values, including those of single stages."""
        own = {Key(stage, n): v for stage, vs in self.of_stages.items() for n, v in vs.items()}
        return {Key(None, name): value for name, value in self.final_config_dict.items()} | own

    def for_stage(self, stage: str, number: int = 0) -> NewsConfig:
        """A copy of the settings as ``stage`` sees them; ``number`` is added to the seed."""
        if self._run_config is not None:  # a student asks for its teachers' settings
            return self._run_config.for_stage(stage, number)
        staged = copy.copy(self)
        staged._run_config = self
        final = self.final_config_dict | self._settings.overrides(stage, self.by_key())
        staged.final_config_dict = final = {
            name: copy.deepcopy(value) if isinstance(value, (list, dict)) else value
            for name, value in final.items()
        }
        final["seed"] += number
        if self.on_impressions:
            final["valid_metric_bigger"] = bigger_is_better(final["valid_metric"])
        return staged

    def with_plm(self, plm: str, tokenizer: Any) -> NewsConfig:
        """A copy with another ``plm``, and its tokenizer, which models need not load again."""
        changed = copy.copy(self)
        changed.tokenizer = tokenizer
        changed.final_config_dict = {**self.final_config_dict, "plm": plm}
        return changed

    def mistake_of(self, name: str, value: Any) -> str | None:
        """Error message for a setting's value; None if valid."""
        return self._settings.mistake_of(name, value)

    def settings_of_others(
        self, stage: str, model_class: type, is_student: bool = False
    ) -> set[str]:
        """Settings that only concern other stages or models."""
        key = stage, model_class, is_student
        if key not in self._of_others:  # a benchmark asks for each seed
            is_last, of_stage = stage == self.model_class.__name__, registry.files_of(model_class)
            stages, files = self._settings.stages, self._settings.files
            found = settings_of_others(stage, stages, of_stage, files, is_last, is_student)
            self._of_others[key] = found
        return self._of_others[key]

    def changed_settings(self) -> list[tuple[Key, Any, Any, str]]:
        """Key, value, default and source of non-default settings, highest precedence first."""
        return self._settings.changed(self.by_key())

    def __str__(self) -> str:
        of_stages = [f"{key} = {value}" for key, value in self.by_key().items() if key.stage]
        return "\n".join([super().__str__().rstrip(), *of_stages]) + "\n\n"

    # RecBole's hooks, in call order

    def compatibility_settings(self) -> None:
        """Set the names that numpy lacks; RecBole's own method fails on numpy 2."""
        compat.apply()

    def _init_parameters_category(self) -> None:
        super()._init_parameters_category()
        for category, names in self.parameters.items():  # RecBole would extend a global list
            self.parameters[category] = list(names)

    def _build_yaml_loader(self) -> type[yaml.SafeLoader]:
        return LiteralLoader

    def _update_internal_config_dict(self, file: str) -> dict[str, Any]:
        values = read_yaml(file)  # cached, unlike RecBole's
        self.internal_config_dict.update(values)
        return values

    def _load_cmd_line(self) -> dict[str, Any]:
        return self._given.values  # from all sources; RecBole's two other hooks get none

    def _get_model_and_dataset(
        self, model: str | type | None, dataset: str | None
    ) -> tuple[str, type, str]:
        model = model or self.external_config_dict.get("model") or DEFAULT_MODEL
        dataset = dataset or self.external_config_dict.get("dataset") or DEFAULT_DATASET
        return super()._get_model_and_dataset(registry.find_model(model), str(dataset))

    def _load_internal_config_dict(self, model: str, model_class: type, dataset: str) -> None:
        self._is_news = registry.is_news_model(model_class)
        folder = self._data_folder("dataset")
        # a missing data set is reported as missing, not as one without impressions
        missing = not folder.is_dir() and dataset != _RECBOLES_DATASET
        self.on_impressions = self._is_news or missing or has_impressions(folder)
        # without name, since a user's news recommender may share it with one of RecBole's
        super()._load_internal_config_dict("" if self._is_news else model, model_class, dataset)
        self._settings = registry.layering_of(
            model_class,
            dataset,
            self.internal_config_dict,
            self._given.values,
            self.on_impressions,
            partial(is_same_plm, folders=[folder]),
        )
        self._settings.finish(self._given.layers(self._settings.stages))
        unread = unread_by(self._settings.kind) - {"config_files", "config_file"}
        self.warnings += mistakes.drop_unread(self._settings, unread)

    def _get_final_config_dict(self) -> dict[str, Any]:
        final: dict[str, Any] = {}
        for (stage, name), value in self._settings.values.items():
            (self.of_stages.setdefault(stage, {}) if stage else final)[name] = value
        return final

    def _set_default_parameters(self) -> None:
        final = self.final_config_dict
        refuse(f"The settings of {self.model} don't fit:", self._all_mistakes())
        if self.on_impressions:
            default = self._settings.before_user[Key(None, mistakes.EVALUATION)]
            self.warnings += mistakes.keep_mode_alone(final, default)
        if not self._is_news and isinstance(final["clip_grad_norm"], (int, float)):
            final["clip_grad_norm"] = {"max_norm": final["clip_grad_norm"]}  # as RecBole reads it
        if self._is_news:
            self._set_implied(final)
        super()._set_default_parameters()
        if self.on_impressions:
            final["valid_metric_bigger"] = bigger_is_better(final["valid_metric"])

    def _set_implied(self, final: dict[str, Any]) -> None:
        given = "precision" in self.external_config_dict or final.get("precision") is not None
        if final["enable_amp"] and not given:
            final["precision"] = "auto"  # RecBole's switch turns on mixed precision
        # an earlier stage pretrains the model, with its number of layers
        pretrained = getattr(self.model_class, "pretrains_itself", False)
        if pretrained and final["teacher_num_hidden_layers"] is None:
            final["teacher_num_hidden_layers"] = final["num_hidden_layers"]

    def _init_device(self) -> None:
        final = self.final_config_dict
        final["gpu_id"] = gpu_numbers(final["gpu_id"])
        is_given = "gpu_id" in self.external_config_dict
        final["device"] = choose_device(final["gpu_id"], final["use_gpu"], is_given)
        final["single_spec"] = True  # RecBole's DistributedDataParallel is not ours
        final["local_rank"] = 0
        if not launched_group().first:  # only the first process shows anything
            final["show_progress"] = final["log_wandb"] = False
        if "precision" in final and final["precision"] is None:
            final["precision"] = default_precision(final["device"])

    def _all_mistakes(self) -> list[str]:
        final, settings = self.final_config_dict, self._settings
        folder = self._data_folder(final["data_path"])
        final["data_path"] = str(folder.parent) if self.on_impressions else final["data_path"]
        found = [
            *(mistakes.data_mistakes(folder) if self.on_impressions else ()),
            *self._mistakes,
            *mistakes.mistakes_by_key(self._given.switches, settings, self.by_key()),
            *mistakes.process_mistakes(
                final,
                self.model,
                launched_group().size,
                registry.has_language_model(self.model_class),
            ),
            *mistakes.package_mistakes(final),
        ]
        if self.on_impressions and not self._is_news:
            asked = {key.name for layer in settings.layers for key in layer.values}
            found += fit_settings(self.model_class, final, asked)
        if self.on_impressions:
            found += mistakes.field_mistakes(final, _TAKEN)
            found += map_metrics(final, self.of_stages, self.metric_results)
        return found

    def _data_folder(self, default: str) -> Path:
        given = self._given.values
        folder = Path(str(given.get("data_path", default)), self.dataset)
        packaged = packaged_folder("dataset") / self.dataset
        elsewhere = "data_path" in given or folder.is_dir() or not packaged.is_dir()
        return folder if elsewhere else packaged
