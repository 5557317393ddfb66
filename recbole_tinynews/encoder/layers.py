"""How the layers of a language model are run on packed texts; three ways, one interface."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn
from transformers import PreTrainedModel

from recbole_tinynews.encoder.bert_layers import BertLayers
from recbole_tinynews.encoder.own_layers import OwnLayers
from recbole_tinynews.encoder.packing import Pack
from recbole_tinynews.encoder.probe import Probe
from recbole_tinynews.encoder.taps import Tap


class Layers(Protocol):
    """The parts of a language model, and how they are run.

    Attributes:
        around: the modules that hold all others, from the model itself on.
        before: the parts that run before the first layer, such as the embeddings.
        layers: first to last.
        after: the parts that run after the last one, such as a final norm.
    """

    around: list[nn.Module]
    before: list[nn.Module]
    layers: list[nn.Module]
    after: list[nn.Module]

    def embed(self, token_ids: Tensor, pack: Pack) -> Tensor:
        """Input of the first layer, ``[tokens, hidden]``, from ``[tokens]``."""

    def through(
        self,
        numbers: range,
        hidden: Tensor,
        token_ids: Tensor,
        pack: Pack,
        real: Tensor | None,
        tap: Tap | None,
    ) -> Tensor:
        """Output of the last of these layers, which count from 1, and of ``after`` behind all.

        Shapes:
            hidden: ``[tokens, hidden]``, the input of the first of them.
            token_ids: ``[tokens]``, the texts concatenated.
            real: ``[tokens]``, True where a token may be attended to; ``None``: everywhere.
        """


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
    probe = Probe(plm)
    try:
        for make in (BertLayers, OwnLayers.packed, OwnLayers.side_by_side, OwnLayers.as_one_layer):
            plm.set_attn_implementation(own_attention)
            try:
                made: Layers | None = make(plm)
            except (AttributeError, ValueError) as mistake:  # it has other parts
                problem = mistake
                continue
            if made is not None and probe.agrees(made):
                return made
    finally:
        plm.train(training)
    raise ValueError(
        f"{type(plm).__name__} expects to be run in another way than layer by layer. Choose "
        "another plm."
    ) from problem
