"""Artifacts: the folders of finished stages.

<checkpoint_dir>/<dataset>/<stage>-<fingerprint>/
    model.safetensors  [copies/step-N.safetensors]    saved by the trainer
    settings.yaml  training.csv                       for models and people to read
    [plm/]                                            for models that rank news
    metrics.json                                      written last: marks a finished stage
    [state/  begun.json]                              while the stage is unfinished
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from logging import getLogger
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from recbole_tinynews.files.array_cache import changed, checksums, content_key
from recbole_tinynews.files.lines import read_json, untrusted
from recbole_tinynews.files.tensors import check_weights, load_weights
from recbole_tinynews.files.whole import (
    LockHeldError,
    all_partials,
    everything_under,
    exclusive_lock,
    remove,
    remove_old_partials,
    write_text,
)
from recbole_tinynews.settings.literals import read_yaml, write_yaml
from recbole_tinynews.trainer.budget import Budget
from recbole_tinynews.trainer.checkpoints import STATE
from recbole_tinynews.trainer.impression_evaluation import WEIGHTS
from recbole_tinynews.trainer.losses import TrainingCurve
from recbole_tinynews.trainer.post_training import COPIES

ARTIFACT_FORMAT = 10  # raise it when a change in the code changes results or files
SETTINGS_FILE, METRICS_FILE = "settings.yaml", "metrics.json"
FORMAT_KEY, MADE_FROM = "format", "made_from"  # keys of settings.yaml besides the settings
# keys of metrics.json: checksums of the other files and its own, test metrics and their data's
# digest, and the text of training.csv
FILES, CHECKSUM, TEST, TEST_DATA, CURVE_TEXT = "files", "checksum", "test", "test_data", "curve"
NEWEST = "newest"  # key of metrics.json
BEGUN = "begun.json"  # digest of an unfinished stage's data set
CURVE = "training.csv"  # losses and validation metrics by step, for people
PLM = "plm"  # configuration and tokenizer of the language model, and category names
CATEGORY_NAMES = "categories.json"  # in plm/: names by field, in id order, without padding


class Weights(NamedTuple):
    """Files with the weights of one model; later files override earlier ones."""

    files: tuple[Path, ...]

    @property
    def source(self) -> Path:
        """The file to name in messages."""
        return self.files[-1]

    def load(self) -> dict[str, Tensor]:
        """All weights by name."""
        return {name: value for file in self.files for name, value in load_weights(file).items()}


class Artifact(NamedTuple):
    """A finished stage: its best validation result, and the ``seconds`` and budget of its training.

    ``damaged`` files are missing or changed, and can be rewritten without training; ``newest`` is
    the UTC second of the newest training impression, 0 if unknown.
    """

    name: str
    fingerprint: str
    folder: Path
    seconds: float
    valid: dict[str, Any]
    reused: bool = False
    damaged: tuple[str, ...] = ()
    budget: Budget | None = None
    newest: int = 0

    @classmethod
    def read(cls, name: str, fingerprint: str, folder: Path) -> Artifact | None:
        """The finished stage in ``folder``; None if absent, unfinished or damaged beyond repair."""
        try:
            metrics = read_metrics(folder)
            found = cls(name, fingerprint, folder, metrics["seconds"], metrics["valid"], True)
            check_weights(folder / WEIGHTS)
            for copy in metrics.get(COPIES, ()):
                check_weights(folder / COPIES / copy)
            damaged = changed(folder, metrics[FILES])
            if lost := [file for file in damaged if file.endswith(Path(WEIGHTS).suffix)]:
                raise ValueError(f"{', '.join(lost)} changed since the training")
        except FileNotFoundError as problem:
            if was_finished(folder):
                getLogger().warning(f"{folder} is incomplete and is trained again: {problem}")
            return None
        except (OSError, ValueError, KeyError, TypeError) as problem:
            getLogger().warning(f"{folder} is damaged and is trained again: {problem}")
            return None
        budget = Budget(**metrics["budget"]) if metrics.get("budget") else None
        return found._replace(damaged=tuple(damaged), budget=budget, newest=metrics.get(NEWEST, 0))

    def write(
        self,
        settings: Mapping[str, Any],
        curve: TrainingCurve | None,
        keep_language_model: Callable[[Path], None],
    ) -> None:
        """Write all files except the trainer's, ``metrics.json`` last.

        ``keep_language_model`` writes the contents of ``plm/``. Without a curve, repair the
        artifact.
        """
        folder, earlier = self.folder, {} if curve else read_metrics(self.folder)
        shutil.rmtree(folder / PLM, ignore_errors=True)  # drop a damaged one
        keep_language_model(folder / PLM)
        write_settings(folder, settings)
        table = curve.as_csv() if curve else earlier[CURVE_TEXT]
        write_text(folder / CURVE, table)
        metrics = {"valid": self.valid, "seconds": self.seconds, NEWEST: self.newest}
        if self.budget is not None:
            metrics["budget"] = self.budget._asdict()
        copies = sorted(path.name for path in (folder / COPIES).glob("step-*.safetensors"))
        if copies:  # listed, to notice missing ones
            metrics[COPIES] = copies
        metrics[CURVE_TEXT] = table
        metrics |= {key: earlier[key] for key in (TEST, TEST_DATA) if key in earlier}
        metrics[FILES] = checksums(folder, [*files_of(folder), folder / CURVE])
        write_metrics(folder, metrics)

    @property
    def weights(self) -> Weights:
        """Weights of the best validation; after post-training, the last ones."""
        return Weights((self.folder / WEIGHTS,))

    def copy(self, back: int) -> Weights:
        """Weights of a saved copy, counted back from the last (0); ``ValueError`` without it."""
        kept = (self.folder / COPIES).glob("step-*.safetensors")
        steps = {int(path.stem.removeprefix("step-")): path for path in kept}
        if len(steps) <= back:
            where = f" in {self.folder / COPIES}"
            raise ValueError(f"{too_few_copies(self.name, back + 1, len(steps), where)}.")
        # a copy holds trained weights; frozen ones are in model.safetensors
        return Weights((self.folder / WEIGHTS, steps[sorted(steps)[-1 - back]]))

    def test_result(self, content: str) -> dict[str, Any] | None:
        """Saved metrics on test impressions with this content digest, if any."""
        return saved_test_result(read_metrics(self.folder), content)

    def save_test_result(self, content: str, result: Mapping[str, Any]) -> None:
        """Save test metrics with the content digest of their data."""
        if self.test_result(content) != result:
            metrics = {**read_metrics(self.folder), TEST: result, TEST_DATA: content}
            write_metrics(self.folder, metrics)


def too_few_copies(stage: str, wanted: int, copies: int, where: str = "") -> str:
    """Message for more teachers than saved copies."""
    return (
        f"num_teachers={wanted} expects as many copies of {stage}, got {copies}{where}. Train it "
        f"longer ({stage}_epochs, {stage}_max_steps), save copies more often "
        "(teacher_checkpoint_interval), or ask for fewer teachers"
    )


def begin(folder: Path, content: str | None) -> None:
    """Prepare a locked stage's folder; note its data's digest, None for a stage of texts alone."""
    (folder / METRICS_FILE).unlink(missing_ok=True)
    for place in all_partials(folder):  # of a killed process
        remove(place)
    write_text(folder / BEGUN, json.dumps({"data_set": content}))


def begun_on(folder: Path) -> str | None:
    """The digest saved by ``begin``, if any."""
    try:
        return json.loads((folder / BEGUN).read_text(encoding="utf-8"))["data_set"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def remove_state(folder: Path) -> None:
    """Remove files that only an unfinished stage needs."""
    shutil.rmtree(folder / STATE, ignore_errors=True)
    with suppress(OSError):  # read-only
        (folder / BEGUN).unlink()


def remove_leftovers(folder: Path, content: str) -> None:
    """Remove unfinished stages of other contents of the data set, old partial files, and locks."""
    for begun in sorted(folder.glob(f"*/{BEGUN}")):
        stage = begun.parent
        if was_finished(stage) or begun_on(stage) in (None, content):
            continue
        try:
            with exclusive_lock(stage, "training it", wait=False):
                shutil.rmtree(stage, ignore_errors=True)
        except (LockHeldError, OSError):  # being trained, read-only, or no locks on this disk
            continue
        getLogger().info(f"{stage}, unfinished and of other data, was removed.")
    remove_old_partials(folder)
    for lock in (place for place in everything_under(folder) if place.match(".*.lock")):
        held = lock.with_name(lock.name.removeprefix(".").removesuffix(".lock"))
        # releasing a lock removes its file
        with suppress(LockHeldError, OSError), exclusive_lock(held, "removing it", wait=False):
            pass


def was_finished(folder: Path) -> bool:
    """Whether a run has finished this stage, even if files were lost since."""
    if (folder / METRICS_FILE).is_file():
        return True
    unfinished = (folder / BEGUN).is_file() or (folder / STATE).is_dir()
    return (folder / WEIGHTS).is_file() and not unfinished


def as_written(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as read back from ``settings.yaml``: without tuples or enums."""
    return json.loads(json.dumps(settings, default=str))


