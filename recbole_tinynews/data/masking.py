"""Masking for masked language models, from (seed, epoch, text) only, so that resumed runs agree."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recbole_tinynews.data.negatives import random_bits
from recbole_tinynews.data.ragged import Ragged

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CHOSEN, MASKED, REPLACED = 0.15, 0.8, 0.1  # of ordinary tokens; of chosen; of chosen
OTHER_TOKEN = 1 << 32  # draws below choose places, from here on replacement tokens


class MaskedTokens(NamedTuple):
    """Masked ``tokens``, concatenated, with ``places`` and ``truth`` of the tokens to predict."""

    tokens: NDArray[np.int64]
    places: NDArray[np.int64]
    truth: NDArray[np.int64]


class Masking:
    """BERT's masking (Devlin et al., NAACL 2019, section 3.1).

    Ordinary tokens are chosen with probability 0.15; of these 80 % become the mask token, 10 % a
    random ordinary token. Raises ``ValueError`` if the tokenizer has no mask token.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, seed: int) -> None:
        if tokenizer.mask_token_id is None:
            raise ValueError(
                "Masked-language-model training expects a tokenizer with a mask token, and that of "
                f"{tokenizer.name_or_path} has none. Choose another plm."
            )
        self.seed, self.mask_id = seed, int(tokenizer.mask_token_id)
        self.special = np.array(sorted(tokenizer.all_special_ids))
        self.ordinary = np.setdiff1d(np.arange(len(tokenizer)), self.special)

    def draw(self, epoch: int, tokens: Ragged, texts: NDArray) -> MaskedTokens:
        """Mask ``tokens``; ``texts`` are the numbers of its rows."""
        truth = tokens.values.astype(np.int64)
        text = np.repeat(texts, tokens.lengths)
        place = np.arange(len(truth)) - np.repeat(tokens.offsets[:-1], tokens.lengths)
        draw = random_bits(self.seed, epoch, text, place) / 2.0**64  # uniform on [0, 1]
        chosen = (draw < CHOSEN) & ~np.isin(truth, self.special)
        masked = chosen & (draw < CHOSEN * MASKED)
        replaced = chosen & ~masked & (draw < CHOSEN * (MASKED + REPLACED))
        bits = random_bits(self.seed, epoch, text[replaced], place[replaced] + OTHER_TOKEN)
        seen = truth.copy()
        seen[masked] = self.mask_id
        seen[replaced] = self.ordinary[bits % np.uint64(len(self.ordinary))]
        return MaskedTokens(seen, np.flatnonzero(chosen), truth[chosen])
