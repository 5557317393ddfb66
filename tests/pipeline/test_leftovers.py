"""What kill -9 leaves behind is removed by the next run, and nothing else is."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest
from tiny import DATASET, Tiny

from recbole_tinynews.files.whole import OLD, exclusive_lock, partial_place, resumable_file
from recbole_tinynews.model.paper.plmnr import PLMNR
from recbole_tinynews.pipeline.artifact import BEGUN, begin, remove_leftovers
from recbole_tinynews.pipeline.quick_start import run
from recbole_tinynews.pipeline.run import Run
from recbole_tinynews.pipeline.stage import Stage, in_order
from recbole_tinynews.pipeline.systems import system
from recbole_tinynews.trainer import NewsTrainer


def unfinished(folder: Path, content: str) -> Path:
    (folder / "state" / "step-2").mkdir(parents=True)
    begin(folder, content)
    return folder


def partial(path: Path, folder: bool = False) -> Path:
    with partial_place(path) as place:
        pass
    place.mkdir() if folder else place.touch()
    return place


def aged(place: Path) -> Path:
    old = time.time() - OLD - 60
    for each in (*place.rglob("*"), place):
        os.utime(each, (old, old))
    return place


def test_an_unfinished_stage_of_changed_data_is_removed_and_others_stay(tmp_path: Path) -> None:
    """It could never be resumed, and a state takes as much room as three models."""
    of_other_data = unfinished(tmp_path / "PLMNR-1", "then")
    of_these, old_one = unfinished(tmp_path / "PLMNR-2", "now"), tmp_path / "PLMNR-3"
    (old_one / "state").mkdir(parents=True)  # killed before `begin`
    in_use = unfinished(tmp_path / "PLMNR-4", "then")
    done = unfinished(tmp_path / "PLMNR-5", "then")
    (done / "metrics.json").write_text("{}")
    with exclusive_lock(in_use, "training it"):
        remove_leftovers(tmp_path, "now")
    assert not of_other_data.exists()
    assert all(each.exists() for each in (of_these, old_one, in_use, done))


def test_a_stage_that_reads_texts_alone_is_resumed_with_other_impressions(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A test set that is added would cost days of post-training, which does not read it."""
    this_run = tiny.run("TinyNewsRec")
    stages = in_order(system(this_run.factory.config))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Run, "_train", killed)
    folders = []
    for stage in (stages[0], Stage("PLMNR", PLMNR)):
        with pytest.raises(KeyboardInterrupt):
            this_run.make(stage)
        folders.append(this_run.recipes.of(stage).folder)
    remove_leftovers(folders[0].parent, "of other impressions")
    assert [folder.exists() for folder in folders] == [True, False]


def test_old_partial_files_are_removed_and_new_and_resumable_ones_stay(tmp_path: Path) -> None:
    """Another process may be writing a new one, and a resumable one is wanted."""
    cache = tmp_path / "cache" / "tokens-1"
    old = [aged(partial(tmp_path / "A-1" / "training.csv")), aged(partial(cache, folder=True))]
    with resumable_file(tmp_path / "cache" / "t.npy") as kept:
        kept.touch()
    kept.touch()  # as if it had been stopped
    stays = [partial(tmp_path / "A-1" / "training.csv"), partial(cache, folder=True), aged(kept)]
    stays.append(partial(tmp_path / "A-2" / "plm", folder=True))
    aged(stays[-1])
    (stays[-1] / "config.json").touch()  # being written
    remove_leftovers(tmp_path, "now")
    assert not any(each.exists() for each in old)
    assert all(each.exists() for each in stays)


def test_the_lock_of_a_killed_process_is_removed_and_a_held_one_stays(tmp_path: Path) -> None:
    """A stage that is finished is not locked again, so its lock would stay for good."""
    left = tmp_path / "cache" / ".tokens-1.lock"
    left.parent.mkdir()
    left.touch()
    with exclusive_lock(tmp_path / "PLMNR-1", "training it"):
        remove_leftovers(tmp_path, "now")
        assert (tmp_path / ".PLMNR-1.lock").exists()
    assert not left.exists()


def test_a_run_removes_what_an_earlier_one_of_other_data_left(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Data are corrected while a training is stopped."""
    data = tmp_path / "data"
    shutil.copytree(tiny.data, data)
    settings = tiny.settings("PLMNR", data_path=str(data), save_steps=1)
    update = NewsTrainer._update

    def killed(self: NewsTrainer) -> None:
        update(self)
        if self.step == 2:
            raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(NewsTrainer, "_update", killed)
        with pytest.raises(SystemExit):
            run("PLMNR", DATASET, config_dict=settings)
    (begun,) = (tmp_path / "saved").rglob(BEGUN)
    left = [partial(begun.parent / "training.csv"), begun.parent]
    with (data / DATASET / f"{DATASET}.test.inter").open("a") as file:
        file.write("test-new\tU1\t1573000099\tN1\tN2 N3\t1 0\n")
    run("PLMNR", DATASET, config_dict=settings)
    assert not any(each.exists() for each in left)
    assert not list((tmp_path / "saved").rglob(BEGUN))


def test_a_folder_renamed_by_another_process_stops_nobody(tmp_path: Path, monkeypatch) -> None:
    """Two rows of a benchmark share a teacher: one writes its state while the other starts."""
    state = tmp_path / "PLMNR-aaa" / "state"
    state.mkdir(parents=True)
    being_written = partial(state / "step-6", folder=True)
    read = os.scandir

    def scandir(place):
        if Path(place) == being_written:  # listed, and complete before it is read
            being_written.rename(state / "step-6")
        return read(place)

    monkeypatch.setattr(os, "scandir", scandir)
    remove_leftovers(tmp_path, "data")
    assert (state / "step-6").is_dir()
