"""Packs: texts concatenated without padding, by length; and plans of how a batch is packed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_tinynews.data.fields import CANDIDATES, CONTEXT_ARTICLE, HISTORY
from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.processes.device import on_device
from recbole_tinynews.processes.gather import gather_rows
from recbole_tinynews.processes.group import ALONE, Group, shard

# Largest activation of a pass. On a CPU, larger ones are mapped again each time and zeroed page by
# page; on a GPU torch caches them.
ACTIVATION_BYTES = {"cpu": 24 << 20, "cuda": 512 << 20}


class Block(NamedTuple):
    """Texts of one length."""

    texts: int
    length: int


class Pack(NamedTuple):
    """Texts that pass through the language model together, shortest first."""

    members: NDArray[np.int64]  # [texts], positions among the texts that were packed
    blocks: tuple[Block, ...]


class PackedTexts(NamedTuple):
    """The tokens of a pack's texts, concatenated in one row."""

    pack: Pack
    token_ids: Tensor  # [tokens]
    positions: Tensor  # [tokens], within the text, from 0
    starts: Tensor  # [texts + 1], int32: start of each text, and end of the last
    real: Tensor | None = None  # [tokens], False for pad tokens, which are masked; None: no padding

    @classmethod
    def of(cls, pack: Pack, token_ids: Tensor, real: Tensor | None = None) -> PackedTexts:
        """Texts in the order of a pack, on the host."""
        lengths = np.repeat(*np.array(pack.blocks, dtype=np.int64)[:, ::-1].T)
        starts = np.append(0, np.cumsum(lengths))
        positions = np.arange(starts[-1]) - np.repeat(starts[:-1], lengths)
        return cls(
            pack,
            token_ids,
            torch.from_numpy(positions),
            torch.from_numpy(starts.astype(np.int32)),
            real,
        )

    @property
    def longest(self) -> int:
        """Length of the longest text."""
        return self.pack.blocks[-1].length

    def split(self, tokens: Tensor) -> list[Tensor]:
        """Split ``[tokens, ...]`` into blocks, each ``[texts, length, ...]``."""
        blocks = self.pack.blocks
        parts = tokens.split([block.texts * block.length for block in blocks])
        return [
            part.view(*block, *tokens.shape[1:]) for part, block in zip(parts, blocks, strict=True)
        ]

    def masks(self) -> list[Tensor | None]:
        """``real`` of each block, ``[texts, length]``, or ``None``."""
        return [None] * len(self.pack.blocks) if self.real is None else [*self.split(self.real)]

    def each_block(self) -> list[PackedTexts]:
        """A pack of its own for each length."""
        sizes = [block.texts * block.length for block in self.pack.blocks]
        ends = np.cumsum([block.texts for block in self.pack.blocks])
        made = []
        for number, (block, end) in enumerate(zip(self.pack.blocks, ends, strict=True)):
            part = slice(sum(sizes[:number]), sum(sizes[: number + 1]))
            made.append(
                PackedTexts(
                    Pack(self.pack.members[end - block.texts : end], (block,)),
                    self.token_ids[part],
                    self.positions[part],
                    self.starts[end - block.texts : end + 1] - part.start,
                    None if self.real is None else self.real[part],
                )
            )
        return made

    def apply(self, function: Callable[[Tensor], Tensor]) -> PackedTexts:
        """Apply a function to each tensor."""
        return PackedTexts(
            self.pack,
            function(self.token_ids),
            function(self.positions),
            function(self.starts),
            None if self.real is None else function(self.real),
        )


