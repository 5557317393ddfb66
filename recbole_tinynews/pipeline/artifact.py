"""Artifacts: the folders of finished stages.

<checkpoint_dir>/<dataset>/<stage>-<fingerprint>/
    model.safetensors  [copies/step-N.safetensors]    saved by the trainer
    settings.yaml                                     for models and people to read
    [plm/]                                            for models that rank news
    metrics.json                                      written last: marks a finished stage
    [state/]                                          while the stage is unfinished
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from logging import getLogger
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from recbole_tinynews.files.array_cache import changed, checksums, content_key
from recbole_tinynews.files.lines import read_json, untrusted
from recbole_tinynews.files.tensors import COPIES, WEIGHTS, load_weights
from recbole_tinynews.files.whole import SUFFIX, remove, write_text
from recbole_tinynews.settings.literals import read_yaml, write_yaml

ARTIFACT_FORMAT = 18  # raise it when a change in the code changes results or files
SETTINGS_FILE, METRICS_FILE = "settings.yaml", "metrics.json"
FORMAT_KEY, MADE_FROM = "format", "made_from"  # keys of settings.yaml besides the settings
# keys of metrics.json: checksums of the other files and its own, test metrics and their data's
# digest, and the time of the newest training impression
FILES, CHECKSUM, TEST, TEST_DATA, NEWEST = "files", "checksum", "test", "test_data", "newest"
EXPORT_FILE = "recommender.json"  # of an export, which is made from a finished stage
PLM = "plm"  # configuration and tokenizer of the language model, and category names


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

    ``budget`` has the fields of a trainer's ``Budget``, None if not counted; ``newest`` is the UTC
    second of the newest training impression, 0 if unknown.
    """

    name: str
    fingerprint: str
    folder: Path
    seconds: float
    valid: dict[str, Any]
    reused: bool = False
    budget: Mapping[str, int] | None = None
    newest: int = 0

    @classmethod
    def read(cls, name: str, fingerprint: str, folder: Path) -> Artifact | None:
        """The finished stage in ``folder``; None if absent, unfinished or damaged."""
        if not was_finished(folder):
            return None
        try:
            metrics = read_metrics(folder)
            if broken := changed(folder, metrics[FILES]):
                raise ValueError(f"{', '.join(broken)} changed since the training")
            seconds, valid, newest = (metrics[key] for key in ("seconds", "valid", NEWEST))
        except (OSError, ValueError, KeyError) as problem:
            getLogger().warning(f"{folder} is damaged and is trained again: {problem}")
            return None
        return cls(name, fingerprint, folder, seconds, valid, True, metrics.get("budget"), newest)

    def write(
        self, settings: Mapping[str, Any], write_parts: Callable[[Path], None] | None = None
    ) -> None:
        """Write all files except the trainer's, ``metrics.json`` last.

        ``write_parts`` writes ``plm/``: what ``load`` builds the model from beside the settings.
        """
        folder = self.folder
        shutil.rmtree(folder / PLM, ignore_errors=True)  # drop a damaged one
        if write_parts is not None:
            write_parts(folder / PLM)
        write_settings(folder, settings)
        metrics = {"valid": self.valid, "seconds": self.seconds, NEWEST: self.newest}
        if self.budget is not None:
            metrics["budget"] = self.budget
        metrics[FILES] = checksums(folder, files_of(folder))
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


def begin(folder: Path) -> None:
    """Prepare a locked stage's folder, without what a killed process left there."""
    (folder / METRICS_FILE).unlink(missing_ok=True)
    for partial in sorted(folder.rglob(f".*{SUFFIX}")):
        remove(partial)


def was_finished(folder: Path) -> bool:
    """Whether a run has finished this stage, even if files were lost since."""
    return (folder / METRICS_FILE).is_file()


def write_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    """Write ``settings.yaml``, without tuples or enums."""
    write_text(folder / SETTINGS_FILE, write_yaml(json.loads(json.dumps(settings, default=str))))


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
    """Files for others to read: weights, copies, settings and ``plm/``, but no hidden ones."""
    there = (*folder.glob(f"{COPIES}/*"), *folder.glob(f"{PLM}/**/*"))
    files = [folder / WEIGHTS, folder / SETTINGS_FILE, *there]
    return [file for file in files if file.is_file() and not file.name.startswith(".")]


def identity_of(folder: Path) -> str:
    """Digest of what determines a finished recommender's rankings: weights, settings, names."""
    return _digest_of(checksums(folder, files_of(folder)))


def read_finished(folder: Path) -> tuple[dict[str, Any], str]:
    """Settings and ``identity_of`` a stage, if its files are all of its own and as written.

    Raises ``FileNotFoundError`` for a folder without any of them, ``ValueError`` for all else.
    """
    names = WEIGHTS, SETTINGS_FILE, METRICS_FILE
    missing = [name for name in names if not (folder / name).is_file()]
    if missing and (folder / EXPORT_FILE).is_file():
        raise ValueError(
            f"{folder} must be the folder of a finished stage, and is an export. Pass the folder "
            "that it was made from."
        )
    if len(missing) == len(names):
        inside = sorted(path.parent.name for path in folder.glob(f"*/{METRICS_FILE}"))
        hint = f" Did you mean one of those in it: {', '.join(inside)}?" if inside else ""
        raise FileNotFoundError(
            f"load expects the folder of a finished stage, with {', '.join(names)}, and "
            f"{folder.absolute()} has none of them.{hint}"
        )
    if missing:
        raise ValueError(
            f"{folder} is unfinished: {' and '.join(missing)} are missing. Run the same command "
            "again: it resumes where it was stopped."
        )
    place = folder.resolve()
    own = [place]
    if place.parent.name == "snapshots":  # of the hub's cache, whose files are links to its blobs
        own.append(place.parent.parent / "blobs")
    for file in (*map(folder.joinpath, names), *folder.glob(f"{PLM}/**/*")):
        if not any(map(file.resolve().is_relative_to, own)):
            raise ValueError(
                f"{folder} expects files of its own, and {file.relative_to(folder)} is a link out "
                "of it, which is not read. Copy what it links to into the folder."
            )
    with untrusted(folder / METRICS_FILE):
        written, there = read_metrics(folder).get(FILES, {}), checksums(folder, files_of(folder))
        broken = sorted({name for name, _ in written.items() ^ there.items()})
    if broken:
        raise ValueError(
            f"{folder} expects its files as they were written, and {', '.join(broken)} "
            f"{'are' if len(broken) > 1 else 'is'} missing or changed: it would rank wrongly. "
            "Rerun the command that made it, which trains it again, or copy the folder again."
        )
    settings = read_settings(folder)
    if settings.get(FORMAT_KEY) != ARTIFACT_FORMAT:
        raise ValueError(
            f"{folder / SETTINGS_FILE} has format {str(settings.get(FORMAT_KEY))[:20]}, and this "
            f"version of recbole_tinynews reads format {ARTIFACT_FORMAT}: its scores would differ. "
            "Rerun the command that made it with --fresh, or install the version that made it."
        )
    return settings, _digest_of(there)


def saved_test_result(metrics: Mapping[str, Any], content: str | None) -> dict[str, Any] | None:
    """Test metrics in ``metrics.json``; None without, or for data with another digest."""
    return metrics.get(TEST) if metrics.get(TEST_DATA) == content else None
