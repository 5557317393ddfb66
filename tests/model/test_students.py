"""Students of several teachers: how teachers are weighted, and what subclasses may override."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from tiny import Tiny
from torch import Tensor

from recbole_tinynews.distillation.teacher_weighting import WEIGHTINGS
from recbole_tinynews.model.paper.mtbert import MTBERT
from recbole_tinynews.model.paper.tinynewsrec import TinyNewsRec
from recbole_tinynews.model.stages.title_body import TitleBodyStudent

CLICKS = list(range(6))


def distillation_loss(tiny: Tiny, model: str | type, **settings: Any) -> float:
    world = tiny.world(model, num_teachers=2, **settings)
    world.model.eval()
    return float(world.model.calculate_loss(world.clicked(CLICKS)).distillation.detach())


@pytest.mark.parametrize(
    ("model", "papers"), [("TinyNewsRec", "softmax"), ("MTBERT", "inverse_error")]
)
def test_the_setting_chooses_how_teachers_are_weighted(tiny: Tiny, model: str, papers: str) -> None:
    """If the setting reached no loss, all weightings would look equally good."""
    losses = {name: distillation_loss(tiny, model, teacher_weighting=name) for name in WEIGHTINGS}
    assert losses[papers] == distillation_loss(tiny, model)
    values = sorted(losses.values())
    assert min(b - a for a, b in pairwise(values)) > 1e-4, losses


@pytest.mark.parametrize("shared", [True, False])
def test_a_teacher_has_one_projection_in_stage_one_and_two_in_stage_two(
    tiny: Tiny, shared: bool
) -> None:
    """Poster and reference code have one for titles and bodies: two are another loss."""
    staged = tiny.config("TinyNewsRec").for_stage("post_train_student")
    assert staged["shared_projection"] is True
    settings = {} if shared else {"post_train_student_shared_projection": False}
    given = "TinyNewsRec", "post_train_student", TitleBodyStudent
    of_titles = tiny.stage(*given, **settings)[2].distillation
    assert (of_titles.item_embedding is of_titles.user_embedding) == shared
    of_clicks = tiny.world("TinyNewsRec", **settings).model.distillation
    assert of_clicks.item_embedding is not of_clicks.user_embedding


def first_alone(scores: Tensor, label: Tensor) -> Tensor:
    weights = torch.zeros(scores.shape[:2], dtype=scores.dtype)
    weights[:, 0] = 1
    return weights


@pytest.mark.parametrize("base", [TinyNewsRec, MTBERT])
def test_a_recommender_may_weight_its_teachers_by_its_own_function(tiny: Tiny, base: type) -> None:
    """Otherwise a user with another weighting would have to copy the losses."""
    own = type("Own", (base,), {"teacher_weighting": lambda self, config: first_alone})
    found = distillation_loss(tiny, own)
    assert found != distillation_loss(tiny, base)
    world = tiny.world(base)
    batch = world.clicked(CLICKS)
    world.model.eval()
    own_scores, teacher = world.model.score(batch).scores, batch["teachers"][0].scores
    expected = -(teacher.softmax(-1) * own_scores.log_softmax(-1)).sum(-1).mean()
    assert found == pytest.approx(float(expected.detach()), rel=1e-5)


@pytest.mark.parametrize("model", ["TinyNewsRec", "TinyBERT", "MTBERT", "NewsBERT"])
def test_a_loss_may_be_added_to_those_of_any_student(tiny: Tiny, model: str) -> None:
    """If losses were built elsewhere, overriding the documented method would have no effect."""
    base = type(tiny.world(model).model)

    class Twice(base):
        def losses(self, outputs: Any, interaction: Any) -> Any:
            made = super().losses(outputs, interaction)
            return made._replace(distillation=2 * made.distillation)

    assert distillation_loss(tiny, Twice) == pytest.approx(2 * distillation_loss(tiny, base))
