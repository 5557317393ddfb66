from __future__ import annotations

import torch
from tiny import Tiny

from recbole_tinynews.encoder.text_encoder import TextEncoder
from recbole_tinynews.pipeline.speed import impressions_per_second, news_per_second


def test_speed_is_that_of_all_layers_and_leaves_the_encoder_as_it_was(
    tiny: Tiny, monkeypatch
) -> None:
    """Vectors or states read from a table would make a 12-layer model look like a small one."""
    encoder = tiny.world(use_cache=True).model.news_encoder.train()
    encoder(torch.tensor([1, 2, 3]))
    layers: list[int] = []
    counting = _counting(TextEncoder.encode_frozen, layers)
    monkeypatch.setattr(TextEncoder, "encode_frozen", counting)
    assert news_per_second(encoder) > 0
    assert len(layers) >= 4  # a warm-up and three runs
    assert encoder.training
    assert encoder.storage is not None


def test_articles_of_batch_one_are_encoded_one_by_one(tiny: Tiny, monkeypatch) -> None:
    """This is the speed of a service that is asked for one article at a time."""
    encoder = tiny.world().model.news_encoder
    sizes: list[int] = []
    encode = type(encoder).encode_distinct

    def encoded(self, ids):
        sizes.append(len(ids))
        return encode(self, ids)

    monkeypatch.setattr(type(encoder), "encode_distinct", encoded)
    news_per_second(encoder, batch=1)
    assert set(sizes) == {1}
    sizes.clear()
    news_per_second(encoder)
    assert len(set(sizes)) == 1
    assert sizes[0] > 30


def test_impressions_are_ranked_from_text_and_from_vectors(tiny: Tiny, monkeypatch) -> None:
    """With vectors left in a table, a large model would look as fast as a small one."""
    world = tiny.world(use_cache=True)
    encoder = world.model.news_encoder
    encoded: list[int] = []
    part = TextEncoder.encode_frozen

    def counted(self, *arguments):
        encoded.append(1)
        return part(self, *arguments)

    monkeypatch.setattr(TextEncoder, "encode_frozen", counted)
    ranked: list[int] = []
    predict = type(world.model).predict

    def predicted(self, interaction):
        ranked.append(len(encoded))
        return predict(self, interaction)

    monkeypatch.setattr(type(world.model), "predict", predicted)
    world.model.train()
    speed = impressions_per_second(world.model, world.impressions())
    assert min(speed) > 0
    batches = len(ranked) // 8  # one warm-up and three runs of each kind
    assert batches > 1
    before_each = [ranked[run * batches] for run in range(8)]
    assert sorted(set(before_each[:4])) == before_each[:4]  # each run encodes again
    assert before_each[4:] == [before_each[3]] * 4  # nothing is encoded any more
    assert ranked[:batches] == [ranked[0]] * batches  # and never while batches are ranked
    assert world.model.training
    assert encoder.storage is not None


def _counting(method, calls: list[int]):
    def counted(self, *arguments):
        calls.append(1)
        return method(self, *arguments)

    return counted
