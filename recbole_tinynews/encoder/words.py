"""Encoders before language models: a tokenizer by words, word vectors, context, pooling.

Word vectors are read in GloVe's text format: a word and its numbers on each line.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from logging import getLogger
from operator import itemgetter
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from recbole_tinynews.data.news_text import check_texts
from recbole_tinynews.encoder.attention import Dropout
from recbole_tinynews.encoder.hidden_states import StateRecorder
from recbole_tinynews.encoder.packing import PackedTexts
from recbole_tinynews.encoder.plm_files import check_growth, read_pretrained
from recbole_tinynews.encoder.pooling import AttentionPooling, SelfAttention, UnitDense, pool_texts
from recbole_tinynews.encoder.text_encoder import EncodedTexts, TextVectors
from recbole_tinynews.files.array_cache import Arrays, cached_arrays, content_key
from recbole_tinynews.files.lines import read_lines
from recbole_tinynews.files.whole import whole_folder

PADDING, UNKNOWN = "[PAD]", "[UNK]"  # ids 0 and 1
# split as in GloVe: do n't, Trump 's; each punctuation mark is a word
WORD = r"\w+(?=n't\b)|n't\b|'(?:s|re|ve|ll|d|m)\b|\w+|[^\w\s]"
ALL_WORDS = 2**31 - 1
RANDOM_SPREAD = 0.4  # standard deviation of random vectors


def word_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerBase:
    """A tokenizer by lower-cased words, ordered by frequency, then alphabetically.

    >>> words = word_tokenizer(["Don't panic", "It's only panic."])
    >>> words.convert_ids_to_tokens(words("Don't PANIC, it's only rain")["input_ids"])
    ['do', "n't", 'panic', '[UNK]', 'it', "'s", 'only', '[UNK]']
    """
    texts = list(texts)
    check_texts(texts)
    tokenizer = Tokenizer(models.WordLevel({}, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace("\u2019", "'"), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(WORD), "removed", invert=True)
    trainer = trainers.WordLevelTrainer(vocab_size=ALL_WORDS, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    known = sorted(tokenizer.get_vocab().items(), key=itemgetter(1))
    # added afterwards, so that texts that spell them out do not get their ids
    vocabulary = [PADDING, UNKNOWN, *(word for word, _ in known)]
    numbered = {word: number for number, word in enumerate(vocabulary)}
    tokenizer.model = models.WordLevel(numbered, unk_token=UNKNOWN)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def vocabulary_of(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """The words by id, including padding and the unknown word."""
    words: Any = tokenizer.convert_ids_to_tokens([*range(len(tokenizer))])
    return words


def write_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Save a tokenizer in ``folder``, all or nothing; an existing folder is kept."""
    if folder.is_dir():
        return
    written = copy.deepcopy(tokenizer)
    written.backend_tokenizer.no_truncation()  # left set by its last call
    written.backend_tokenizer.no_padding()
    with whole_folder(folder, first_wins=True) as unfinished:
        written.save_pretrained(unfinished)


def load_word_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Load ``write_tokenizer``'s files; ``ValueError`` if damaged or inflating texts."""
    tokenizer = read_pretrained(PreTrainedTokenizerFast, str(folder), "tokenizer by words")
    check_growth(tokenizer, str(folder))
    return tokenizer


def word_embedding(
    tokenizer: PreTrainedTokenizerBase,
    dim: int,
    file: Path | None = None,
    cache_dir: Path | None = None,
) -> nn.Embedding:
    """Trainable vectors of a tokenizer's words, ``[words, dim]``; zero for the unknown word.

    Words missing from ``file`` (GloVe's format, see ``vectors_of``) start at random, with the mean
    and spread of the others. Raises ``FileNotFoundError``, or ``ValueError`` if it does not fit.
    """
    words = vocabulary_of(tokenizer)
    embedding = nn.Embedding(len(words), dim, padding_idx=0)
    nn.init.normal_(embedding.weight, std=RANDOM_SPREAD)
    with torch.no_grad():
        if file is not None:
            _put_vectors(embedding, words, file, cache_dir)
        embedding.weight[: len((PADDING, UNKNOWN))] = 0
    return embedding


def _put_vectors(
    embedding: nn.Embedding, words: list[str], file: Path, cache_dir: Path | None
) -> None:
    dim = embedding.embedding_dim
    key = content_key([json.dumps([words, dim]), content_key([file])])
    arrays = cached_arrays(cache_dir, "word-vectors", key, lambda: vectors_of(words, file, dim))
    rows = torch.tensor(arrays["rows"])
    found = torch.tensor(arrays["vectors"])
    getLogger().info(f"{file} has vectors of {len(rows):,} of the {len(words):,} words.")
    spread = found.std(unbiased=False) / RANDOM_SPREAD
    embedding.weight.mul_(spread).add_(found.mean(dim=0))
    embedding.weight[rows] = found


WINDOW = 3  # width of filters, in words


