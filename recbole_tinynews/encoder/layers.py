"""Which way the layers of a language model are run on packed texts."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from transformers import PreTrainedModel

from recbole_tinynews.encoder.bert_layers import BertLayers
from recbole_tinynews.encoder.own_layers import OwnLayers
from recbole_tinynews.encoder.plm_files import bare_plm, plm_size, quiet
from recbole_tinynews.encoder.probe import FAILURES, Probe
from recbole_tinynews.encoder.protocol import Layers, Shown

WAYS: tuple[Callable[[PreTrainedModel], Layers | None], ...] = (
    BertLayers,
    OwnLayers.packed,
    OwnLayers.side_by_side,
    OwnLayers.as_one_layer,
)


def layers_of(plm: PreTrainedModel) -> Layers:
    """The fastest way to run this language model that gives what its own code gives.

    BERT's kind has its layers written by hand (``bert_layers``); any other runs its own code, on
    texts behind each other in one row where its attention can be exchanged, and else on the texts
    of one length at a time; as a whole, where its layers depend on each other. Each way is tried
    on a few texts first.

    Raises:
        ValueError: none of them does.
    """
    if plm.device.type == "meta":  # shapes alone, to be counted: nothing can be run
        return BertLayers(plm)
    own_attention, training = plm.config._attn_implementation, plm.training
    problem: Exception | None = None
    plm.eval()
    try:
        probe = Probe(plm)
        for make in WAYS:
            with quiet():  # some models warn that their attention can't be set
                plm.set_attn_implementation(own_attention)
            try:
                made: Layers | None = make(plm)
            except FAILURES as mistake:  # it has other parts
                problem = mistake
                continue
            if made is not None and probe.agrees(made):
                return made
    except FAILURES as mistake:  # its own code does not run on the texts of the probe
        problem = mistake
    finally:
        plm.train(training)
    raise ValueError(
        f"{type(plm).__name__} expects to be run in another way than layer by layer on the tokens "
        "of a text. Choose another plm."
    ) from problem


@lru_cache(maxsize=8)
def shown_by(source: str) -> Shown:
    """What a language model will show, tried on its first two layers with random weights."""
    with torch.random.fork_rng(devices=[]):
        return layers_of(bare_plm(source, min(2, plm_size(source).layers))).shown
