"""Tiny-NewsRec's embedding losses weigh titles, bodies and users alike when training starts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from test_title_body_words import StageOne, make
from tiny import VECTOR_DIM, VECTORS, Tiny
from torch import Tensor

from recbole_tinynews.data.fields import TEACHERS
from recbole_tinynews.data.title_body_articles import TitleBodyDataLoader
from recbole_tinynews.distillation.loss_terms import stacked_scores
from recbole_tinynews.distillation.tinynewsrec_losses import ProjectedEmbeddingLoss

SIZES = {f"{stage}_teacher_news_dim": 32 for stage in ("post_train", "finetune")}
PLM = {"news_encoder": "plm", "news_dim": 32, **SIZES}
WORDS = {"word_vectors": VECTORS, "word_dim": VECTOR_DIM, "news_dim": 16, **SIZES}


def embedding_losses(model: Any, batch: Any) -> tuple[Tensor, Tensor]:
    """Those of items and of users, in evaluation mode."""
    outputs, teachers = model.eval().score(batch), batch[TEACHERS]
    weights = model.distillation.weighting(stacked_scores(teachers), batch[model.label_field])
    return model.distillation.embedding_losses(outputs, teachers, weights)


def ratio(model: Any, batch: Any) -> float:
    """How much larger the gradient of users is than that of items, for the news encoder."""
    trained = [p for p in model.news_encoder.parameters() if p.requires_grad]
    norms = []
    for loss in embedding_losses(model, batch):
        gradients = torch.autograd.grad(loss, trained, retain_graph=True, allow_unused=True)
        norms.append(sum(g.square().sum() for g in gradients if g is not None).sqrt())
    return float(norms[1] / norms[0])


def stage_one(tiny: Tiny, student: str, **settings: Any) -> StageOne:
    stage = make(tiny, student, head_init="pretrained", **settings)
    stage.model.start_heads(stage.config, stage.data)
    for teacher in stage.teachers.members:
        teacher.start_heads(stage.config, stage.data)
    return stage


@pytest.mark.parametrize("settings", [{}, {"embedding_loss": "mse"}], ids=str)
def test_no_part_drowns_the_others_under_pretrained_heads(tiny: Tiny, settings: dict) -> None:
    """Bodies and users are 12 times as long as titles: squared errors train only them."""
    balanced = not settings
    first = stage_one(tiny, "PLMNR", **PLM, **settings)
    second = tiny.world("TinyNewsRec", head_init="pretrained", finetune_layers=2, **PLM, **settings)
    for found in (
        ratio(first.model, first.batch(list(range(8)))),
        ratio(second.model, second.clicked(list(range(8)))),
    ):
        # items are averaged, and gradients of random weights partly cancel
        assert (1 / 5 < found < 5) == balanced
        assert (found > 100) != balanced


def test_random_heads_keep_the_papers_formula(tiny: Tiny) -> None:
    losses = [
        tiny.world("TinyNewsRec", **settings).model.distillation.item_embedding.balanced
        for settings in ({}, {"head_init": "pretrained"}, {"embedding_loss": "balanced"})
    ]
    assert losses == [False, True, True]


def test_students_by_words_start_in_the_space_of_their_teachers(tiny: Tiny) -> None:
    """Behind a random projection they first unlearn their own vectors."""
    stage = stage_one(tiny, "NRMS", **WORDS)
    batch = stage.batch(list(range(8)))
    before = embedding_losses(stage.model, batch)[0]
    stage.model.train()
    stage.model.start_distillation([*stage.teachers.members], stage.data)
    assert stage.model.training
    assert embedding_losses(stage.model, batch)[0] < before / 4


@pytest.mark.parametrize("student", ["NRMS", "PLMNR"])
def test_training_fits_projections_where_spaces_differ(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, student: str
) -> None:
    """In one space they start as identities, which a fit to a few articles would spoil."""
    fitted: list[int] = []
    start = ProjectedEmbeddingLoss.start
    monkeypatch.setattr(
        ProjectedEmbeddingLoss,
        "start",
        lambda self, matrices: (fitted.append(len(matrices)), start(self, matrices)),
    )
    stage = stage_one(tiny, student, **(WORDS if student == "NRMS" else PLM))
    stage.trainer().fit(TitleBodyDataLoader(stage.config, stage.data))
    assert fitted == ([2, 2] if student == "NRMS" else [])
