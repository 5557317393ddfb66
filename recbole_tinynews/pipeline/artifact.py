"""What a finished stage leaves behind: weights, settings and metrics in a folder of its own.

<checkpoint_dir>/<dataset>/<stage>-<fingerprint>/   model.safetensors  settings.yaml  metrics.json
                                                    training.csv  training.svg
                                                    plm/, where it ranks news
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from logging import getLogger
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from torch import Tensor

from recbole_tinynews.config import NewsConfig
from recbole_tinynews.files.array_cache import content_key
from recbole_tinynews.files.tensors import check_weights, load_weights
from recbole_tinynews.files.whole import write_text
from recbole_tinynews.settings.names import STAGES

_PACKAGES = {"recbole_tinynews", "recbole", "torch", "builtins"}
ARTIFACT_FORMAT = 5  # raised whenever a change in the code changes results
# formats whose recommenders score as they did when they were made
READABLE = frozenset((ARTIFACT_FORMAT,))
WEIGHTS, SETTINGS, METRICS_FILE = "model.safetensors", "settings.yaml", "metrics.json"
COPIES = "copies"
CURVE, FIGURE = "training.csv", "training.svg"  # of losses and metrics by step; nothing reads them
PLM = "plm"  # configuration and tokenizer of the language model
FORMAT_KEY, MADE_FROM = "format", "made_from"  # stand in settings.yaml beside the settings

# Settings that change how a run is shown, stored or sped up, and never what it results in.
_WITHOUT_EFFECT = frozenset(
    (
        *("checkpoint_dir", "data_path", "show_progress", "state", "worker", "gpu_id", "use_gpu"),
        *("device", "local_rank", "single_spec", "result_file", "eval_dump", "use_cache"),
        *("cache_budget", "submission"),
        *("eval_batch_size", "loss_decimal_place", "log_wandb", "wandb_project"),
        *("save_dataset", "dataset_save_path", "save_dataloaders", "dataloaders_save_path"),
        *("config_files", "config_file", "stage", "fresh", "eval_type", "save_steps"),
        "post_train_corpus",  # its content is covered with the data
        "model",  # the system asked for: another one has the same teachers; model_class is covered
        *("stage_one", "stage_two"),  # what a stage stands on says which there were
    )
)
# Settings of overall.yaml that matter only to a student that has teachers.
_OF_STUDENTS = frozenset(("num_teachers", "teacher_num_hidden_layers"))


class Weights(NamedTuple):
    """The weights of one recommender, on disk.

    ``stage`` and ``model_class`` say how to build the model that they fit; a later file's weights
    replace an earlier one's.
    """

    stage: str
    model_class: type
    files: tuple[Path, ...]

    @property
    def source(self) -> Path:
        """The file that names them in a message."""
        return self.files[-1]

    def load(self) -> dict[str, Tensor]:
        """All weights by name."""
        return {name: value for file in self.files for name, value in load_weights(file).items()}


class Artifact(NamedTuple):
    """A finished stage.

    ``valid`` is its best validation result, ``seconds`` what it took, and ``reused`` whether an
    earlier run made it.
    """

    name: str
    model_class: type
    fingerprint: str
    folder: Path
    seconds: float
    valid: dict[str, Any]
    reused: bool = False

    @property
    def weights(self) -> Weights:
        """The best weights, or after post-training the last."""
        return Weights(self.name, self.model_class, (self.folder / WEIGHTS,))

    def copies(self, count: int) -> list[Weights]:
        """The last ``count`` copies kept on the way, oldest first.

        Raises:
            ValueError: there are fewer.
        """
        kept = (self.folder / COPIES).glob("step-*.safetensors")
        steps = {int(path.stem.removeprefix("step-")): path for path in kept}
        if len(steps) < count:
            raise ValueError(
                f"num_teachers={count} expects as many copies of the post-trained teacher, got "
                f"{len(steps)} in {self.folder / COPIES}. Post-train longer "
                "(post_train_teacher_epochs, post_train_teacher_max_steps), keep copies more often "
                "(teacher_checkpoint_interval), or ask for fewer teachers."
            )
        # a copy holds what trains; the rest, in model.safetensors, never changed
        return [
            self.weights._replace(files=(self.folder / WEIGHTS, steps[step]))
            for step in sorted(steps)[-count:]
        ]


def settings_that_matter(
    config: NewsConfig, model_class: type, has_teachers: bool
) -> dict[str, Any]:
    """The settings that decide a stage's result, without those of other stages.

    A stage without teachers is one that several systems may ask for: settings that the system
    declares for itself do not concern it. A student is its system's own.
    """
    left_out = _WITHOUT_EFFECT | config.settings_of_others(model_class, is_student=has_teachers)
    if not has_teachers:
        left_out |= _OF_STUDENTS - getattr(model_class, "also_reads", frozenset())
    return {
        "model_class": f"{model_class.__module__}.{model_class.__name__}",
        **_plain(
            {
                name: value
                for name, value in config.final_config_dict.items()
                if name not in left_out and not name.startswith(STAGES)
            }
        ),
    }


def settings_of_stages(config: NewsConfig) -> dict[str, Any]:
    """The settings under a stage's name, which say what a student's teachers are like."""
    final = config.final_config_dict
    return _plain({name: value for name, value in final.items() if name.startswith(STAGES)})


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value if isinstance(value, (bool, int, float, list, dict)) else str(value)
        for name, value in sorted(settings.items())
        if value is not None
    }


def fingerprint(settings: dict[str, Any], contents: Iterable[str | Path]) -> str:
    """A short name for everything that decides what a stage results in."""
    described = json.dumps(settings, sort_keys=True, default=str)
    return content_key([str(ARTIFACT_FORMAT), described, *contents])[:12]


def source_of(model_class: type) -> list[Path]:
    """The files of a user's own classes: their code decides a result as much as settings do.

    A change in the package's own code raises ``ARTIFACT_FORMAT`` instead.
    """
    modules = [sys.modules.get(cls.__module__) for cls in model_class.__mro__]
    own = [m for m in modules if m and m.__name__.partition(".")[0] not in _PACKAGES]
    files = [getattr(module, "__file__", None) for module in dict.fromkeys(own)]
    return [Path(file) for file in files if file]


def read_artifact(name: str, model_class: type, mark: str, folder: Path) -> Artifact | None:
    """The finished stage in ``folder``; None where it is absent, unfinished or damaged."""
    try:
        metrics = json.loads((folder / METRICS_FILE).read_text(encoding="utf-8"))
        artifact = Artifact(
            name, model_class, mark, folder, metrics["seconds"], metrics["valid"], reused=True
        )
        check_weights(folder / WEIGHTS)
        for copy in metrics.get(COPIES, ()):
            check_weights(folder / COPIES / copy)
    except FileNotFoundError as problem:
        if (folder / METRICS_FILE).is_file():
            getLogger().warning(f"{folder} is incomplete and is made anew: {problem}")
        return None
    except (OSError, ValueError, KeyError, TypeError) as problem:
        getLogger().warning(f"{folder} is damaged and is made anew: {problem}")
        return None
    return artifact


def as_written(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings as ``settings.yaml`` gives them back: no tuple or enum reaches the yaml."""
    return json.loads(json.dumps(settings, default=str))


