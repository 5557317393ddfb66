"""The news encoder of word vectors: news ids in, vectors of one text of each article out."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.encoder.cached_encoder import OneTextEncoder
from recbole_tinynews.encoder.column_tokenizer import ColumnTokenizer
from recbole_tinynews.encoder.packing import PackedTexts
from recbole_tinynews.encoder.planning import EncodingPlan, PlannedPack, Planner
from recbole_tinynews.encoder.words.word_encoder import WordEncoder
from recbole_tinynews.processes.group import ALONE, process_group


class WordNewsEncoder(OneTextEncoder):
    """A word encoder with the text of each news id.

    Args:
        text_encoder: turns words into vectors.
        tokens: ids of the words of each text, by news id; row 0 is empty.
        history_cache_steps: as in ``CachedEncoder``.
        tokenizer: as in ``OneTextEncoder``.
    """

    def __init__(
        self,
        text_encoder: WordEncoder,
        tokens: Ragged,
        history_cache_steps: int = 0,
        tokenizer: ColumnTokenizer | None = None,
    ) -> None:
        super().__init__(tokens, history_cache_steps, tokenizer)
        self.text_encoder = text_encoder

    def planner(self, shared: bool = False) -> Planner:
        """Makes plans for this encoder as it is now."""
        group = process_group() if shared else ALONE
        return Planner(
            self._number, self.tokens, self.pad_token_id, self.tokens_at_once(), group=group
        )

    def follow(self, plan: EncodingPlan) -> Tensor:
        """Vectors of the ids of a plan, ``[ids, news_dim]``."""
        return plan.joined([*map(self._encode, plan.packs)], self.zeros)

    def _encode(self, pack: PlannedPack) -> Tensor:
        return self._encode_texts(pack.texts)

    def _encode_texts(self, texts: PackedTexts) -> Tensor:
        return self.text_encoder.encode(texts)

    def _pooled(self, pack: PlannedPack) -> Tensor:
        return self.text_encoder.mean(pack.texts)

    def content(self) -> Iterator[str | bytes]:
        """All that decides a vector, for the key of a saved table of vectors."""
        yield f"words {self.text_encoder.compute_dtype()}"
        yield self.tokens.values.tobytes()
        yield self.tokens.offsets.tobytes()
        yield from self.text_encoder.content()
