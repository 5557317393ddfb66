"""Text into vectors: news ids in, news vectors out, and every saving in between.

Each saving is exact: repeats are encoded once, padding is not encoded, texts of like length go
together, frozen layers are read from a table, and at evaluation each news is encoded once.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedModel

from recbole_tinynews.data.array_cache import content_key
from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.model.frozen_states import FrozenStates, open_frozen_states
from recbole_tinynews.model.layers import AttentionPooling, mean_pooling
from recbole_tinynews.model.length_groups import TOKENS_AT_ONCE, length_groups
from recbole_tinynews.model.plm import apply_layer, embed, layers_of, set_dropout

# small blocks encode little that nobody asked for, and fill a CPU all the same
LOOK_UP_TOKENS = 128
Pooling = Literal["attention", "mean", "cls"]
NOT_OF_A_STATE = {"num_hidden_layers", "_name_or_path", "transformers_version", "architectures"}
STATES_FORMAT = "frozen states 1"  # raised whenever the meaning of the stored states changes


class NewsEncoder(nn.Module):
    """Language model, pooling over its last layer's tokens, dense layer (PLM-NR's news encoder).

    ``vectors = news_encoder(news_ids)``: any shape of ids, repeats welcome. Id 0 is padding and
    gives zeros. Repeats in a batch share one dropout mask.

    Args:
        plm: a BERT-like encoder, already cut to the layers wanted.
        tokens: token ids of each text, by id; row 0 is empty. Where a row holds pad tokens (only
            ``mask_padding=False`` makes such rows) attention leaves them out.
        news_dim: size of a news vector.
        query_dim: size of the query of attention pooling.
        pooling: over the tokens: ``attention``, ``mean``, or the first token (``cls``).
        finetune_layers: the last n layers train; ``all``: all of them and the embeddings.
        dropout: of the layers that train; frozen layers always run without.
        mask_padding: whether pad tokens stay out of pooling (docs/method.md, section 3).
        states_folder: where the frozen layers' states are kept; ``None``: computed each time.
        check_disk: keep them only where the disk has ample room (``use_cache: auto``).

    Raises:
        ValueError: the language model's attention is not torch's fused one, which alone takes the
            masks as they are made here.
    """

    def __init__(
        self,
        plm: PreTrainedModel,
        tokens: Ragged,
        news_dim: int,
        query_dim: int,
        pooling: Pooling = "attention",
        finetune_layers: int | Literal["all"] = "all",
        dropout: float = 0.1,
        mask_padding: bool = True,
        states_folder: Path | None = None,
        check_disk: bool = True,
    ) -> None:
        super().__init__()
        if plm.config._attn_implementation != "sdpa":  # others would add the mask as numbers
            raise ValueError(
                "NewsEncoder expects a language model with attn_implementation='sdpa', got "
                f"{plm.config._attn_implementation!r}. Load it with load_plm."
            )
        self.plm, self.tokens = plm, tokens
        self.pooling_kind, self.mask_padding = pooling, mask_padding
        self.states_folder, self.check_disk = states_folder, check_disk
        self.hidden_size = plm.config.hidden_size
        self.pad_token_id = plm.config.pad_token_id or 0
        self.pooling = (
            AttentionPooling(self.hidden_size, query_dim) if pooling == "attention" else None
        )
        self.dense = nn.Linear(self.hidden_size, news_dim)
        self._freeze(finetune_layers, dropout)
        self._states: FrozenStates | None = None
        self._states_of: tuple[int, ...] = ()
        self._vectors: Tensor | None = None
        self._encoded = np.zeros(0, dtype=bool)
        self._vectors_of: tuple[int, ...] = ()
        self._blocks: tuple[list[NDArray[np.int64]], NDArray[np.int64]] | None = None
        self.train(self.training)

    # --------------------------------------------------------------- what learns and what not

    def _freeze(self, finetune_layers: int | Literal["all"], dropout: float) -> None:
        depth = len(layers_of(self.plm))
        self.embeddings_train = finetune_layers == "all"
        trained = depth if finetune_layers == "all" else min(finetune_layers, depth)
        self.first_trained = depth - trained
        learning: list[nn.Module] = [*self._trained_layers()]
        if self.embeddings_train:
            learning.append(self.plm.get_submodule("embeddings"))
        self.plm.requires_grad_(False)
        for module in learning:
            module.requires_grad_(True)
            set_dropout(module, dropout)

    def _frozen_modules(self) -> list[nn.Module]:
        frozen: list[nn.Module] = [*layers_of(self.plm)[: self.first_trained]]
        return frozen if self.embeddings_train else [self.plm.get_submodule("embeddings"), *frozen]

    def _trained_layers(self) -> nn.ModuleList:
        return layers_of(self.plm)[self.first_trained :]

    def train(self, mode: bool = True) -> NewsEncoder:
        """Frozen layers stay in evaluation mode; the vectors of an evaluation are dropped."""
        super().train(mode)
        for module in self._frozen_modules():
            module.eval()
        if mode:
            self._vectors = None
        return self

    # ------------------------------------------------------------------------- ids -> vectors

    def forward(self, news_ids: Tensor) -> Tensor:
        """News vectors, ``[*news_ids.shape, news_dim]``."""
        distinct, place = torch.unique(news_ids, return_inverse=True)
        ids = distinct.cpu().numpy()
        if self.training or torch.is_grad_enabled():
            vectors = self.encode_distinct(ids)
        else:
            vectors = self._look_up(ids)
        return vectors[place]

    def _look_up(self, ids: NDArray[np.int64]) -> Tensor:
        """Vectors by id; those not met since the weights last changed are encoded now.

        Texts are encoded in blocks that never change, so that a vector does not depend, not even in
        its last bit, on which others were asked for before: a run that was stopped ends as one
        that was not.
        """
        weights = _versions(self.parameters())
        if self._vectors is None or self._vectors_of != weights:
            self._vectors = self.dense.weight.new_zeros(self.tokens.rows, self.dense.out_features)
            self._encoded = self.tokens.lengths == 0
            self._vectors_of = weights
        missing = ids[~self._encoded[ids]]
        if len(missing):
            blocks, block_of = self._look_up_blocks()
            for block in np.unique(block_of[missing]):
                members = blocks[block]
                where = torch.from_numpy(members).to(self._vectors.device)
                self._vectors[where] = self._encode_group(members).to(self._vectors.dtype)
                self._encoded[members] = True
        return self._vectors[torch.from_numpy(ids).to(self._vectors.device)]

    def _look_up_blocks(self) -> tuple[list[NDArray[np.int64]], NDArray[np.int64]]:
        """The ids of each block, and the block of each id."""
        if self._blocks is None:
            on_cpu = self.dense.weight.device.type == "cpu"
            with_text = np.flatnonzero(self.tokens.lengths)
            groups = length_groups(
                self.tokens.lengths[with_text],
                tokens=LOOK_UP_TOKENS if on_cpu else TOKENS_AT_ONCE,
            )
            blocks = [with_text[group] for group in groups]
            block_of = np.zeros(self.tokens.rows, dtype=np.int64)
            for number, members in enumerate(blocks):
                block_of[members] = number
            self._blocks = blocks, block_of
        return self._blocks

    def encode_distinct(self, ids: NDArray[np.int64]) -> Tensor:
        """Vectors of distinct ids, ``[ids, news_dim]``; zeros for those without any token."""
        lengths = self.tokens.lengths_of(ids)
        with_text = np.flatnonzero(lengths)
        groups = length_groups(lengths[with_text])
        if not groups:
            return self.dense.weight.new_zeros(len(ids), self.dense.out_features)
        encoded = torch.cat([self._encode_group(ids[with_text[group]]) for group in groups])
        places = torch.from_numpy(with_text[np.concatenate(groups)]).to(encoded.device)
        return encoded.new_zeros(len(ids), encoded.shape[-1]).index_copy(0, places, encoded)

    def _encode_group(self, ids: NDArray[np.int64]) -> Tensor:
        token_ids, real = self._token_rows(ids)
        states = self._stored_states()
        if states is None:
            hidden = self._frozen_part(token_ids, real)
        else:
            hidden = states.rows(ids, token_ids.shape[1]).to(token_ids.device)
        for layer in self._trained_layers():
            hidden = apply_layer(layer, hidden, real)
        return self.dense(self._pool(hidden, real if self.mask_padding else None))

    def _token_rows(self, ids: NDArray[np.int64]) -> tuple[Tensor, Tensor | None]:
        """Token ids ``[ids, longest]`` and which of them are real; ``None`` if all are."""
        rows = self.tokens.padded(ids, self.pad_token_id)
        real = rows != self.pad_token_id
        device = self.dense.weight.device
        token_ids = torch.from_numpy(rows.astype(np.int64)).to(device)
        return token_ids, None if real.all() else torch.from_numpy(real).to(device)

    def _pool(self, hidden: Tensor, mask: Tensor | None) -> Tensor:
        if self.pooling is not None:
            return self.pooling(hidden, mask)
        return hidden[:, 0] if self.pooling_kind == "cls" else mean_pooling(hidden, mask)

    # -------------------------------------------------------------------------- frozen layers

    @contextmanager
    def without_tables(self) -> Iterator[None]:
        """Compute every layer, as for news never seen before."""
        folder, self.states_folder = self.states_folder, None
        try:
            yield
        finally:
            self.states_folder = folder

    def _frozen_part(self, token_ids: Tensor, real: Tensor | None) -> Tensor:
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.embeddings_train):
            hidden = embed(self.plm, token_ids)
            for layer in layers_of(self.plm)[: self.first_trained]:
                hidden = apply_layer(layer, hidden, real)
        return hidden

    def _stored_states(self) -> FrozenStates | None:
        """The table for the frozen weights as they are now, or ``None`` where none is kept."""
        if self.states_folder is None or self.first_trained == 0:
            return None
        frozen = [p for module in self._frozen_modules() for p in module.parameters()]
        weights = _versions(frozen)
        if self._states_of != weights:
            self._states = open_frozen_states(
                self.states_folder,
                content_key(self._states_key()),
                self.tokens,
                self.hidden_size,
                self._compute_states,
                self.check_disk,
            )
            self._states_of = weights
        return self._states

    def _states_key(self) -> Iterator[str | bytes]:
        yield STATES_FORMAT
        yield type(self.plm).__name__
        config = self.plm.config.to_dict()
        yield json.dumps({k: v for k, v in config.items() if k not in NOT_OF_A_STATE}, default=str)
        for module in self._frozen_modules():
            for name, value in module.state_dict().items():
                yield name
                yield value.detach().cpu().contiguous().numpy().tobytes()
        yield self.tokens.values.tobytes()
        yield self.tokens.offsets.tobytes()

    def _compute_states(self, ids: NDArray[np.int64]) -> Tensor:
        device_type = self.dense.weight.device.type
        with torch.no_grad(), torch.autocast(device_type, enabled=False):
            return self._frozen_part(*self._token_rows(ids))


def _versions(parameters: Iterable[nn.Parameter]) -> tuple[int, ...]:
    """Changes with every change of the values: torch counts in-place writes, loading included."""
    return tuple(number for p in parameters for number in (p.data_ptr(), p._version))
