"""CenNewsRec's words in context: a CNN, then self-attention."""

from __future__ import annotations

from torch import Tensor, nn

from recbole_tinynews.encoder.packing import PackedTexts
from recbole_tinynews.encoder.self_attention import SelfAttention
from recbole_tinynews.encoder.words.context import WordCNN


class CNNSelfAttention(nn.Module):
    """``WordCNN``, then multi-head self-attention among the words of a text.

    Attributes:
        dim: size of an output, the number of filters.
    """

    def __init__(self, in_dim: int, dim: int, head_dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.cnn = WordCNN(in_dim, dim)
        self.self_attention = SelfAttention(dim, dim, head_dim)

    def forward(self, hidden: Tensor, texts: PackedTexts) -> Tensor:
        """``[tokens, in_dim]`` -> ``[tokens, dim]``."""
        return self.self_attention.within_texts(self.cnn(hidden, texts), texts)
