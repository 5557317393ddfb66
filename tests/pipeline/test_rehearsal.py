"""What a later stage cannot be trained with is refused before the first stage trains."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from tiny import DATASET, Tiny

from recbole_tinynews.data.dataset import NewsDataset
from recbole_tinynews.pipeline.factory import factory_of
from recbole_tinynews.pipeline.plan import check_data, rehearse
from recbole_tinynews.pipeline.quick_start import run_config
from recbole_tinynews.pipeline.run import Run
from recbole_tinynews.pipeline.stage import in_order
from recbole_tinynews.pipeline.systems import system
from recbole_tinynews.trainer.distillation_trainer import most_copies


def mistakes(tiny: Tiny, model: str, **settings: Any) -> list[str]:
    """What is found when every stage is still to be trained."""
    config = tiny.config(model, **settings)
    factory, stages = factory_of(config, NewsDataset(config)), in_order(system(config))
    try:
        check_data(factory, stages)
        rehearse(Run(factory), stages)
    except ValueError as refused:
        return str(refused).split("\n- ")[1:]
    return []


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({}, []),
        ({"num_hidden_layers": 100}, ["Stage post_train_student: .*3 layers", "Stage TinyNewsRec"]),
        ({"num_teachers": 9}, ["num_teachers=9 expects as many copies .*, got 2"]),
        (
            {"user_encoder": "self_attention", "news_dim": 7},
            ["Stage finetune_teacher: .*divisible by 16", "Stage TinyNewsRec"],
        ),
        ({"max_title_length": 2}, ["Stage finetune_teacher: .*above the 2", "Stage TinyNewsRec"]),
    ],
)
def test_a_later_stage_that_cannot_be_built_is_refused_before_the_first_trains(
    tiny: Tiny, settings: dict[str, Any], parts: list[str]
) -> None:
    """The teachers would have taken their hours; and all mistakes are told at once."""
    found = mistakes(tiny, "TinyNewsRec", **settings)
    assert len(found) == len(parts)
    assert all(re.search(part, mistake) for part, mistake in zip(parts, found, strict=True))


def without_labels(tiny: Tiny, folder: Path, split: str, label: str) -> Path:
    """The tiny data set with other labels in one split; an empty one for none."""
    shutil.copytree(tiny.data, folder)
    file = folder / DATASET / f"{DATASET}.{split}.inter"
    head, *rows = file.read_text().splitlines()
    changed = []
    for row in rows:
        *others, labels = row.split("\t")
        changed.append("\t".join([*others, " ".join(label for _ in labels.split()).strip()]))
    file.write_text("\n".join([head, *changed]) + "\n")
    return folder


@pytest.mark.parametrize("label", ["", "0", "1"])
@pytest.mark.parametrize("model", ["TinyNewsRec", "PLMNR", "TfIdf", "AlignedNewsRec"])
def test_a_validation_without_usable_labels_is_refused_before_the_first_training(
    tiny: Tiny, tmp_path: Path, model: str, label: str
) -> None:
    """It failed at the first validation on clicks, after the stages that have their own."""
    data = {"data_path": str(without_labels(tiny, tmp_path / "data", "valid", label))}
    (found,) = mistakes(tiny, model, **data)
    assert "none among 14 in tiny.valid.inter" in found
    if model != "TinyNewsRec":  # whose post-training has its own validation
        assert mistakes(tiny, model, **data, eval_step=0) == []


def test_training_impressions_without_a_usable_click_are_refused_before_any_stage(
    tiny: Tiny, tmp_path: Path
) -> None:
    """Post-training needs no click: it would run, and finetuning would have nothing to learn."""
    data = without_labels(tiny, tmp_path / "data", "train", "0")
    found = mistakes(tiny, "TinyNewsRec", data_path=str(data))
    assert any("Stage finetune_teacher expects training impressions" in each for each in found)
    # what trains nothing needs no click
    assert mistakes(tiny, "ZeroShotPLM", data_path=str(data)) == []


def test_a_column_that_is_missing_is_told_before_texts_are_encoded(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model without layers was derived from all texts first: a minute for a typing mistake."""
    monkeypatch.setattr("recbole_tinynews.pipeline.factory.derived_plm", pytest.fail)
    settings = dict.fromkeys(("popularity", "reader", "context"), "added")
    config = tiny.config("PLMNR", **settings, num_hidden_layers=0)
    with pytest.raises(ValueError, match="Stage PLMNR: context=added needs"):
        run_config(config)


@pytest.mark.parametrize(
    ("interval", "settings"),
    [
        (2, {"max_steps": 4}),
        (2, {"max_steps": 5}),
        (2, {"max_steps": None, "epochs": 2}),
        (1, {"max_steps": None, "accumulation_steps": 3}),
        (500, {"max_steps": 1}),
    ],
)
def test_copies_are_foretold_as_post_training_saves_them(
    tiny: Tiny, interval: int, settings: dict[str, Any]
) -> None:
    """One too many foretold fails hours later; one too few refuses a run that would work."""
    of_stage = {f"post_train_teacher_{name}": value for name, value in settings.items()}
    run = tiny.run("TinyNewsRec", teacher_checkpoint_interval=interval, **of_stage)
    first = in_order(system(run.factory.config))[0]
    config = run.recipe(first).config
    loader = run.factory.loaders(config, run.factory.data(first.model, config))[0]
    artifact = run.make(first)
    saved = list((artifact.folder / "copies").glob("step-*.safetensors"))
    assert most_copies(config, len(loader)) == len(saved)


def test_looking_ahead_does_not_change_what_is_trained(tiny: Tiny, tmp_path: Path) -> None:
    """Models that are built first draw random numbers."""
    weights = []
    for place in ("looked", "blind"):
        run = tiny.run("TinyNewsRec", checkpoint_dir=str(tmp_path / place))
        stages = in_order(system(run.factory.config))
        if place == "looked":
            rehearse(run, stages)
        weights.append((run.make(*stages).folder / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]
