from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny import Tiny

from recbole_tinynews.data.title_body_articles import TitleBodyDataLoader
from recbole_tinynews.model.stages.title_body import TitleBodyMatcher
from recbole_tinynews.trainer import PostTrainingTrainer


@pytest.fixture
def post_train(tiny: Tiny, tmp_path: Path):
    def train(steps: int) -> PostTrainingTrainer:
        given = "TinyNewsRec", "post_train_teacher", TitleBodyMatcher
        config, data, model = tiny.stage(*given, post_train_teacher_max_steps=steps)
        trainer = PostTrainingTrainer(config, model, tmp_path / "stage")
        trainer.fit(TitleBodyDataLoader(config, data))
        return trainer

    return train


@pytest.mark.parametrize(("steps", "expected"), [(1, [1]), (4, [2, 4]), (3, [2, 3])])
def test_copies_are_kept_on_the_way_and_at_the_end(post_train, steps, expected) -> None:
    """The last copies become the teachers, so the final weights must be one of them."""
    trainer = post_train(steps)
    names = sorted(path.name for path in trainer.copies_folder.iterdir())
    assert names == [f"step-{step}.safetensors" for step in expected]


def test_a_copy_holds_what_was_trained_as_it_then_was(post_train) -> None:
    """Copies that shared memory with the model would all equal the last one."""
    trainer = post_train(4)
    early, late = (load_file(trainer.copies_folder / f"step-{step}.safetensors") for step in (2, 4))
    trained = {n for n, p in trainer.model.named_parameters() if p.requires_grad}
    assert early.keys() == late.keys() == trained
    assert any(not torch.equal(early[name], late[name]) for name in trained)
    last = load_file(trainer.saved_model_file)
    assert all(torch.equal(last[name], late[name]) for name in trained)
    assert last.keys() == trainer.model.state_dict().keys()