def write_settings(folder: Path, settings: dict[str, Any]) -> None:
    """``settings.yaml``."""
    text = yaml.safe_dump(as_written(settings), sort_keys=False, allow_unicode=True)
    write_text(folder / SETTINGS, text)


def read_settings(folder: Path) -> dict[str, Any]:
    """What stands in ``settings.yaml``; nothing in it is run.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is no yaml, or holds no settings.
    """
    try:
        settings = yaml.safe_load((folder / SETTINGS).read_text(encoding="utf-8"))
    except yaml.YAMLError as problem:
        raise ValueError(f"{folder / SETTINGS} is no yaml: {problem}") from problem
    if not isinstance(settings, dict) or not isinstance(settings.get("model_class"), str):
        raise ValueError(
            f"{folder / SETTINGS} expects the settings of a finished stage, model_class among "
            "them, and holds something else. Train it anew."
        )
    return settings


def write_metrics(folder: Path, metrics: dict[str, Any]) -> None:
    """``metrics.json``, written last: a folder that has it is complete."""
    write_text(folder / METRICS_FILE, json.dumps(metrics, indent=2) + "\n")


def kept_test_result(artifact: Artifact, content: str) -> dict[str, Any] | None:
    """What a finished stage has scored on the test impressions of this content, if it is known."""
    metrics = json.loads((artifact.folder / METRICS_FILE).read_text(encoding="utf-8"))
    return metrics.get("test", {}).get(content)


def keep_test_result(artifact: Artifact, content: str, result: dict[str, Any]) -> None:
    """Write it beside its other metrics, under the content of the data that it holds for."""
    metrics = json.loads((artifact.folder / METRICS_FILE).read_text(encoding="utf-8"))
    metrics["test"] = {**metrics.get("test", {}), content: result}
    write_metrics(artifact.folder, metrics)
