from __future__ import annotations

import torch
from tiny import Tiny

from recbole_tinynews.encoder.text_encoder import TextEncoder
from recbole_tinynews.pipeline.outcome import news_per_second


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


def _counting(method, calls: list[int]):
    def counted(self, *arguments):
        calls.append(1)
        return method(self, *arguments)

    return counted
