"""RecBole's Config with our settings over RecBole's, and with the checks that need classes."""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from recbole.config import Config

from recbole_tinynews.encoder.embedding_model import embedding_model
from recbole_tinynews.encoder.plm_files import locate_plm
from recbole_tinynews.evaluation.recbole_metrics import bigger_is_better, map_metrics
from recbole_tinynews.files.vector_files import vector_size
from recbole_tinynews.model.alignednewsrec import ZeroShotStudent
from recbole_tinynews.model.article_reader import vectors_file
from recbole_tinynews.model.paper.plmnr import PretrainedPLMNR
from recbole_tinynews.processes.group import choose_device, gpu_numbers, launched_group
from recbole_tinynews.recbole_models.feeds import fit_settings
from recbole_tinynews.recbole_models.patches import apply_to_libraries
from recbole_tinynews.settings import registry
from recbole_tinynews.settings.literals import Files, LiteralLoader, read_yaml
from recbole_tinynews.settings.run_settings import RunSettings
from recbole_tinynews.settings.table import Key, seen_by
from recbole_tinynews.trainer.optimization import default_precision

# settings that an embedding model's folder decides, unless they are given
AS_MEANT = ("news_pooling", "text_prefix")


class NewsConfig(Config):
    """All settings of a run; ``config["name"]`` reads one, as in RecBole.

    In ascending precedence: RecBole's yaml; ours (``overall``, stages, model, data set, data set
    for the model); ``properties/dataset`` of the working folder; the user's files, ``config_dict``
    and ``command_line``, a list of ``--key=value``; ``sys.argv`` is never read. ``settings``,
    already read, replace all arguments. One ``ValueError`` lists all errors that show before data
    or weights are read.

    ``settings``: all layers of values; ``of_stages``: values by stage and name;
    ``metric_results``: names of the results of the run's metrics; ``notes``: lines to log;
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
        settings: RunSettings | None = None,
    ) -> None:
        self.settings = settings or registry.read_settings(
            model, dataset, config_file_list, config_dict, command_line
        )
        self._run_config: NewsConfig | None = None  # the run's config, in a stage's copy
        self.of_stages: dict[str, dict[str, Any]] = {}
        self.metric_results: list[str] = []
        self.warnings = self.settings.warnings
        self.notes: list[str] = []
        named = model or self.settings.given.values.get("model")
        found = registry.find_model(named if isinstance(named, type) else self.settings.files.name)
        super().__init__(found, self.settings.dataset)

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
        is_own = stage in self.settings.stages
        final = seen_by(stage, self.by_key()) if is_own else self.final_config_dict
        staged.final_config_dict = final = copy.deepcopy(final)
        final["seed"] += number
        final["valid_metric_bigger"] = bigger_is_better(final["valid_metric"])
        return staged

    def with_plm(self, plm: str, tokenizer: Any) -> NewsConfig:
        """A copy with another ``plm``, and its tokenizer, which models need not load again."""
        changed = copy.copy(self)
        changed.tokenizer = tokenizer
        changed.final_config_dict = {**self.final_config_dict, "plm": plm}
        return changed

    def read_by(self, stage: str, model_class: type, is_student: bool = False) -> dict[str, Any]:
        """The settings that a stage may read: not those of other stages and models alone."""
        is_last = stage == self.model_class.__name__
        of_stage = registry.files_of(model_class)
        names = self.settings.read_by(stage, of_stage, is_last, is_student)
        return {name: value for name, value in self.final_config_dict.items() if name in names}

    # RecBole's hooks, in call order

    def compatibility_settings(self) -> None:
        """Set the names that numpy lacks; RecBole's own method fails on numpy 2."""
        apply_to_libraries()

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
        return self.settings.given.values  # of all sources; RecBole's two other hooks get none

    def _load_internal_config_dict(self, model: str, model_class: type, dataset: str) -> None:
        # without name, since a user's news recommender may share it with one of RecBole's
        name = "" if self.settings.files.is_news else model
        super()._load_internal_config_dict(name, model_class, dataset)

    def _get_final_config_dict(self) -> dict[str, Any]:
        final = dict(self.internal_config_dict)
        for (stage, name), value in self.settings.values.items():
            (self.of_stages.setdefault(stage, {}) if stage else final)[name] = value
        return final

    def _set_default_parameters(self) -> None:
        final, is_news = self.final_config_dict, self.settings.files.is_news
        folder = self.settings.given.data_folder(self.dataset, final["data_path"])
        final["data_path"] = str(folder.parent)
        self.settings.refuse(self._mistakes(final, folder))
        if is_news:
            self._set_implied(final)
        elif isinstance(final["clip_grad_norm"], (int, float)):
            final["clip_grad_norm"] = {"max_norm": final["clip_grad_norm"]}  # as RecBole reads it
        super()._set_default_parameters()
        final["valid_metric_bigger"] = bigger_is_better(final["valid_metric"])

    def _set_implied(self, final: dict[str, Any]) -> None:
        if final["enable_amp"] and final.get("precision") is None:
            final["precision"] = "auto"  # RecBole's switch turns on mixed precision
        # an earlier stage pretrains the model, with its number of layers
        pretrained = issubclass(self.model_class, PretrainedPLMNR)
        if pretrained and final["teacher_num_hidden_layers"] is None:
            final["teacher_num_hidden_layers"] = final["num_hidden_layers"]
        if final.get("teacher_vectors") and issubclass(self.model_class, ZeroShotStudent):
            place = str(Path(final["data_path"], self.dataset))
            file = vectors_file({"vectors": final["teacher_vectors"], "data_path": place})
            with suppress(ValueError):  # the teacher's check says what is wrong with the file
                final["news_dim"] = vector_size(file)
        for stage, values in [*self.of_stages.items(), ("", final)]:  # the run's are as declared
            self._use_as_meant(stage, values)

    def _use_as_meant(self, stage: str, values: dict[str, Any]) -> None:
        """Set pooling and prompt that an embedding model's folder says, unless they are given.

        A stage with another model than the run's keeps those that are declared for the run.
        """
        final, given = self.final_config_dict, self.external_config_dict
        seen, of_stage = {**final, **values}, {"plm", "news_encoder", *AS_MEANT} & values.keys()
        reads_plm = self.settings.files.reads_text and seen.get("news_encoder") != "words"
        if (stage and not of_stage) or not reads_plm:
            return
        folder = Path(final["data_path"]) / self.dataset
        try:
            source = locate_plm(seen["plm"], [folder])
        except ValueError:  # whoever loads it says what is missing
            return
        found = embedding_model(source)
        meant = ("mean", "") if found is None else (found.pooling, found.prompt)
        for name, value in zip(AS_MEANT, meant, strict=True):
            if {name, f"{stage}_{name}"} & given.keys():
                continue
            if value not in ("mean", ""):  # a mean is how attention starts too
                values[name] = value
                self.notes.append(f"{seen['plm']} says {name}={value!r}, which is used.")
            elif stage and "plm" in values:
                values.setdefault(name, final.get(name))

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

    # Checks that need classes, processes and data, beside those of the table

    def _mistakes(self, final: dict[str, Any], folder: Path) -> Iterator[str]:
        if not folder.is_dir() and folder.name != "ml-100k":  # part of RecBole, for any data_path
            yield (
                f"dataset expects a folder {folder.resolve()} (data_path/dataset), which does not "
                "exist. Convert MIND into it: recbole-tinynews convert --train=DIR "
                f"--valid=last-day --test=DIR --dataset={folder.name} --output={folder.parent}"
            )
        if launched_group().size > 1 and not registry.has_language_model(self.model_class):
            yield one_process_alone(self.model)
        if final.get("log_wandb") is True and importlib.util.find_spec("wandb") is None:
            yield "log_wandb expects the package wandb. Run: pip install wandb"
        if not self.settings.files.is_news:
            yield from fit_settings(self.model_class, final, self.settings.asked())
        yield from map_metrics(final, self.of_stages, self.metric_results)


def one_process_alone(model: str) -> str:
    """Message: the model trains in a single process only."""
    return (
        f"{model} has no language model to share out and is trained by one process, got several. "
        "Start it without torchrun and --nproc"
    )
