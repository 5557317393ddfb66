"""The contract of every recommender; a new one is covered as soon as it has its yaml.

tests/model/test_impression_models.py holds those without a language model to their part of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from recbole.data.interaction import Interaction
from tiny import Tiny, World, impressions_of
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_tinynews.data.fields import CANDIDATE_FEATURES, CANDIDATES, HISTORY, IMPRESSION_SIZE
from recbole_tinynews.distillation.teachers import FrozenTeachers
from recbole_tinynews.files.tensors import load_into, load_weights, save_weights
from recbole_tinynews.model.interface import Encoded, Outputs
from recbole_tinynews.model.paper.plmnr import PLMNR
from recbole_tinynews.model.reader_mixins import CandidateAware, WithUserIds
from recbole_tinynews.model.recommender import NewsRecommender
from recbole_tinynews.settings.registry import MODELS, find_model, has_language_model

BOOSTED = {"TimeBoosted", "BoostedStudent"}
FITTED = {"CategoryAndTitle", "TimeAndTitle", *BOOSTED}  # on features of whole impressions
TIE = {"CategoryAndTitle", *BOOSTED}  # without clicks there is no content; few trees
TRAIN_NOTHING = {"EnsembleTeacher", "ZeroShotPLM", "ZeroShotWords", *FITTED}
COUNT = {"ClickRateNow", "Newest", "PopularNow"}  # and so tie often
HELD = ("self.key.bias", "query.bias")  # of a softmax, on which no score depends
ROWS = [0, 1, 2, 3, 4, 5, 6]  # an empty history, one candidate, and five others


class PairwiseLoss(NamedTuple):
    pairwise: Tensor


class MeanOfHistory(nn.Module):
    def __init__(self, news_dim: int) -> None:
        super().__init__()
        self.without_history = nn.Parameter(torch.randn(news_dim))

    def forward(self, history: Tensor, clicked: Tensor) -> Tensor:
        mean = history.sum(-2) / clicked.sum(-1, keepdim=True).clamp(min=1)
        return torch.where(clicked.any(-1, keepdim=True), mean, self.without_history)


class Outsider(NewsRecommender):
    """A recommender outside the package, with its own user encoder and loss."""

    def make_user_encoder(self, config: Any) -> nn.Module:
        return MeanOfHistory(config["news_dim"])

    def calculate_loss(self, interaction: Interaction) -> PairwiseLoss:
        scores = self.score(interaction).scores
        return PairwiseLoss(F.softplus(scores[:, 1:] - scores[:, :1]).mean())


class UserVectors(nn.Module):
    """The mean of the clicks, and a vector of the user's own."""

    def __init__(self, users: int, news_dim: int) -> None:
        super().__init__()
        self.clicks, self.users = MeanOfHistory(news_dim), nn.Embedding(users, news_dim)

    def forward(self, history: Tensor, clicked: Tensor, users: Tensor) -> Tensor:
        return self.clicks(history, clicked) + self.users(users)


class KnowsUsers(WithUserIds, PLMNR):
    """Reads word vectors of several views, and ids of users."""

    def make_user_encoder(self, config: Any) -> nn.Module:
        return UserVectors(self.user_count, self.news_dim(config))


class KnowsCandidates(CandidateAware, PLMNR):
    """Its user is another one for each candidate; it reads a language model's views."""

    def match(self, news: Encoded) -> Outputs:
        shares = (news.candidates @ news.history.mT).masked_fill(~news.clicked[:, None], -1e9)
        users = shares.softmax(-1) @ news.history  # [batch, candidates, dim]
        user = self.encode_user(news.history, news.clicked)
        scores = ((users + user[:, None]) * news.candidates).sum(-1)
        return Outputs(scores, user, news)

    def further_losses(self, outputs: Outputs, interaction: Interaction) -> dict[str, Tensor]:
        return {"small": outputs.news.candidates.square().mean()}


class KnowsMoments(PLMNR):
    """Adds a term that depends on the candidate and not on its text."""

    def total_scores(self, text: Tensor, about: Any, user: Tensor, news: Tensor) -> Tensor:
        return super().total_scores(text, about, user, news) + about.candidates.to(text).sin()


READER = {"popularity": "added", "reader": "added", "history_from": "log"}
VIEWS = ["category", "title", "abstract", "subcategory"]
SETTINGS: dict[type, dict[str, Any]] = {
    KnowsUsers: {"news_encoder": "words", "word_encoder": "cnn", "views": VIEWS},
    KnowsCandidates: {"views": ["title", "abstract", "category"]},
    KnowsMoments: {},
}
# published recommenders with the other text encoder, or another variant, than their yaml has
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    *((name, {"news_encoder": "plm"}) for name in ("NRMS", "NAML", "LSTUR", "TANR", "Fastformer")),
    ("CenNewsRec", {"news_encoder": "plm"}),
    ("LSTUR", {"user_combination": "con"}),
    ("MINER", {"news_encoder": "words"}),
    ("PPRec", {"news_encoder": "plm"}),
    ("PLMNR", {"popularity": "added"}),
    ("MINER", {"popularity": "added"}),
    *((name, READER) for name in ("PLMNR", "MINER", "TimeBoosted", "BoostedStudent")),
]
ENCODING = [name for name in MODELS if has_language_model(find_model(name))]