class WordEncoder(TextVectors):
    """The text encoder of NRMS, NAML and others before language models, fully trained.

    ``context`` maps ``(hidden [tokens, word_dim], texts)`` to ``[tokens, dim]``, and ``pooling``
    these to ``[texts, size]``. With ``identity_head``, a text starts as the mean of its word
    vectors (``UnitDense``), to which the pooled text is added with a weight from 0.
    """

    def __init__(
        self,
        words: nn.Embedding,
        context: nn.Module,
        pooling: nn.Module,
        dropout: float,
        identity_head: bool = False,
    ) -> None:
        super().__init__()
        self.words, self.dropout = words, Dropout(dropout)
        self.context: Any = context
        self.pooling: Any = pooling
        self.unit_dense: UnitDense | None = None
        if identity_head:
            self.unit_dense = UnitDense(words.embedding_dim, cast("Any", pooling).dim)
            self.own_weight = nn.Parameter(torch.tensor(0.0))

    def encode(
        self,
        texts: PackedTexts,
        frozen: Tensor | None = None,
        recorder: StateRecorder | None = None,
    ) -> EncodedTexts:
        """Encodings of a row of texts, in its order; no layer is frozen or recorded."""
        vectors = self.words(texts.token_ids)
        if torch.is_grad_enabled():
            self.trained_texts += len(texts.pack.members)
            self.trained_tokens += len(vectors)
        words = self.dropout(vectors.to(self.compute_dtype()))
        pooled = self.pooling(self.dropout(self.context(words, texts)), texts)
        if self.unit_dense is None:
            return EncodedTexts(pooled, pooled)
        mean = pool_texts(None, vectors, texts, masked=True)
        return EncodedTexts(mean, self.unit_dense(mean) + self.own_weight * pooled)

    def zeros(self, texts: int) -> Tensor:
        """Vectors of empty texts, ``[texts, size]``."""
        return self.words.weight.new_zeros(texts, self.pooling.dim)

    def width(self) -> int:
        """Numbers per token in its widest layer: CNN windows, or queries, keys and values."""
        return 3 * max(self.words.embedding_dim, self.context.dim)

    def identity_heads(self) -> Iterator[UnitDense]:
        """Its one."""
        if self.unit_dense is not None:
            yield self.unit_dense

    def content(self) -> Iterator[str | bytes]:
        """Everything that determines a vector."""
        yield f"{type(self.context).__name__} {type(self.pooling).__name__}"
        yield from super().content()


class WordSelfAttention(nn.Module):
    """NRMS: each word attends to all words of its text."""

    def __init__(self, in_dim: int, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.attention = SelfAttention(in_dim, dim)

    def forward(self, hidden: Tensor, texts: PackedTexts) -> Tensor:
        """``[tokens, in_dim]`` -> ``[tokens, dim]``."""
        return self.attention.within_texts(hidden, texts)


class WordCNN(nn.Module):
    """NAML: ``c_i = ReLU(F e_(i-1):(i+1) + b)``, with zeros beyond the ends of a text."""

    def __init__(self, in_dim: int, filters: int) -> None:
        super().__init__()
        self.dim = filters
        self.filters = nn.Linear(WINDOW * in_dim, filters)

    def forward(self, hidden: Tensor, texts: PackedTexts) -> Tensor:
        """``[tokens, in_dim]`` -> ``[tokens, filters]``."""
        first = (texts.positions == 0)[:, None]
        before = hidden.roll(1, 0).masked_fill(first, 0)
        after = hidden.roll(-1, 0).masked_fill(first.roll(-1, 0), 0)
        return self.filters(torch.cat([before, hidden, after], dim=1)).relu()


class WordPooling(nn.Module):
    """Additive attention over the words of each text."""

    def __init__(self, dim: int, query_dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.attention = AttentionPooling(dim, query_dim)

    def forward(self, hidden: Tensor, texts: PackedTexts) -> Tensor:
        """``[tokens, dim]`` -> ``[texts, dim]``."""
        return pool_texts(self.attention, hidden, texts, masked=True)


def vectors_of(words: Sequence[str], file: Path, dim: int) -> Arrays:
    """Ascending ``rows`` of words found, ``vectors [found, dim]``; ``ValueError`` if none."""
    found = np.zeros((len(words), dim), dtype=np.float32)
    missing = {word: row for row, word in enumerate(words)}
    for number, line in enumerate(read_lines(file), start=1):
        row = missing.get(line.partition(" ")[0])
        if row is None:
            continue
        word, *numbers = line.rstrip().rsplit(" ", dim)
        further = word.split(" ")[1:]
        if further and _finite(further) is None:  # a few words of GloVe's contain spaces
            continue
        numbers = further + numbers
        if number == 1 and _is_header(numbers):
            continue
        found[row] = _vector(numbers, dim, file, number)
        del missing[words[row]]
    rows = np.setdiff1d(np.arange(len(words)), np.array([*missing.values()], dtype=np.int64))
    if not len(rows):
        raise ValueError(
            f"{file} expects vectors of words of the data set, in lower case and in its language, "
            f"got none of these {len(words):,} words. Name another file, or leave word_vectors out."
        )
    return {"rows": rows, "vectors": found[rows]}


def size_of_vectors(file: Path) -> int:
    """Size of a file's vectors; ``FileNotFoundError``, or ``ValueError`` if it has none."""
    for number, line in enumerate(islice(read_lines(file), 2), start=1):
        numbers = line.rstrip().split(" ")[1:]
        if number == 1 and _is_header(numbers):
            continue
        return len(_vector(numbers, len(numbers), file, number))
    raise ValueError(f"{file} expects a word and its numbers on each line, got no such line.")


def _is_header(numbers: list[str]) -> bool:
    return len(numbers) == 1


def _finite(texts: list[str]) -> NDArray[np.float32] | None:
    """The numbers in the texts; None unless all are finite."""
    try:
        numbers = np.array(texts, dtype=np.float32)
    except ValueError:
        return None
    return numbers if np.isfinite(numbers).all() else None


def _vector(numbers: list[str], dim: int, file: Path, line: int) -> NDArray[np.float32]:
    vector = _finite(numbers)
    if vector is None or len(vector) != dim:
        raise ValueError(
            f"{file}, line {line}, expects a word and {dim} numbers with spaces between them, got "
            f"{len(numbers)} values that begin with {' '.join(numbers)[:40]!r}. Set word_dim to "
            "the size of its vectors, or repair the line."
        )
    return vector
