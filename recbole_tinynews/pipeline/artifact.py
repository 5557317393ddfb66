"""The artifact of a finished stage: a folder with its weights, settings and metrics.

<checkpoint_dir>/<dataset>/<stage>-<fingerprint>/   model.safetensors  settings.yaml  metrics.json
                                                    training.csv  training.svg
                                                    plm/, if it ranks news
"""

from __future__ import annotations

import json
import sys
from logging import getLogger
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from torch import Tensor

from recbole_tinynews.config import NewsConfig
from recbole_tinynews.files.array_cache import content_key
from recbole_tinynews.files.checksums import changed
from recbole_tinynews.files.tensors import check_weights, load_weights
from recbole_tinynews.files.whole import write_text
from recbole_tinynews.pipeline.stage import Stage
from recbole_tinynews.registry import find_trainer
from recbole_tinynews.settings.declared import affects_result
from recbole_tinynews.settings.names import split_stage
from recbole_tinynews.trainer.impression_evaluation import WEIGHTS
from recbole_tinynews.trainer.post_training import COPIES
from recbole_tinynews.trainer.training_state import STATE

_PACKAGES = {"recbole_tinynews", "recbole", "torch", "builtins"}
ARTIFACT_FORMAT = 6  # raised whenever a change in the code changes results
# formats whose recommenders score as they did when they were trained
READABLE = frozenset((ARTIFACT_FORMAT,))
SETTINGS_FILE, METRICS_FILE = "settings.yaml", "metrics.json"
# keys of metrics.json: checksums of the other files and its own, metrics on test impressions and
# the digest of these, and the text of training.csv
FILES, CHECKSUM, TEST, TEST_DATA, CURVE_TEXT = "files", "checksum", "test", "test_data", "curve"
WEIGHTS_SUFFIX = Path(WEIGHTS).suffix
BEGUN = "begun.json"  # while a stage is unfinished: the data set that it is trained on
CURVE, FIGURE = "training.csv", "training.svg"  # by step, for people to read
PLM = "plm"  # configuration and tokenizer of the language model, and the names of categories
CATEGORY_NAMES = "categories.json"  # in it: names by field, without padding, in the order of ids
FORMAT_KEY, MADE_FROM = "format", "made_from"  # further keys of settings.yaml


class Weights(NamedTuple):
    """The weights of one model, on disk; a later file's weights replace an earlier one's."""

    files: tuple[Path, ...]

    @property
    def source(self) -> Path:
        """The file that messages name."""
        return self.files[-1]

    def load(self) -> dict[str, Tensor]:
        """All weights by name."""
        return {name: value for file in self.files for name, value in load_weights(file).items()}


class Artifact(NamedTuple):
    """A finished stage.

    Attributes:
        name: name of the stage.
        fingerprint: digest of all that decides its result.
        folder: folder of its files.
        seconds: duration of the training.
        valid: its best validation result.
        reused: whether an earlier run trained it.
    """

    name: str
    fingerprint: str
    folder: Path
    seconds: float
    valid: dict[str, Any]
    reused: bool = False

    @property
    def weights(self) -> Weights:
        """The weights of the best validation, or after post-training the last ones."""
        return Weights((self.folder / WEIGHTS,))

    def copy(self, back: int) -> Weights:
        """The weights of a saved copy, counted from the last: 0 is the last one.

        Raises:
            ValueError: there are too few copies.
        """
        kept = (self.folder / COPIES).glob("step-*.safetensors")
        steps = {int(path.stem.removeprefix("step-")): path for path in kept}
        if len(steps) <= back:
            where = f" in {self.folder / COPIES}"
            raise ValueError(f"{too_few_copies(self.name, back + 1, len(steps), where)}.")
        # a copy holds what trains; the rest, in model.safetensors, never changed
        return Weights((self.folder / WEIGHTS, steps[sorted(steps)[-1 - back]]))


def too_few_copies(stage: str, wanted: int, copies: int, where: str = "") -> str:
    """The message for more teachers than a stage saves copies."""
    return (
        f"num_teachers={wanted} expects as many copies of {stage}, got {copies}{where}. Train it "
        f"longer ({stage}_epochs, {stage}_max_steps), save copies more often "
        "(teacher_checkpoint_interval), or ask for fewer teachers"
    )


def settings_that_matter(config: NewsConfig, stage: Stage) -> dict[str, Any]:
    """The settings that decide a stage's result, without those that concern only other stages.

    A stage without teachers may be shared by several systems, so settings that only one system
    declares are left out. A stage with teachers (a student) belongs to its system alone.
    """
    model_class, has_teachers = stage.model, bool(stage.teachers)
    left_out = config.settings_of_others(stage.name, model_class, is_student=has_teachers)
    read_anyway: frozenset[str] = getattr(model_class, "also_reads", frozenset())
    return {
        "model_class": f"{model_class.__module__}.{model_class.__name__}",
        **_plain(
            {
                name: value
                for name, value in config.final_config_dict.items()
                if name not in left_out
                and affects_result(name, has_teachers or name in read_anyway)
                and split_stage(name, config.stage_names)[0] is None
            }
        ),
    }


def settings_of_stages(config: NewsConfig) -> dict[str, Any]:
    """The settings with a stage's name as prefix, which describe a student's teachers."""
    final, stages = config.final_config_dict, config.stage_names
    return _plain({name: value for name, value in final.items() if split_stage(name, stages)[0]})


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value if isinstance(value, (bool, int, float, list, dict)) else str(value)
        for name, value in sorted(settings.items())
        if value is not None
    }


def fingerprint(described: dict[str, Any]) -> str:
    """A short digest of everything that decides a stage's result."""
    return content_key([json.dumps(described, sort_keys=True, default=str)])[:12]


