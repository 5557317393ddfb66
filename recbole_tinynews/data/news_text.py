"""News text as token ids, tokenised once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from recbole_tinynews.data.array_cache import Arrays, cached_arrays, content_key
from recbole_tinynews.data.ragged import Ragged

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TEXTS_AT_ONCE = 10_000


def tokenise(
    texts: list[str],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    cache_dir: Path | None = None,
) -> Ragged:
    """Token ids of every text, cut at ``max_length`` with [CLS] and [SEP] counted.

    Row 0 is padding and stays without tokens; any other empty text has the two special tokens.

    Shapes:
        returned: ragged ``[texts, *]``, int32.

    Raises:
        ValueError: the tokenizer is not a fast one.
    """
    if not tokenizer.is_fast:
        raise ValueError(
            f"tokenise expects a fast tokenizer, got {type(tokenizer).__name__}. "
            "Use a language model folder that has a tokenizer.json."
        )
    key = content_key([tokenizer.backend_tokenizer.to_str(), str(max_length), "\0".join(texts)])
    arrays = cached_arrays(
        cache_dir, "tokens", key, lambda: _token_arrays(texts, tokenizer, max_length)
    )
    return Ragged(arrays["values"], arrays["offsets"])


def _token_arrays(texts: list[str], tokenizer: PreTrainedTokenizerBase, max_length: int) -> Arrays:
    rows: list[list[int]] = [[]]
    with tqdm(total=len(texts) - 1, desc="Tokenise", unit=" texts", disable=None) as bar:
        for start in range(1, len(texts), TEXTS_AT_ONCE):
            chunk = texts[start : start + TEXTS_AT_ONCE]
            rows += tokenizer(
                chunk,
                truncation=True,
                max_length=max_length,
                return_attention_mask=False,
                return_token_type_ids=False,
            )["input_ids"]
            bar.update(len(chunk))
    tokens = Ragged.from_rows(rows, np.int32)
    return {"values": tokens.values, "offsets": tokens.offsets}
