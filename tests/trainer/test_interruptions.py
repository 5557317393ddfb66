from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from tiny import Tiny, finished, run_of, write_dataset

from recbole_tinynews.files.tensors import load_weights
from recbole_tinynews.model.paper.plmnr import PLMNR
from recbole_tinynews.model.stages.masked_language_model import TaskLanguageModel
from recbole_tinynews.model.stages.title_body import TitleBodyMatcher, TitleBodyStudent
from recbole_tinynews.pipeline.artifact import Artifact
from recbole_tinynews.pipeline.quick_start import run
from recbole_tinynews.pipeline.stage import Stage, last_copies
from recbole_tinynews.pipeline.systems import system
from recbole_tinynews.trainer import MaskedLanguageModelTrainer, NewsTrainer

# Exercises all that a saved state must hold: a smaller last group, rates that change by step,
# dropout, validations within a pass, and early stopping that counts them.
BUSY: dict[str, Any] = {
    "train_batch_size": 3,
    "accumulation_steps": 2,
    "epochs": 3,
    "warmup_steps": 5,
    "plm_dropout": 0.3,
    "eval_steps": 4,
    "stopping_step": 2,
    "save_steps": 3,
    "learning_rate": 3e-3,
}


class Killed(BaseException):
    """Simulates a signal: no ``except Exception`` catches it."""


Outcome = tuple[dict, dict]


def run_stage(tiny: Tiny, folder: Path, **settings: Any) -> Outcome:
    """Train one stage; returns the outcome that its folder holds."""
    config = tiny.config(checkpoint_dir=str(folder), **{**BUSY, **settings})
    artifact = run_of(config).make(Stage("PLMNR", PLMNR))
    assert not (artifact.folder / "state").exists()
    return outcome(artifact)


def outcome(artifact: Artifact) -> Outcome:
    """Weights, and validation result and budget."""
    return artifact.weights.load(), {**artifact.valid, "budget": artifact.budget}


@contextmanager
def killed(
    step: int, hook: str = "after_step", owner: type[NewsTrainer] = NewsTrainer
) -> Iterator[None]:
    """Kill the training in this block when ``owner``'s hook is called after that step."""
    plain = getattr(owner, hook)

    def until(self: NewsTrainer, *arguments: Any, **keywords: Any) -> Any:
        if self.step >= step:
            raise Killed
        return plain(self, *arguments, **keywords)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, hook, until)
        with pytest.raises(Killed):
            yield


def assert_same(one: Outcome, other: Outcome) -> None:
    assert one[1:] == other[1:]
    assert one[0].keys() == other[0].keys()
    for name, value in one[0].items():
        assert torch.equal(value, other[0][name]), name


@pytest.fixture(scope="module")
def undisturbed(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    folder = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return run_stage(tiny, folder)


@pytest.fixture(scope="module")
def killed_at_8(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training killed at step 8; its last state was saved at step 6."""
    folder = tmp_path_factory.mktemp("killed")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        with killed(8):
            run_stage(tiny, folder / "saved")
    return folder / "saved"


@pytest.fixture
def stopped(killed_at_8: Path, tmp_path: Path) -> Path:
    """A copy of ``killed_at_8``, to resume from."""
    return Path(shutil.copytree(killed_at_8, tmp_path / "stopped"))


@pytest.mark.parametrize(
    ("hook", "step"),
    [
        *(("after_step", step) for step in (1, 4, 13)),
        *(("_valid_epoch", step) for step in (1, 12)),
        ("_save_checkpoint", 5),
    ],
)
def test_a_killed_training_ends_as_an_undisturbed_one(
    tiny: Tiny, tmp_path: Path, undisturbed, hook: str, step: int
) -> None:
    """Otherwise hours of training are lost, or a resumed run has other results."""
    with killed(step, hook):
        run_stage(tiny, tmp_path)
    assert_same(run_stage(tiny, tmp_path), undisturbed)


@pytest.mark.parametrize(
    "settings",
    [
        {"warmup_steps": 3},
        {"learner": "adamw", "weight_decay": 0.1},
        {"group_clicks": True},
        {"history_cache_steps": 10},  # vectors of earlier steps decide the next ones
    ],
)
def test_a_killed_training_ends_the_same_with(
    tiny: Tiny, tmp_path: Path, settings: dict[str, Any]
) -> None:
    two = tiny._replace(data=write_dataset(tmp_path / "data", clicks=2))
    settings = {"warmup_steps": None, "epochs": 1, "eval_steps": 6, **settings}
    expected = run_stage(two, tmp_path / "undisturbed", **settings)
    with killed(8):
        run_stage(two, tmp_path / "killed", **settings)
    assert_same(run_stage(two, tmp_path / "killed", **settings), expected)


def test_a_resumed_training_does_not_start_again(
    tiny: Tiny, stopped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Equal weights would also result if the state were never read."""
    steps: list[int] = []
    monkeypatch.setattr(NewsTrainer, "after_step", lambda self, *_: steps.append(self.step))
    run_stage(tiny, stopped)
    assert steps[0] == 7  # saved at 6


def test_without_saved_states_a_training_starts_again(
    tiny: Tiny, tmp_path: Path, undisturbed
) -> None:
    with killed(9):
        run_stage(tiny, tmp_path, save_steps=0)
    assert not list(tmp_path.rglob("progress.json"))
    assert_same(run_stage(tiny, tmp_path, save_steps=0), undisturbed)


@pytest.mark.whole
@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("progress.json", lambda content: b'{"format": 99}'),
        ("state.safetensors", lambda content: b"\x80\x04cos\nsystem\n"),
        # only better weights replace these: a checksum of the finished stage would bless them
        ("model.safetensors", lambda content: content[:-1] + bytes([content[-1] ^ 1])),
        ("model.safetensors", None),
    ],
)
def test_a_damaged_state_is_named_and_left_out(
    tiny: Tiny, stopped: Path, undisturbed, name: str, damage: Any, caplog
) -> None:
    """From a newer version, a disguised pickle, flipped or deleted: it is neither run nor used."""
    (file,) = stopped.rglob(name)
    content = file.read_bytes()
    file.unlink()
    if damage is not None:
        file.write_bytes(damage(content))
    assert_same(run_stage(tiny, stopped), undisturbed)
    assert "no state to resume from" in caplog.text


