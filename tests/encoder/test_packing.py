from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.encoder.packing import PackedTexts, packs


@given(st.lists(st.integers(0, 40), max_size=200), st.integers(1, 400))
def test_every_text_is_encoded_once_within_the_bound(lengths, tokens) -> None:
    """A text in no pack keeps a zero vector; one in two packs is computed twice."""
    lengths = np.array(lengths, dtype=np.int64)
    packed = packs(lengths, tokens)
    members = np.concatenate([*(pack.members for pack in packed), np.empty(0, np.int64)])
    assert sorted(members.tolist()) == np.flatnonzero(lengths).tolist()
    for pack in packed:
        of_blocks = np.concatenate([np.full(block.texts, block.length) for block in pack.blocks])
        assert (of_blocks == lengths[pack.members]).all()
        assert len(pack.members) == 1 or lengths[pack.members].sum() <= tokens


def test_a_block_holds_whole_texts_and_nothing_else() -> None:
    """A token of a neighbour in the attention of a text changes its vector a little."""
    rows = Ragged.from_rows([[1, 2], [3], [], [4, 5], [6, 7, 8]], int)
    (pack,) = packs(rows.lengths, 99)
    tokens = torch.from_numpy(rows.values[rows.positions(pack.members)])
    texts = PackedTexts.of(pack, tokens)
    blocks = [block.tolist() for block in texts.split(tokens)]
    assert blocks == [[[3]], [[1, 2], [4, 5]], [[6, 7, 8]]]
    # counted from the whole pack, starts would pool tokens of other texts, or none
    assert [block.starts.tolist() for block in texts.each_block()] == [[0, 1], [0, 2, 4], [0, 3]]
