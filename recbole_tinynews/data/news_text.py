"""News text as cached token ids."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.files.array_cache import Arrays, cached_arrays, content_key
from recbole_tinynews.files.progress import progress_bar

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LONGEST_TEXT = 1_000_000  # characters
TEXTS_AT_ONCE = 1_000  # bounds the memory for lists of tokens
TITLE_ABSTRACT = "title_abstract"  # title and abstract as one text


def with_abstract(title: str, abstract: str) -> str:
    """Title and abstract as one text, for ``news_text: title_abstract``.

    >>> with_abstract("Rain again", "It rained. More will come.")
    'Rain again. It rained. More will come.'
    """
    return ". ".join(part for part in (title, abstract) if part)


def check_texts(texts: Iterable[str]) -> None:
    """Raise ``ValueError`` for texts that are not Unicode or are longer than ``LONGEST_TEXT``."""
    for number, text in enumerate(texts):
        if len(text) > LONGEST_TEXT:
            raise ValueError(
                f"A text of an article expects at most {LONGEST_TEXT:,} characters, got "
                f"{len(text):,} in text {number}, which begins with {text[:40]!r}. Cut it."
            )
        try:
            text.encode()
        except UnicodeEncodeError as problem:
            raise ValueError(
                f"A text of an article expects Unicode, got a lone surrogate at position "
                f"{problem.start} of text {number}, {text[:40]!r}. Decode it as UTF-8 or UTF-16."
            ) from problem


def tokenise(
    texts: list[str],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    cache_dir: Path | None = None,
    prefix: str = "",
) -> Ragged:
    """Token ids of every text, ragged ``[texts, *]``, int32, with special tokens and ``prefix``.

    At most ``max_length`` each. Row 0 is padding without tokens. Raises ``ValueError`` if the
    tokenizer is not fast, ``max_length`` leaves no room for a word, or a text is refused.
    """
    if not tokenizer.is_fast:
        raise ValueError(
            f"tokenise expects a fast tokenizer, got {type(tokenizer).__name__}. "
            "Use a language model folder that has a tokenizer.json."
        )
    same = tokenizer.num_special_tokens_to_add()
    if prefix:
        # the texts' own truncation: a different one would change the tokenizer between calls
        how = {"add_special_tokens": False, "truncation": True, "max_length": max_length}
        same += len(tokenizer(prefix, **how)["input_ids"])
    if max_length <= same:  # all texts would be equal, or too long
        raise ValueError(
            f"tokenise expects a maximum length above the {same} tokens that every text has, "
            f"special ones and text_prefix, got {max_length}. Raise max_title_length or "
            "max_body_length."
        )
    check_texts(texts)
    if prefix:
        texts = [*texts[:1], *(prefix + text for text in texts[1:])]
    if cache_dir is None:  # for a few texts, a key costs more than it saves
        arrays = _token_arrays(texts, tokenizer, max_length)
    else:
        key = content_key([_rules(tokenizer), str(max_length), json.dumps(texts)])
        arrays = cached_arrays(
            cache_dir, "tokens", key, lambda: _token_arrays(texts, tokenizer, max_length)
        )
    return Ragged(arrays["values"], arrays["offsets"])


def _rules(tokenizer: PreTrainedTokenizerBase) -> str:
    """The tokenizer as json, without truncation and padding left from its last call."""
    rules = json.loads(tokenizer.backend_tokenizer.to_str())
    rules.update(truncation=tokenizer.truncation_side, padding=None)
    return json.dumps(rules)


def _token_arrays(texts: list[str], tokenizer: PreTrainedTokenizerBase, max_length: int) -> Arrays:
    parts = [Ragged.from_rows([[]], np.int32)]  # padding
    tokenizer("", truncation=True, max_length=max_length)  # stays set
    backend = tokenizer.backend_tokenizer
    starts: Iterable[int] = range(1, len(texts), TEXTS_AT_ONCE)
    if len(texts) > TEXTS_AT_ONCE:
        starts = progress_bar(starts, desc="Tokenise", unit=" texts", unit_scale=TEXTS_AT_ONCE)
    for start in starts:
        chunk = texts[start : start + TEXTS_AT_ONCE]
        rows = [each.ids for each in backend.encode_batch_fast(chunk)]
        parts.append(Ragged.from_rows(rows, np.int32))
    tokens = Ragged.concatenate(parts)
    return {"values": tokens.values, "offsets": tokens.offsets}
