"""Text into vectors: news ids in, news vectors out, and every saving in between.

Each saving is exact: repeats are encoded once, no padding is computed, frozen layers are read from
a table, and at evaluation each news is encoded once.
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
from torch.nn import functional as F
from tqdm import tqdm
from transformers import PreTrainedModel

from recbole_tinynews.data.array_cache import cached_arrays, content_key
from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.distillation.states import Taps
from recbole_tinynews.model.frozen_states import FrozenStates, Storage, open_frozen_states
from recbole_tinynews.model.layers import AttentionPooling, mean_pooling
from recbole_tinynews.model.packing import Pack, packs, tokens_at_once
from recbole_tinynews.model.plm import apply_layer, embed, layers_of, set_dropout
from recbole_tinynews.model.taps import Tap

# small packs encode little that nobody asked for, and fill a CPU all the same
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
        self.history_cache_steps = history_cache_steps
        self._recent: RecentVectors | None = None
        self._encoded_anew: NDArray[np.int64] | None = None
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
        self._vectors: Tensor | None = None
        self._encoded = np.zeros(0, dtype=bool)
        self._vectors_of: tuple[int, ...] = ()
        self._look_up_packs: tuple[list[Pack], NDArray[np.int64]] | None = None
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
        if not self.training and not torch.is_grad_enabled() and self._tap is None:
            return self._look_up(news_ids)
        distinct, place = torch.unique(news_ids, return_inverse=True)
        ids = distinct.cpu().numpy()
        if self._encoded_anew is not None:
            return self._encode_or_reuse(ids, self._encoded_anew)[place]
        return self.encode_distinct(ids)[place]

    @contextmanager
    def reusing_all_but(self, news_ids: Tensor) -> Iterator[None]:
        """Where ``history_cache_steps`` allows it, encode in training these ids alone anew."""
        self._encoded_anew = news_ids.cpu().numpy() if self.history_cache_steps else None
        try:
            yield
        finally:
            self._encoded_anew = None

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

    def _encode_or_reuse(self, ids: NDArray[np.int64], anew: NDArray[np.int64]) -> Tensor:
        if self._recent is None:
            self._recent = RecentVectors(
                self.dense.weight.new_zeros(self.tokens.rows, self.dense.out_features),
                self.history_cache_steps,
            )
        needed = np.isin(ids, anew) | ~self._recent.usable(ids)
        encoded = self.encode_distinct(ids[needed])
        vectors = encoded.new_empty(len(ids), encoded.shape[-1])
        vectors = vectors.index_copy(0, self._places(np.flatnonzero(needed)), encoded)
        reused = self._recent.read(ids[~needed]).to(vectors)
        vectors = vectors.index_copy(0, self._places(np.flatnonzero(~needed)), reused)
        self._recent.keep(ids[needed], encoded)
        return vectors

    @torch.no_grad()
    def encode_ahead(
        self, ids: NDArray[np.int64], show_progress: bool = False, folder: Path | None = None
    ) -> None:
        """Encode distinct ids now, to be looked up until the weights change.

        Much faster than when they are asked for in small numbers. How a text is packed depends on
        ``ids`` alone: a run that was stopped ends with the same vectors as one that was not.

        Args:
            ids: of texts.
            show_progress: by a bar.
            folder: where a memory-mapped table of the vectors is kept for the next training, or
                read; ``None``: in memory alone.
        """
        vectors, encoded = self._remembered()
        if encoded[ids].all():
            return
        if folder is None:
            self._encode_all(ids, vectors, show_progress)
        else:

            def make() -> dict[str, NDArray]:
                table = torch.zeros_like(vectors)
                self._encode_all(ids, table, show_progress)
                return {"vectors": table.cpu().numpy()}

            key = content_key(self._vectors_key(ids))
            table = cached_arrays(folder, "news-vectors", key, make, writable=True)["vectors"]
            self._vectors = torch.from_numpy(table).to(vectors.device)
            encoded[:] = self.tokens.lengths == 0
        encoded[ids] = True

    def _vectors_key(self, ids: NDArray[np.int64]) -> Iterator[str | bytes]:
        yield str(self._compute_dtype())
        yield from self._states_key()
        for name, value in self.state_dict().items():
            yield name
            yield value.detach().cpu().contiguous().numpy().tobytes()
        yield self.pooling_kind
        yield ids.tobytes()

    def _encode_all(
        self, ids: NDArray[np.int64], vectors: Tensor, show_progress: bool = False
    ) -> None:
        lengths = self.tokens.lengths_of(ids)
        with tqdm(
            total=int(lengths.sum()), desc="Encode news", unit=" tokens", disable=not show_progress
        ) as progress:
            for pack in packs(lengths, self._tokens_at_once()):
                members = ids[pack.members]
                vectors[self._places(members)] = self._encode(ids, pack).to(vectors.dtype)
                progress.update(int(lengths[pack.members].sum()))

    def _look_up(self, news_ids: Tensor) -> Tensor:
        """Vectors by id; those not met since the weights last changed are encoded now.

        Texts are encoded in packs that never change, so that a vector does not depend, not even in
        its last bit, on which others were asked for before: a run that was stopped ends as one
        that was not.
        """
        vectors, encoded = self._remembered()
        ids = news_ids.cpu().numpy()
        missing = ids[~encoded[ids]]
        if len(missing):
            every_id = np.arange(self.tokens.rows)
            packed, pack_of = self._packs_for_look_up()
            for number in np.unique(pack_of[missing]):
                pack = packed[number]
                new = ~encoded[pack.members]  # what was encoded ahead stays as it is
                made = self._encode(every_id, pack)[torch.from_numpy(new)]
                vectors[self._places(pack.members[new])] = made.to(vectors.dtype)
                encoded[pack.members] = True
        return F.embedding(news_ids.to(vectors.device), vectors)

    def _remembered(self) -> tuple[Tensor, NDArray[np.bool_]]:
        """Vectors of all ids, and which of them are there; none is once a weight has changed."""
        weights = _versions(self.parameters())
        if self._vectors is None or self._vectors_of != weights:
            self._vectors = self.dense.weight.new_zeros(self.tokens.rows, self.dense.out_features)
            self._encoded = self.tokens.lengths == 0
            self._vectors_of = weights
        return self._vectors, self._encoded

    def _places(self, ids: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(ids).to(self.dense.weight.device)

    def _packs_for_look_up(self) -> tuple[list[Pack], NDArray[np.int64]]:
        """All texts in packs, and the pack of each id."""
        if self._look_up_packs is None:
            on_cpu = self.dense.weight.device.type == "cpu"
            at_once = LOOK_UP_TOKENS if on_cpu else self._tokens_at_once()
            packed = packs(self.tokens.lengths, at_once)
            pack_of = np.zeros(self.tokens.rows, dtype=np.int64)
            for number, pack in enumerate(packed):
                pack_of[pack.members] = number
            self._look_up_packs = packed, pack_of
        return self._look_up_packs

    def encode_distinct(self, ids: NDArray[np.int64]) -> Tensor:
        """Vectors of distinct ids, ``[ids, news_dim]``; zeros for those without any token."""
        packed = packs(self.tokens.lengths_of(ids), self._tokens_at_once())
        if not packed:
            return self.dense.weight.new_zeros(len(ids), self.dense.out_features)
        encoded = torch.cat([self._encode(ids, pack) for pack in packed])
        places = torch.from_numpy(np.concatenate([pack.members for pack in packed]))
        places = places.to(encoded.device)
        return encoded.new_zeros(len(ids), encoded.shape[-1]).index_copy(0, places, encoded)

    def _encode(self, ids: NDArray[np.int64], pack: Pack) -> Tensor:
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
        packed = packs(lengths, self._tokens_at_once())
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

    def _tokens_at_once(self) -> int:
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
        weights = _versions(frozen)
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


class RecentVectors:
    """News vectors of the last steps of a training, without gradients."""

    def __init__(self, vectors: Tensor, steps: int) -> None:
        self.vectors, self.steps, self.step = vectors, steps, 0
        self._made_in = np.full(len(vectors), -1 - steps)  # too early to be used

    def usable(self, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether each vector was made in one of the last ``steps`` steps before this one."""
        return self._made_in[ids] >= self.step - self.steps

    def read(self, ids: NDArray[np.int64]) -> Tensor:
        """The vectors of ids, ``[ids, news_dim]``."""
        return self.vectors[torch.from_numpy(ids).to(self.vectors.device)]

    def keep(self, ids: NDArray[np.int64], vectors: Tensor) -> None:
        """Remember what this step has encoded; what follows is the next step."""
        places = torch.from_numpy(ids).to(self.vectors.device)
        self.vectors[places] = vectors.detach().to(self.vectors.dtype)
        self._made_in[ids] = self.step
        self.step += 1


def _versions(parameters: Iterable[nn.Parameter]) -> tuple[int, ...]:
    """Changes with every change of the values: torch counts in-place writes, loading included."""
    return tuple(number for p in parameters for number in (p.data_ptr(), p._version))