@pytest.mark.whole
def test_a_state_of_another_model_is_named_and_left_out(tiny: Tiny, tmp_path: Path, caplog) -> None:
    """A state that was copied by hand would be loaded into layers of another model."""
    with killed(6):
        run_stage(tiny, tmp_path, news_dim=24)
    (folder,) = (path.parent.parent for path in tmp_path.rglob("step-*"))
    expected = run_stage(tiny, tmp_path / "other")
    (other,) = (tmp_path / "other").rglob("metrics.json")
    other.unlink()
    (folder / "state").rename(other.parent / "state")
    assert_same(run_stage(tiny, tmp_path / "other"), expected)
    assert "no state to resume from" in caplog.text


def post_train(tiny: Tiny, folder: Path, stages: int = 2) -> list[Artifact]:
    """Run the first stages of Tiny-NewsRec."""
    config = tiny.config(
        "TinyNewsRec",
        checkpoint_dir=str(folder),
        negative_titles="in_batch",
        plm_dropout=0.3,
        history_cache_steps=10,
        save_steps=2,
        post_train_teacher_max_steps=7,  # reaches a second pass, after a short last batch
        post_train_student_max_steps=7,
        post_train_teacher_epochs=2,
        post_train_student_epochs=2,
    )
    run = run_of(config)
    teacher = Stage("post_train_teacher", TitleBodyMatcher)
    copies = last_copies(teacher, 2)
    student = Stage("post_train_student", TitleBodyStudent, teachers=copies)
    run.make(teacher if stages == 1 else student)
    return finished(run)


@pytest.mark.whole
def test_resumed_post_training_has_the_same_titles(tiny: Tiny, tmp_path: Path) -> None:
    """If titles depended on more than seed, epoch and sample, they would differ."""
    expected = post_train(tiny, tmp_path / "undisturbed")
    for stages in (1, 2):  # first the teacher, then the student of a finished teacher
        for step in (3, 6):
            with killed(step, "_update"):
                post_train(tiny, tmp_path / "killed")
        post_train(tiny, tmp_path / "killed", stages)
    for one, other in zip(post_train(tiny, tmp_path / "killed"), expected, strict=True):
        assert_same(outcome(one), outcome(other))


def train_jointly(tiny: Tiny, folder: Path, **settings: Any) -> Outcome:
    """Train a student and its teachers jointly; the student is saved."""
    busy = {"max_steps": None, "finetune_layers": "all", "gradient_momentum": 0.4, **settings}
    config = tiny.config("NewsBERTMT", checkpoint_dir=str(folder), **{**BUSY, **busy})
    return outcome(run_of(config).make(system(config)))


