"""Packs: texts concatenated without padding, by length, and shared among processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.processes.group import Group, shard

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


def on_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Move to a device; copies to a GPU are asynchronous, from pinned memory."""
    if device.type == "cuda" and not tensor.is_cuda:
        tensor = tensor.pin_memory()  # a no-op if pinned already
    return tensor.to(device, non_blocking=True)


def packed_texts(
    tokens: Ragged, members: NDArray[np.int64], pack: Pack, pad_token_id: int, device: torch.device
) -> PackedTexts:
    """Tokens of the texts of a pack, in pack order, on a device."""
    row = tokens.values[tokens.positions(members)]
    real = row != pad_token_id
    texts = PackedTexts.of(
        pack,
        torch.from_numpy(row.astype(np.int64)),
        None if real.all() else torch.from_numpy(real),
    )
    return texts.apply(lambda tensor: on_device(tensor, device))


def share_texts(lengths: NDArray[np.int64], group: Group) -> list[NDArray[np.int64]]:
    """Positions of the texts that each process of the group encodes, shortest first."""
    order = shortest_first(lengths)
    if group.alone:
        return [order]
    return [shard(order, group._replace(rank=rank)) for rank in range(group.size)]
