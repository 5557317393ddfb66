"""Published recommenders whose heads start pretrained rank as their texts' vectors alone do."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from tiny import HIDDEN, VECTOR_DIM, VECTORS, Tiny, World, random_vectors, titles
from torch import Tensor
from torch.nn import functional as F

from recbole_tinynews.data.fields import CANDIDATES, HISTORY, IMPRESSION_SIZE
from recbole_tinynews.model.recommender import NewsRecommender
from recbole_tinynews.pipeline.systems import system

LONGEST = 12
ROWS = [0, 1, 2, 3, 4, 5, 6]  # an empty history, one candidate, and five others
OF_TITLES = ("ZeroShotWords", "NRMS", "LateFusion", "TANR", "Fastformer", "CenNewsRec", "MINER")
OF_VIEWS = (
    ("NAML", {}),
    ("NRMS", {"views": ["category", "title", "abstract"]}),
    ("LSTUR", {"views": ["title"]}),
)


BY_WORDS: dict[str, Any] = {
    "news_encoder": "words",
    "head_init": "pretrained",
    "word_vectors": VECTORS,
    "word_dim": VECTOR_DIM,
    "max_title_length": LONGEST,
}


def started(tiny: Tiny, name: str, **settings: Any) -> World:
    world = tiny.world(name, **settings)
    world.model.double().eval()
    return world


def plain_scores(world: World) -> Tensor:
    """Mean cosine of each candidate with the clicks, by the centred means of their words."""
    vectors = random_vectors()
    read = [[vectors[word] for word in title.split()[:LONGEST]] for title in titles()]
    means = np.stack(
        [np.zeros(VECTOR_DIM), *(np.mean(each or [np.zeros(VECTOR_DIM)], 0) for each in read)]
    )
    shown = world.train.inter_feat
    known = sorted({*shown.history.values.tolist(), *shown.candidates.values.tolist()} - {0})
    centre = np.mean([means[n] for n in known if read[n - 1]], axis=0)
    unit = F.normalize(torch.from_numpy(means - centre), dim=-1)
    for number, words in enumerate(read, start=1):
        if not words:
            unit[number] = 0  # an empty title
    batch = world.shown(ROWS)
    histories = np.repeat(np.arange(len(ROWS)), batch[IMPRESSION_SIZE])
    expected = []
    for candidate, row in zip(batch[CANDIDATES], histories, strict=True):
        clicks = [n for n in batch[HISTORY][row].tolist() if n]
        cosines = [float(unit[candidate] @ unit[n]) for n in clicks]
        expected.append(sum(cosines) / len(cosines) if cosines else 0.0)
    return torch.tensor(expected, dtype=torch.float64)


@torch.no_grad()
def scores(model: NewsRecommender, world: World) -> Tensor:
    return model.predict(world.shown(ROWS)) / model.user_encoder.scale


@pytest.mark.parametrize(("name", "settings"), [*((name, {}) for name in OF_TITLES), *OF_VIEWS])
def test_training_does_not_start_from_noise_where_word_vectors_mean_something(
    tiny: Tiny, name: str, settings: dict[str, Any]
) -> None:
    world = started(tiny, name, **BY_WORDS, **settings)
    expected = plain_scores(world)
    torch.testing.assert_close(scores(world.model, world), expected, rtol=0, atol=1e-6)


def test_categories_beside_a_title_hardly_count_at_first(tiny: Tiny) -> None:
    """Random ones would drown the title: their numbers are as large as a title's whole vector."""
    world = started(tiny, "LSTUR", **BY_WORDS)
    expected = plain_scores(world)
    torch.testing.assert_close(scores(world.model, world), expected, rtol=0, atol=0.1)


@pytest.mark.parametrize("name", ["NRMS", "Fastformer", "LateFusion", "CenNewsRec"])
def test_a_language_model_is_the_start_of_their_users_too(tiny: Tiny, name: str) -> None:
    settings: dict[str, Any] = {"news_encoder": "plm", "head_init": "pretrained"}
    usual = started(tiny, "PLMNR", **settings, news_dim=HIDDEN)
    world = started(tiny, name, **settings, news_dim=HIDDEN)
    expected = scores(usual.model, usual)
    torch.testing.assert_close(scores(world.model, world), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["NRMS", "NAML", "LSTUR", "CenNewsRec", "MINER"])
def test_what_a_paper_describes_learns_from_the_second_step_on(tiny: Tiny, name: str) -> None:
    """A weight that stayed 0 would leave a mean of word vectors with a name."""
    world = tiny.world(name, **BY_WORDS)
    model = world.model.train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(2):
        optimizer.zero_grad()
        sum(model.calculate_loss(world.clicked([0, 1, 2, 3, 4, 5]))).backward()
        optimizer.step()
    still = [
        weight
        for weight, parameter in model.named_parameters()
        if parameter.grad is None or not parameter.grad.any()
    ]
    # nobody here is without clicks, and a constant in all energies changes nothing
    assert not [
        weight for weight in still if not re.search(r"no_clicks|pad_doc|query\.bias", weight)
    ]


def test_untrained_words_that_know_nothing_are_refused(tiny: Tiny) -> None:
    for wrong in ({"head_init": "random"}, {"news_encoder": "plm"}):
        with pytest.raises(ValueError, match=r"expects \w+ in ZeroShotWords"):
            system(tiny.config("ZeroShotWords", **wrong))