@pytest.fixture(params=[*ENCODING, Outsider, *SETTINGS, *VARIANTS], ids=str)
def world(request: pytest.FixtureRequest, tiny: Tiny) -> World:
    if isinstance(request.param, tuple):
        return tiny.same_world(request.param[0], **request.param[1])
    return tiny.same_world(request.param, **SETTINGS.get(request.param, {}))


@pytest.fixture
def model(world: World) -> NewsRecommender:
    return world.model.eval()


def trained_of(model: NewsRecommender) -> dict[str, nn.Parameter]:
    """The trained parameters; skips the test for a recommender that trains nothing."""
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if type(model).__name__ in TRAIN_NOTHING:
        assert not trained
        pytest.skip("it trains nothing")
    return trained


@torch.no_grad()
def scores_of(model: NewsRecommender, batch: Interaction) -> Tensor:
    return model.predict(batch)


def test_every_candidate_of_whole_impressions_gets_one_score(model, world) -> None:
    """The collector takes flat scores; a padded matrix would shift every later impression."""
    batch = world.shown(ROWS)
    scores = scores_of(model, batch)
    assert scores.shape == (int(batch[IMPRESSION_SIZE].sum()),)
    assert scores.isfinite().all()
    if type(model).__name__ not in COUNT:  # else the tests below could not fail
        assert scores.unique().numel() > len(scores) / 3


def test_a_score_ignores_the_other_impressions_of_its_batch(model, world) -> None:
    """Attention over the wrong axis mixes users while every shape still fits."""
    together = scores_of(model, world.shown(ROWS))
    model.train(True).eval()  # no vector is kept
    alone = torch.cat([scores_of(model, world.shown([row])) for row in ROWS])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)


def test_a_score_ignores_how_far_the_history_is_padded(model) -> None:
    """Else the same user gets other articles in a batch with a user who read more."""
    narrow = impressions_of([[4, 5]], [[6, 7, 8]])
    wide = impressions_of([[0] * 30 + [4, 5]], [[6, 7, 8]])
    torch.testing.assert_close(scores_of(model, wide), scores_of(model, narrow))


def test_a_score_ignores_the_order_of_the_candidates(model) -> None:
    """Some files list clicked articles first: a candidate's place must not be a signal."""
    there, back = [4, 2, 9, 11], [11, 9, 2, 4]
    forwards = scores_of(model, impressions_of([[5, 6]], [there]))
    backwards = scores_of(model, impressions_of([[5, 6]], [back]))
    torch.testing.assert_close(forwards, backwards.flip(0))


def without_every_other(batch: Interaction) -> tuple[Interaction, Tensor]:
    """The batch with every other candidate of it left out, and the places of those that stay."""
    kept = torch.arange(0, len(batch[CANDIDATES]), 2)
    rows = torch.arange(len(batch[IMPRESSION_SIZE])).repeat_interleave(batch[IMPRESSION_SIZE])
    fields = {**batch.interaction, IMPRESSION_SIZE: rows[kept].bincount(minlength=len(ROWS))}
    of_candidates = CANDIDATES, CANDIDATE_FEATURES, "label"
    fields.update({name: fields[name][kept] for name in of_candidates if name in fields})
    return Interaction(fields), kept