def source_of(stage: Stage) -> list[Path]:
    """The files of a user's own model, trainer and hand-over, which decide results as settings do.

    Files that these import are not covered. A change in the package's own code raises
    ``ARTIFACT_FORMAT`` instead.
    """
    made_as = getattr(stage.model, "reading_as", stage.model)
    classes = (stage.model, made_as, find_trainer(stage.model))
    names = [cls.__module__ for each in classes for cls in each.__mro__]
    names += [stage.start.put.__module__] if stage.start else []
    modules = [sys.modules.get(name) for name in dict.fromkeys(names)]
    own = [m for m in modules if m and m.__name__.partition(".")[0] not in _PACKAGES]
    files = [getattr(module, "__file__", None) for module in own]
    return [Path(file) for file in files if file]


def read_artifact(name: str, mark: str, folder: Path) -> Artifact | None:
    """The finished stage in ``folder``; None where it is absent, unfinished or damaged."""
    try:
        metrics = read_metrics(folder)
        artifact = Artifact(name, mark, folder, metrics["seconds"], metrics["valid"], reused=True)
        check_weights(folder / WEIGHTS)
        for copy in metrics.get(COPIES, ()):
            check_weights(folder / COPIES / copy)
        broken = [name for name in broken_files(folder) if name.endswith(WEIGHTS_SUFFIX)]
        if broken:
            raise ValueError(f"{', '.join(broken)} changed since the training")
    except FileNotFoundError as problem:
        if was_finished(folder):
            getLogger().warning(f"{folder} is incomplete and is trained again: {problem}")
        return None
    except (OSError, ValueError, KeyError, TypeError) as problem:
        getLogger().warning(f"{folder} is damaged and is trained again: {problem}")
        return None
    return artifact


def was_finished(folder: Path) -> bool:
    """Whether a run has finished this stage, even if files of it have been lost since."""
    if (folder / METRICS_FILE).is_file():
        return True
    unfinished = (folder / BEGUN).is_file() or (folder / STATE).is_dir()
    return (folder / WEIGHTS).is_file() and not unfinished


def as_written(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings as they are read back from ``settings.yaml``: without tuples or enums."""
    return json.loads(json.dumps(settings, default=str))


def write_settings(folder: Path, settings: dict[str, Any]) -> None:
    """Write ``settings.yaml`` into the folder."""
    text = yaml.safe_dump(as_written(settings), sort_keys=False, allow_unicode=True)
    write_text(folder / SETTINGS_FILE, text)


def read_settings(folder: Path) -> dict[str, Any]:
    """The contents of ``settings.yaml``; nothing in it is executed.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: it is not valid yaml, or holds no settings.
    """
    try:
        settings = yaml.safe_load((folder / SETTINGS_FILE).read_text(encoding="utf-8"))
    except yaml.YAMLError as problem:
        raise ValueError(f"{folder / SETTINGS_FILE} is no yaml: {problem}") from problem
    if not isinstance(settings, dict) or not isinstance(settings.get("model_class"), str):
        raise ValueError(
            f"{folder / SETTINGS_FILE} expects the settings of a finished stage, model_class among "
            "them, and holds something else. Train it again."
        )
    return settings


def write_metrics(folder: Path, metrics: dict[str, Any]) -> None:
    """Write ``metrics.json``, which comes last: a folder that has it is complete."""
    values = json.loads(json.dumps(metrics))  # as they are read back
    text = json.dumps({**values, CHECKSUM: _digest_of(values)}, indent=2)
    write_text(folder / METRICS_FILE, f"{text}\n")


def read_metrics(folder: Path) -> dict[str, Any]:
    """The contents of ``metrics.json``, without its own checksum.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: it holds something else, or was changed.
    """
    try:
        metrics = json.loads((folder / METRICS_FILE).read_text(encoding="utf-8"))
    except ValueError as problem:
        raise ValueError(f"{folder / METRICS_FILE} is no json: {problem}") from problem
    if not isinstance(metrics, dict) or not isinstance(metrics.get(FILES, {}), dict):
        raise ValueError(
            f"{folder / METRICS_FILE} expects the metrics of a finished stage, and holds something "
            "else. Train it again."
        )
    # one of an earlier version has no checksum
    if metrics.pop(CHECKSUM, None) not in (None, _digest_of(metrics)):
        raise ValueError(
            f"{folder / METRICS_FILE} was changed after it was written: its checksum differs. "
            "Train it again."
        )
    return metrics


def _digest_of(values: dict[str, Any]) -> str:
    return content_key([json.dumps(values, sort_keys=True)])


def files_of(folder: Path) -> list[Path]:
    """The files that others read: weights, copies, settings, and what ``plm/`` holds."""
    there = (*folder.glob(f"{COPIES}/*"), *folder.glob(f"{PLM}/**/*"))
    files = [folder / WEIGHTS, folder / SETTINGS_FILE, *there]
    return [file for file in files if file.is_file()]


def broken_files(folder: Path) -> list[str]:
    """The files of a finished stage that are missing or not as they were written."""
    return changed(folder, read_metrics(folder).get(FILES, {}))


def kept_test_result(metrics: dict[str, Any], content: str | None) -> dict[str, Any] | None:
    """Those of the test impressions in the contents of ``metrics.json``.

    None where they are missing, or those of other data than the ones with this content digest.
    """
    return metrics.get(TEST) if metrics.get(TEST_DATA) == content else None


def keep_test_result(artifact: Artifact, content: str, result: dict[str, Any]) -> None:
    """Write the test metrics into ``metrics.json``, with the content digest of their data."""
    metrics = read_metrics(artifact.folder)
    if kept_test_result(metrics, content) != result:
        write_metrics(artifact.folder, {**metrics, TEST: result, TEST_DATA: content})