@pytest.mark.whole
def test_a_student_and_its_teachers_are_resumed_together(
    tiny: Tiny, tmp_path: Path, caplog
) -> None:
    """If teachers started again while the student is resumed, no log would show it."""
    caplog.set_level("INFO")
    expected = train_jointly(tiny, tmp_path / "undisturbed")
    folder = tmp_path / "killed"
    train_jointly(tiny, folder, max_steps=1)  # the teacher's post-training
    for step in (4, 11):
        with killed(step):
            train_jointly(tiny, folder)
        (state,) = folder.rglob("state.safetensors")
        names = {name.removeprefix("model.") for name in load_weights(state)}
        rooms = {".".join(name.split(".")[:3]) for name in names if name.startswith("teachers")}
        assert rooms == {f"teachers.members.{n}" for n in range(2)}
        assert "student.user_encoder.pooling.query.weight" in names
    found = train_jointly(tiny, folder)
    assert re.findall(r"Resuming from step (\d+)", caplog.text) == ["3", "9"]
    assert_same(found, expected)
    assert {name.split(".")[0] for name in found[0]} == {"news_encoder", "user_encoder"}
    assert not list(folder.rglob("state.safetensors"))


def pretrain(tiny: Tiny, folder: Path) -> Artifact:
    """Run masked-language-model training into a third pass, after short last batches."""
    settings = {"epochs": 3, "max_steps": 11, "eval_steps": 4, "finetune_layers": "all"}
    config = tiny.config(
        "PLMNRTAPT",
        checkpoint_dir=str(folder),
        plm_dropout=0.3,
        save_steps=2,
        **{f"pretrain_teacher_{name}": value for name, value in settings.items()},
    )
    return run_of(config).make(Stage("pretrain_teacher", TaskLanguageModel))


@pytest.mark.whole
@pytest.mark.parametrize(("hook", "step"), [("_update", 3), ("_update", 7), ("_valid_epoch", 8)])
def test_resumed_masked_training_has_the_same_masks(
    tiny: Tiny, tmp_path: Path, hook: str, step: int
) -> None:
    """If masks depended on more than seed, epoch and text, they would differ."""
    expected = pretrain(tiny, tmp_path / "undisturbed")
    owner = MaskedLanguageModelTrainer if hook == "_valid_epoch" else NewsTrainer
    with killed(step, hook, owner):
        pretrain(tiny, tmp_path / "killed")
    assert_same(outcome(pretrain(tiny, tmp_path / "killed")), outcome(expected))


def kill_again_and_again(settings: Path, folder: Path, steps: Sequence[int]) -> list[int]:
    """Exit codes of runs killed after the given numbers of updates, until one is not killed.

    Each is a fork, as importing takes longer than training.
    """
    plain, codes = NewsTrainer._update, []

    def update_until_killed(self: NewsTrainer) -> None:
        nonlocal left
        plain(self)
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    folder.mkdir(exist_ok=True)
    for number in steps:
        left = number
        process = os.fork()
        if process == 0:
            status = 1
            try:
                os.chdir(folder)
                NewsTrainer._update = update_until_killed
                run("TinyNewsRec", "tiny", [str(settings)])
                status = 0
            except Exception:
                traceback.print_exc()
            finally:
                os._exit(status)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
        if codes[-1] != -signal.SIGKILL:
            break
    return codes


@pytest.mark.whole
@pytest.mark.long
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no kill -9")
def test_all_four_stages_are_resumed_after_kill_9(tiny: Tiny, tmp_path: Path) -> None:
    """Uses a signal that can't be caught, at arbitrary steps, in a separate process."""
    chosen = {"plm_dropout": 0.2, "save_steps": 1, "negative_titles": "in_batch"}
    given = tiny.settings("TinyNewsRec", **chosen)
    settings = tmp_path / "settings.yaml"
    settings.write_text(yaml.safe_dump(given))
    config = tiny.config("TinyNewsRec", **chosen)
    expected = run_of(config)
    expected.make(system(config))

    steps = [*map(int, np.random.default_rng(0).integers(4, 8, size=10))]
    folder = tmp_path / "killed"
    call = f"{kill_again_and_again.__name__}(Path({str(settings)!r}), Path('killed'), {steps})"
    code = f"from pathlib import Path; from {__name__} import *; print({call})"
    other = subprocess.run(  # where sets are ordered differently
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    codes = yaml.safe_load(other.stdout.splitlines()[-1])
    assert codes[-1] == 0, other.stdout + other.stderr
    assert codes.count(-signal.SIGKILL) >= 2
    for artifact in finished(expected):
        (made,) = folder.rglob(f"{artifact.folder.name}/model.safetensors")
        weights = load_weights(made)
        for name, value in artifact.weights.load().items():
            torch.testing.assert_close(weights[name], value, rtol=0, atol=0)


def test_leftovers_of_a_killed_save_are_not_taken_for_a_state(
    tiny: Tiny, stopped: Path, undisturbed
) -> None:
    """Half of a state under its final name would be resumed from."""
    (state,) = stopped.rglob("step-*")
    os.rename(state, state.with_name(".step-9.0123abcd.partial"))
    assert_same(run_stage(tiny, stopped), undisturbed)
