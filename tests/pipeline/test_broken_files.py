"""A finished folder whose files changed is never reused or served as it is."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from tiny import DATASET, STAGE_SETTINGS, Tiny, finished

from recbole_tinynews.pipeline.artifact import files_of
from recbole_tinynews.pipeline.plan import plan
from recbole_tinynews.pipeline.stage import in_order
from recbole_tinynews.pipeline.systems import system
from recbole_tinynews.serving.loading import load

WEIGHTS, COPY = "model.safetensors", "copies/step-4.safetensors"


def broken(file: Path, damage: str) -> None:
    content = file.read_bytes()
    file.unlink()
    half, rest = content[: len(content) // 2], content[len(content) // 2 :]
    flipped = half + bytes([rest[0] ^ 1]) + rest[1:]
    changed = {"flipped": flipped, "cut": half, "zeroed": bytes(len(content))}
    if damage != "deleted":
        file.write_bytes(changed[damage])


def run_again(tiny: Tiny, folder: Path) -> list[tuple[str, bool]]:
    run = tiny.run("TinyNewsRec", **{**STAGE_SETTINGS, "checkpoint_dir": str(folder)})
    config = run.factory.config
    planned = plan(run, in_order(system(config)), config["fresh"])
    run.make(system(config))
    done = [(artifact.name, artifact.reused) for artifact in finished(run)]
    assert [step.action == "reused" for step in planned] == [reused for _, reused in done]
    return done


@pytest.mark.parametrize(
    ("stage", "file", "damage"),
    [
        *(("TinyNewsRec", WEIGHTS, damage) for damage in ("flipped", "cut", "zeroed", "deleted")),
        ("post_train_student", WEIGHTS, "flipped"),
        *(("post_train_teacher", COPY, damage) for damage in ("flipped", "cut", "deleted")),
        *(("TinyNewsRec", "settings.yaml", damage) for damage in ("flipped", "deleted")),
        *(("TinyNewsRec", "plm/tokenizer.json", damage) for damage in ("flipped", "deleted")),
        ("finetune_teacher", "plm/config.json", "zeroed"),
        *(("TinyNewsRec", "metrics.json", damage) for damage in ("flipped", "cut")),
    ],
)
def test_a_file_that_changed_is_named_and_made_again_by_the_same_command(
    tiny: Tiny, saved: Path, caplog: pytest.LogCaptureFixture, stage: str, file: str, damage: str
) -> None:
    """A flipped bit in weights that are read without complaint gives wrong teachers for ever."""
    caplog.set_level(logging.INFO)
    folder = next((saved / DATASET).glob(f"{stage}-*"))
    before = files_of(folder)
    broken(folder / file, damage)
    assert (stage, False) in run_again(tiny, saved)
    told = " ".join(record.getMessage() for record in caplog.records)
    assert f"{folder} is damaged and is trained again" in told
    assert Path(file).name in told
    assert files_of(folder) == before
    caplog.clear()
    (lock := folder.with_name(f".{folder.name}.lock")).touch()  # of a process killed after this
    assert all(reused for _, reused in run_again(tiny, saved))
    assert not lock.exists()
    assert "again" not in " ".join(record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("file", [WEIGHTS, "plm/tokenizer.json"])
@pytest.mark.parametrize("damage", ["flipped", "deleted"])
def test_a_recommender_with_a_broken_file_is_not_served(
    saved: Path, file: str, damage: str
) -> None:
    """Without its tokenizer it would rank by other words, and say nothing."""
    folder = next((saved / DATASET).glob("TinyNewsRec-*"))
    load(folder)
    broken(folder / file, damage)
    with pytest.raises(ValueError, match=f"{Path(file).name}.*(missing|changed)"):
        load(folder)