def test_a_score_ignores_which_others_are_ranked(model, world) -> None:
    """What is trained on 11 candidates would rank 300 by other rules: a coin toss was measured."""
    batch = world.shown(ROWS)
    fewer, kept = without_every_other(batch)
    alone = scores_of(model, fewer)
    torch.testing.assert_close(alone, scores_of(model, batch)[kept], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", sorted({*MODELS} - {*ENCODING}))
def test_a_baseline_ignores_which_others_are_ranked(name: str, tiny: Tiny) -> None:
    """A table would compare it on lists of one length, for another length in use."""
    world = tiny.world(name)
    batch = world.shown(ROWS)
    fewer, kept = without_every_other(batch)
    assert torch.equal(world.model.predict(fewer), world.model.predict(batch)[kept])


def test_what_is_ranked_is_what_was_trained(model, world) -> None:
    """A loss on other scores than those of `predict` trains one model and evaluates another."""
    if type(model).__name__ in FITTED:
        pytest.skip("it has no loss")
    batch = world.clicks().collate_fn(range(9))
    trained = model.score(batch).scores
    shown = impressions_of(batch[HISTORY].tolist(), batch[CANDIDATES].tolist())
    shown["user_id"], shown["timestamp"] = batch["user_id"], batch["timestamp"]
    if CANDIDATE_FEATURES in batch.interaction:
        shown[CANDIDATE_FEATURES] = batch[CANDIDATE_FEATURES].flatten(0, 1)
    ranked = scores_of(model, shown).view_as(trained)
    torch.testing.assert_close(ranked, trained.detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("base", [PLMNR, KnowsCandidates])
def test_another_term_of_a_score_is_in_all_scores(base: type[PLMNR], tiny: Tiny) -> None:
    """A term that labels, losses or rankings lack trains one model and evaluates another."""
    made = type("Timed", (KnowsMoments, base), {})
    plain, timed = tiny.world(base).model.eval(), tiny.world(made).model.eval()
    timed.load_state_dict(plain.state_dict())
    batch, shown = tiny.world(base).clicks().collate_fn(range(9)), tiny.world(base).shown(ROWS)
    for compute, ids in (
        (lambda model: model.score(batch).scores, batch[CANDIDATES]),
        (lambda model: FrozenTeachers([model]).outputs(batch)[0].scores, batch[CANDIDATES]),
        (lambda model: model.predict(shown), shown[CANDIDATES]),
    ):
        expected = compute(plain) + ids.float().sin()
        torch.testing.assert_close(compute(timed), expected, rtol=1e-5, atol=1e-5)


def test_each_part_of_the_loss_has_a_name_and_a_gradient(world) -> None:
    """RecBole adds up any tuple: a constant term would look like a loss that is learned."""
    model = world.model.train()
    trained = trained_of(model)
    losses = model.calculate_loss(world.clicked(list(range(8))))
    assert losses._fields
    for name, part in losses._asdict().items():
        assert part.shape == (), name
        assert part.isfinite(), name
        gradients = torch.autograd.grad(
            part, list(trained.values()), retain_graph=True, allow_unused=True
        )
        assert any(g is not None and g.abs().sum() > 0 for g in gradients), name
    sum(losses).backward()
    assert [n for n, p in trained.items() if p.grad is None and not n.endswith(HELD)] == []
    frozen = [name for name, p in model.named_parameters() if not p.requires_grad]
    assert [name for name in frozen if model.get_parameter(name).grad is not None] == []


def test_loaded_weights_give_the_same_scores(model, world, tiny, tmp_path: Path) -> None:
    """State that is not saved with the weights would silently be lost."""
    place = tmp_path / "model.safetensors"
    before = scores_of(model, world.shown(ROWS))
    save_weights(model.state_dict(), place)
    torch.manual_seed(99)
    other = type(model)(world.config, world.train).eval()
    assert not torch.equal(scores_of(other, world.shown(ROWS)), before)
    load_into(other, load_weights(place), place)
    assert torch.equal(scores_of(other, world.shown(ROWS)), before)


def test_the_table_of_news_vectors_changes_no_score(model, world) -> None:
    """Evaluation encodes each article once; a vector under another's id would go unnoticed."""
    batch = world.shown(ROWS)
    for each in world.impressions():  # fills the table step by step
        scores_of(model, each[0])
    from_table = scores_of(model, batch)
    with torch.enable_grad():  # never reads the table
        computed = model.predict(batch)
    torch.testing.assert_close(from_table, computed, rtol=1e-5, atol=1e-6)


def _step(model: NewsRecommender, world: World) -> None:
    optimizer = torch.optim.Adam(trained_of(model).values(), lr=0.01)
    with torch.enable_grad():
        sum(model.calculate_loss(world.clicked(list(range(8))))).backward()
    optimizer.step()


def _load(model: NewsRecommender, world: World) -> None:
    weights = {name: value + 0.01 for name, value in model.state_dict().items()}
    model.load_state_dict(weights)


def _train_and_back(model: NewsRecommender, world: World) -> None:
    model.train(True)
    _step(model, world)
    model.eval()


@pytest.mark.parametrize("change", [_step, _load, _train_and_back])
def test_vectors_of_earlier_weights_are_never_used(model, world, change) -> None:
    """After loading the best epoch, the last epoch's vectors would silently be used for ranking."""
    batch = world.shown(ROWS)
    before = scores_of(model, batch)
    change(model, world)
    after = scores_of(model, batch)
    with torch.enable_grad():
        computed = model.predict(batch)
    torch.testing.assert_close(after, computed, rtol=1e-5, atol=1e-6)
    assert (after - before).abs().max() > 1e-4


def test_a_user_without_history_gets_a_ranking(model) -> None:
    """With a zero vector all candidates tie: 2 or 3 impressions of 100 are decided by order."""
    if getattr(model.user_encoder, "scale", None) is not None:
        pytest.skip("what stands for such a user starts as zero, and trains")
    scores = scores_of(model, impressions_of([[0, 0, 0]], [[4, 5, 6, 7]]))
    assert scores.isfinite().all()
    assert scores.unique().numel() == 4 or type(model).__name__ in TIE