def shortest_first(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Order of the texts in their packs; empty texts are dropped.

    >>> shortest_first(np.array([4, 9, 0, 4, 5])).tolist()
    [0, 3, 4, 1]
    """
    order = np.argsort(lengths, kind="stable")
    return order[np.searchsorted(lengths[order], 0, side="right") :]


def packs(lengths: NDArray[np.int64], tokens: int) -> list[Pack]:
    """Packs of at most ``tokens`` tokens, or of one longer text; empty texts are dropped.

    >>> [pack.members.tolist() for pack in packs(np.array([4, 9, 0, 4, 5]), tokens=9)]
    [[0, 3], [4], [1]]
    >>> packs(np.array([4, 9, 0, 4, 5]), tokens=99)[0].blocks[0]
    Block(texts=2, length=4)
    """
    order = shortest_first(lengths)
    ends = np.cumsum(lengths[order])
    made: list[Pack] = []
    start = 0
    while start < len(order):
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + tokens, side="right")))
        members = order[start:stop]
        widths, counts = np.unique(lengths[members], return_counts=True)
        blocks = (Block(int(n), int(width)) for n, width in zip(counts, widths, strict=True))
        made.append(Pack(members, tuple(blocks)))
        start = stop
    return made


def tokens_at_once(device: torch.device, bytes_of_a_token: int) -> int:
    """Number of tokens that pass through the model together on this device.

    >>> tokens_at_once(torch.device("cpu"), bytes_of_a_token=1536 * 4)
    4096
    """
    at_most = ACTIVATION_BYTES.get(device.type, ACTIVATION_BYTES["cuda"])
    return max(1, at_most // bytes_of_a_token)


class PlannedPack(NamedTuple):
    """Texts that are encoded together."""

    ids: NDArray[np.int64]  # [texts], news ids in pack order
    texts: PackedTexts
    rows: Tensor | None  # [tokens], rows in the table of frozen states; None: some are missing
    table_on_host: bool  # whether the table is on the host while texts are encoded elsewhere

    def apply(self, function: Callable[[Tensor], Tensor]) -> PlannedPack:
        """Apply a function to each tensor, except the rows of a table on the host."""
        rows = self.rows
        if rows is not None and not self.table_on_host:
            rows = function(rows)
        return self._replace(texts=self.texts.apply(function), rows=rows)

    def to(self, device: torch.device) -> PlannedPack:
        """Move to a device."""
        return self.apply(lambda tensor: on_device(tensor, device))


class EncodingPlan(NamedTuple):
    """How distinct articles are encoded; ``packs`` are this process's share."""

    encoder: int  # number of the encoder it was made for; others make their own plan
    host_ids: NDArray[np.int64]  # [ids], distinct, ascending
    fresh: NDArray[np.int64]  # candidates' ids, encoded in every step
    ids: Tensor  # [ids], host_ids on the device
    # [texts], position in `ids` of each text that is not empty, by rank and pack
    places: Tensor
    packs: list[PlannedPack]
    counts: tuple[int, ...] | None = None  # texts encoded by each process; None: all by this one
    # this process's shares of texts, real tokens and token pairs within a text; {}: all
    shares: Mapping[str, float] = {}
    others: tuple[EncodingPlan, ...] = ()  # plans of an article's other texts, for the same ids

    @property
    def own_ids(self) -> NDArray[np.int64]:
        """Ids that this process encodes, ascending."""
        if self.counts is None:
            return self.host_ids
        return np.sort(np.concatenate([pack.ids for pack in self.packs]))

    def apply(self, function: Callable[[Tensor], Tensor]) -> EncodingPlan:
        """Apply a function to each tensor."""
        return self._replace(
            ids=function(self.ids),
            places=function(self.places),
            packs=[pack.apply(function) for pack in self.packs],
            others=tuple(plan.apply(function) for plan in self.others),
        )

    def to(self, device: torch.device) -> EncodingPlan:
        """Move to a device."""
        return self.apply(lambda tensor: on_device(tensor, device))

    def find(self, news_ids: Tensor) -> Tensor:
        """Positions of ids in the plan; ``RuntimeError`` if one is missing, delayed on a GPU."""
        places = torch.searchsorted(self.ids, news_ids.contiguous()).clamp_(max=len(self.ids) - 1)
        torch._assert_async(
            (self.ids[places] == news_ids).all(),
            "The news encoder expects news ids of the batch alone while it follows the plan of the "
            "batch, got others. Encode those outside of `planned`.",
        )
        return places

    def joined(self, vectors: list[Tensor], zeros: Callable[[int], Tensor]) -> Tensor:
        """Vectors of the plan's ids, ``[ids, dim]``; ``zeros(n)`` encodes ``n`` empty texts."""
        if not vectors:
            return zeros(len(self.host_ids))
        encoded = torch.cat(vectors)
        if self.counts is not None:
            encoded = gather_rows(encoded, self.counts)
        empty = encoded.new_zeros(len(self.host_ids), encoded.shape[-1])
        return empty.index_copy(0, self.places, encoded)


class ArticlePlanner:
    """Makes plans for encoder number ``encoder``, of ids alone; may run in another process."""

    def __init__(self, encoder: int) -> None:
        self.encoder = encoder

    def __call__(self, batch: Interaction) -> EncodingPlan | None:
        """Plan of a training batch; ``None`` if it has no history or no candidates."""
        if HISTORY not in batch or CANDIDATES not in batch:
            return None
        history, candidates = batch[HISTORY].numpy(), batch[CANDIDATES].numpy()
        fresh, ids = np.unique(candidates), history
        if CONTEXT_ARTICLE in batch:
            ids = np.append(history, batch[CONTEXT_ARTICLE].numpy())
        return self.plan(np.union1d(ids, fresh), fresh)

    def plan(self, ids: NDArray[np.int64], fresh: NDArray[np.int64] | None = None) -> EncodingPlan:
        """Plan of distinct ids; ``fresh`` are those of candidates (``None``: all)."""
        at_host = torch.from_numpy(ids)
        return EncodingPlan(
            self.encoder, ids, ids if fresh is None else fresh, at_host, at_host, []
        )


class Planner(ArticlePlanner):
    """Makes the plans of an encoder of one text, in any process."""

    def __init__(
        self,
        encoder: int,
        tokens: Ragged,
        pad_token_id: int,
        tokens_at_once: int,
        group: Group = ALONE,
    ) -> None:
        super().__init__(encoder)
        self.tokens, self.pad_token_id = tokens, pad_token_id
        self.tokens_at_once, self.group = tokens_at_once, group
        self.stored: Ragged | None = None  # rows of each text in the table of frozen states
        self.table_on_host = False
        if group.size > 1:
            real = np.append(0, np.cumsum(tokens.values != pad_token_id))
            self._real_tokens = np.diff(real[tokens.offsets])

    def plan(self, ids: NDArray[np.int64], fresh: NDArray[np.int64] | None = None) -> EncodingPlan:
        """Plan of distinct ids; ``fresh`` are those of candidates (``None``: all)."""
        order = shortest_first(self.tokens.lengths_of(ids))
        alone, parts = self.group.size == 1, [order]
        if not alone:
            parts = [shard(order, self.group._replace(rank=n)) for n in range(self.group.size)]
        own = parts[self.group.rank]
        shares = {} if alone else self._shares(ids[own], ids[order])
        if not len(own):  # all processes need the same autograd graph; its row is ignored
            own = order[:1]
        own_ids = ids[own]
        packed = packs(self.tokens.lengths_of(own_ids), self.tokens_at_once)
        return (
            super()
            .plan(ids, fresh)
            ._replace(
                places=torch.from_numpy(np.concatenate(parts)),
                packs=[self.pack(own_ids, pack) for pack in packed],
                counts=None if alone else tuple(map(len, parts)),
                shares=shares,
            )
        )

    def _shares(self, own: NDArray[np.int64], every: NDArray[np.int64]) -> dict[str, float]:
        def counts(ids: NDArray[np.int64]) -> tuple[int, ...]:
            tokens = self._real_tokens[ids]
            return len(tokens), int(tokens.sum()), int((tokens**2).sum())

        parts = zip(("texts", "tokens", "pairs"), counts(own), counts(every), strict=True)
        return {name: part / whole if whole else 0.0 for name, part, whole in parts}

    def pack(self, ids: NDArray[np.int64], pack: Pack) -> PlannedPack:
        """Plan of one pack of these ids."""
        members, rows = ids[pack.members], None
        if self.stored is not None and self.stored.lengths_of(members).all():
            rows = torch.from_numpy(self.stored.positions(members))
        return PlannedPack(members, self.texts(members, pack), rows, self.table_on_host)

    def texts(self, members: NDArray[np.int64], pack: Pack) -> PackedTexts:
        """Tokens of the texts of a pack, in pack order."""
        row = self.tokens.values[self.tokens.positions(members)]
        real = row != self.pad_token_id
        return PackedTexts.of(
            pack,
            torch.from_numpy(row.astype(np.int64)),
            None if real.all() else torch.from_numpy(real),
        )


class ViewsPlanner(ArticlePlanner):
    """Makes the plans of article encoder ``encoder``, with a planner for each text."""

    def __init__(self, encoder: int, each: Sequence[ArticlePlanner]) -> None:
        super().__init__(encoder)
        self.each = each

    def plan(self, ids: NDArray[np.int64], fresh: NDArray[np.int64] | None = None) -> EncodingPlan:
        """Plan of distinct ids; ``fresh`` are those of candidates (``None``: all)."""
        first, *others = (planner.plan(ids, fresh) for planner in self.each)
        return first._replace(encoder=self.encoder, others=tuple(others))
