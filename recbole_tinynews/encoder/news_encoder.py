"""Text into vectors: news ids in, news vectors out.

Every saving is exact: repeats are encoded once, no padding is computed, frozen layers are read from
a table (``frozen_states``), and at evaluation each news is encoded once (``news_vectors``).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedModel

from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.distillation.states import Taps
from recbole_tinynews.encoder.frozen_states import FrozenStates, Storage, open_frozen_states
from recbole_tinynews.encoder.language_model import apply_layer, embed, layers_of, set_dropout
from recbole_tinynews.encoder.layers import AttentionPooling, mean_pooling
from recbole_tinynews.encoder.news_vectors import NewsVectors, RecentVectors, versions
from recbole_tinynews.encoder.packing import Pack, packs, tokens_at_once
from recbole_tinynews.encoder.taps import Tap
from recbole_tinynews.files.array_cache import content_key

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
        history_cache_steps: for so many steps of training the vector of a clicked news may be used
            again, without a gradient (SpeedyFeed, Xiao et al., KDD 2022); 0: never, which is exact.
        storage: where the frozen layers' states are kept; ``None``: computed each time.

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
        storage: Storage | None = None,
        history_cache_steps: int = 0,
    ) -> None:
        super().__init__()
        if plm.config._attn_implementation != "sdpa":  # others would add the mask as numbers
            raise ValueError(
                "NewsEncoder expects a language model with attn_implementation='sdpa', got "
                f"{plm.config._attn_implementation!r}. Load it with load_plm."
            )
        self.plm, self.tokens = plm, tokens
        self.pooling_kind, self.mask_padding = pooling, mask_padding
        self.storage = storage
        self._vectors, self._recent = NewsVectors(), RecentVectors(history_cache_steps)
        self._tap: Tap | None = None
        self.hidden_size = plm.config.hidden_size
        self.pad_token_id = plm.config.pad_token_id or 0
        self.pooling = (
            AttentionPooling(self.hidden_size, query_dim) if pooling == "attention" else None
        )
        self.dense = nn.Linear(self.hidden_size, news_dim)
        self._freeze(finetune_layers, dropout)
        self._states: FrozenStates | None = None
        self._states_of: tuple[int, ...] = ()
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
            self._vectors.forget()
        return self

    # ------------------------------------------------------------------------- ids -> vectors

    def forward(self, news_ids: Tensor) -> Tensor:
        """News vectors, ``[*news_ids.shape, news_dim]``."""
        if not self.training and not torch.is_grad_enabled() and self._tap is None:
            return self._vectors.look_up(self, news_ids)
        distinct, place = torch.unique(news_ids, return_inverse=True)
        ids = distinct.cpu().numpy()
        vectors = self._recent.encode(self, ids) if self._recent.used else self.encode_distinct(ids)
        return vectors[place]

    def reusing_all_but(self, news_ids: Tensor) -> AbstractContextManager[None]:
        """Where ``history_cache_steps`` allows it, encode in training these ids alone anew."""
        return self._recent.reusing_all_but(news_ids)

    def encode_ahead(
        self, ids: NDArray[np.int64], show_progress: bool = False, folder: Path | None = None
    ) -> None:
        """Encode distinct ids now, to be looked up until the weights change (``NewsVectors``)."""
        self._vectors.encode_ahead(self, ids, show_progress, folder)

    @contextmanager
    def tapped(self, taps: Taps) -> Iterator[Tap]:
        """Whatever is encoded inside leaves its inner states in the tap, with their gradients.

        Frozen layers are computed as far as they are asked for, and else read as always. Each call
        of the encoder adds its distinct texts; none is looked up.
        """
        self._tap = tap = Tap(taps)
        try:
            yield tap
        finally:
            self._tap = None

    def encode_distinct(self, ids: NDArray[np.int64]) -> Tensor:
        """Vectors of distinct ids, ``[ids, news_dim]``; zeros for those without any token."""
        packed = packs(self.tokens.lengths_of(ids), self.tokens_at_once())
        if not packed:
            return self.zeros(len(ids))
        encoded = torch.cat([self.encode_pack(ids, pack) for pack in packed])
        places = self._places(np.concatenate([pack.members for pack in packed]))
        return encoded.new_zeros(len(ids), encoded.shape[-1]).index_copy(0, places, encoded)

    def zeros(self, texts: int) -> Tensor:
        """As many vectors as they are without any token, ``[texts, news_dim]``."""
        return self.dense.weight.new_zeros(texts, self.dense.out_features)

    def encode_pack(self, ids: NDArray[np.int64], pack: Pack) -> Tensor:
        """Vectors of the texts of a pack, in its order, ``[texts, news_dim]``."""
        members = ids[pack.members]
        token_ids, real = self._token_row(members)
        hidden = self._behind_frozen(members, pack, token_ids, real)
        hidden = hidden.to(self._compute_dtype())  # once, not before each product and each sum
        trained = range(self.first_trained + 1, len(layers_of(self.plm)) + 1)
        hidden = self._through(trained, hidden, pack, real, self._tap)
        pooled = self._pool(hidden, pack, real if self.mask_padding else None)
        vectors = self.dense(pooled)
        if self._tap is not None:
            self._tap.keep_texts(members, pooled, vectors)
        return vectors

    def _through(
        self, numbers: range, hidden: Tensor, pack: Pack, real: Tensor | None, tap: Tap | None
    ) -> Tensor:
        """Output of the last of these layers, which count from 1."""
        layers = layers_of(self.plm)
        for number in numbers:
            scores = None if tap is None else tap.scores_of(number)
            hidden = apply_layer(layers[number - 1], hidden, pack, real, scores)
            if tap is not None:
                tap.keep_hidden(number, hidden, real)
                if scores is not None:
                    tap.keep_attention(number, scores, pack, real)
        return hidden

    def read(self, token_ids: Tensor, lengths: NDArray[np.int64]) -> Tensor:
        """Last hidden states of texts that are in no table, each layer computed.

        Shapes:
            token_ids: ``[tokens]``, text behind text, without pad tokens.
            lengths: ``[texts]``, tokens of each.
            returned: ``[tokens, hidden]``.
        """
        texts = Ragged.from_lengths(np.arange(len(token_ids)), lengths)
        packed = packs(lengths, self.tokens_at_once())
        places = [self._places(texts.positions(pack.members)) for pack in packed]
        read = [
            self._read(token_ids[each], pack) for each, pack in zip(places, packed, strict=True)
        ]
        states = torch.cat(read)
        return torch.empty_like(states).index_copy(0, torch.cat(places), states)

    def _read(self, token_ids: Tensor, pack: Pack) -> Tensor:
        hidden = self._frozen_part(self.first_trained, token_ids, pack, None)
        trained = range(self.first_trained + 1, len(layers_of(self.plm)) + 1)
        return self._through(trained, hidden.to(self._compute_dtype()), pack, None, None)

    def _compute_dtype(self) -> torch.dtype:
        device_type = self.dense.weight.device.type
        if torch.is_autocast_enabled(device_type):
            return torch.get_autocast_dtype(device_type)
        return self.dense.weight.dtype

    def _places(self, ids: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(ids).to(self.dense.weight.device)

    def tokens_at_once(self) -> int:
        """How many tokens pass through the language model together."""
        inner = getattr(self.plm.config, "intermediate_size", 4 * self.hidden_size)
        return tokens_at_once(self.dense.weight.device, inner * self._compute_dtype().itemsize)

    def _token_row(self, members: NDArray[np.int64]) -> tuple[Tensor, Tensor | None]:
        """Token ids ``[tokens]`` and which of them are real; ``None`` if all are."""
        row = self.tokens.values[self.tokens.positions(members)]
        real = row != self.pad_token_id
        device = self.dense.weight.device
        token_ids = torch.from_numpy(row.astype(np.int64)).to(device)
        return token_ids, None if real.all() else torch.from_numpy(real).to(device)

    def _pool(self, hidden: Tensor, pack: Pack, real: Tensor | None) -> Tensor:
        """One vector of each text, ``[texts, hidden]``."""
        blocks = pack.split(hidden)
        masks = [None] * len(blocks) if real is None else pack.split(real)
        if self.pooling_kind == "cls":
            pooled = [block[:, 0] for block in blocks]
        elif self.pooling is None:
            pooled = [mean_pooling(*each) for each in zip(blocks, masks, strict=True)]
        else:
            energies = pack.split(self.pooling.energy(hidden))  # of all blocks at once
            pooled = [self.pooling(*each) for each in zip(blocks, masks, energies, strict=True)]
        return torch.cat(pooled)

    # -------------------------------------------------------------------------- frozen layers

    @contextmanager
    def without_tables(self) -> Iterator[None]:
        """Compute every layer, as for news never seen before."""
        storage, self.storage = self.storage, None
        try:
            yield
        finally:
            self.storage = storage

    def _behind_frozen(
        self, members: NDArray[np.int64], pack: Pack, token_ids: Tensor, real: Tensor | None
    ) -> Tensor:
        """Input of the first layer that trains, ``[tokens, hidden]``: stored, or computed now."""
        states, tap = self._stored_states(), self._tap
        if states is None or not states.stored[members].all():
            return self._frozen_part(self.first_trained, token_ids, pack, real, tap)
        hidden = states.rows(members).to(token_ids.device)
        if tap is not None:
            deepest = tap.deepest(self.first_trained)
            if deepest >= 0:
                self._frozen_part(deepest, token_ids, pack, real, tap)
            if deepest < self.first_trained:
                tap.keep_hidden(self.first_trained, hidden, real)
        return hidden

    def _frozen_part(
        self, last: int, token_ids: Tensor, pack: Pack, real: Tensor | None, tap: Tap | None = None
    ) -> Tensor:
        """Output of the frozen layer ``last``; 0: of the embeddings."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.embeddings_train):
            hidden = embed(self.plm, token_ids, pack)
            if tap is not None:
                tap.keep_hidden(0, hidden, real)
            return self._through(range(1, last + 1), hidden, pack, real, tap)

    def _stored_states(self) -> FrozenStates | None:
        """The table for the frozen weights as they are now, or ``None`` where none is kept."""
        if self.storage is None or self.first_trained == 0:
            return None
        frozen = [p for module in self._frozen_modules() for p in module.parameters()]
        weights = versions(frozen)
        if self._states_of != weights:
            self._states = open_frozen_states(
                self.storage,
                content_key(self._states_key()),
                self.tokens,
                self.hidden_size,
                self._compute_states,
            )
            self._states_of = weights
        return self._states

    def content(self) -> Iterator[str | bytes]:
        """All that decides a vector: a table with another key is never read for it."""
        yield str(self._compute_dtype())
        yield from self._states_key()
        for name, value in self.state_dict().items():
            yield name
            yield value.detach().cpu().contiguous().numpy().tobytes()
        yield self.pooling_kind

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

    def _compute_states(self, members: NDArray[np.int64], pack: Pack) -> Tensor:
        device_type = self.dense.weight.device.type
        token_ids, real = self._token_row(members)
        with torch.no_grad(), torch.autocast(device_type, enabled=False):
            return self._frozen_part(self.first_trained, token_ids, pack, real)