def write_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    """Write ``settings.yaml``."""
    write_text(folder / SETTINGS_FILE, write_yaml(as_written(settings)))


def read_settings(folder: Path) -> dict[str, Any]:
    """Contents of ``settings.yaml``, never executed; ``ValueError`` if they are no settings."""
    with untrusted(folder / SETTINGS_FILE):
        settings = read_yaml(folder / SETTINGS_FILE)
    if not isinstance(settings.get("model_class"), str):
        raise ValueError(
            f"{folder / SETTINGS_FILE} expects the settings of a finished stage, model_class among "
            "them, and holds something else. Train it again."
        )
    return settings


def write_metrics(folder: Path, metrics: Mapping[str, Any]) -> None:
    """Write ``metrics.json`` with a checksum of its contents."""
    values = json.loads(json.dumps(metrics))  # as read back
    text = json.dumps({**values, CHECKSUM: _digest_of(values)}, indent=2)
    write_text(folder / METRICS_FILE, f"{text}\n")


def read_metrics(folder: Path) -> dict[str, Any]:
    """Contents of ``metrics.json`` without its checksum; ``ValueError`` if they were changed."""
    metrics = read_json(folder / METRICS_FILE)
    if not isinstance(metrics, dict) or not isinstance(metrics.get(FILES, {}), dict):
        raise ValueError(
            f"{folder / METRICS_FILE} expects the metrics of a finished stage, and holds something "
            "else. Train it again."
        )
    if metrics.pop(CHECKSUM, None) != _digest_of(metrics):
        raise ValueError(
            f"{folder / METRICS_FILE} was changed after it was written: its checksum differs. "
            "Train it again."
        )
    return metrics


def _digest_of(values: dict[str, Any]) -> str:
    return content_key([json.dumps(values, sort_keys=True)])


def files_of(folder: Path) -> list[Path]:
    """Files for others to read: weights, copies, settings and ``plm/``."""
    there = (*folder.glob(f"{COPIES}/*"), *folder.glob(f"{PLM}/**/*"))
    files = [folder / WEIGHTS, folder / SETTINGS_FILE, *there]
    return [file for file in files if file.is_file()]


def identity_of(folder: Path) -> str:
    """Digest of what determines a finished recommender's rankings: weights, settings, names."""
    return content_key([json.dumps(checksums(folder, files_of(folder)), sort_keys=True)])


def broken_files(folder: Path) -> list[str]:
    """Missing or changed files of a finished stage."""
    return changed(folder, read_metrics(folder).get(FILES, {}))


def saved_test_result(metrics: Mapping[str, Any], content: str | None) -> dict[str, Any] | None:
    """Test metrics in ``metrics.json``; None without, or for data with another digest."""
    return metrics.get(TEST) if metrics.get(TEST_DATA) == content else None
