"""NRMS's multi-head self-attention, over the words of texts or the clicks of users."""

from __future__ import annotations

from torch import Tensor, nn

from recbole_tinynews.encoder.attention import Rules, attend, attend_stacked
from recbole_tinynews.encoder.packing import PackedTexts

HEAD_DIM = 16  # NRMS (Wu et al., EMNLP 2019): 16 heads of 16 make a vector of 256


class SelfAttention(nn.Module):
    """``h_i = [h_i1; ...; h_iK]``, ``h_ik = V_k sum_j softmax_j(e_i Q_k e_j) e_j``, for K heads.

    As in the authors' code, ``Q_k`` is the scaled product of a query and a key matrix, and heads
    are not projected. Raises ``ValueError`` if ``dim`` is not a multiple of ``head_dim``.
    """

    def __init__(self, in_dim: int, dim: int, head_dim: int = HEAD_DIM) -> None:
        super().__init__()
        if dim % head_dim:
            raise ValueError(
                f"SelfAttention expects a size divisible by {head_dim}, the head size, got {dim}. "
                f"Set news_dim to a multiple of {head_dim}."
            )
        self.dim, self.split = dim, (3, dim // head_dim, head_dim)
        self.projections = nn.Linear(in_dim, 3 * dim, bias=False)  # queries, keys, values
        for weight in self.projections.weight.chunk(3):
            nn.init.xavier_uniform_(weight)

    def within_texts(self, hidden: Tensor, texts: PackedTexts) -> Tensor:
        """Attention within each text, ``[tokens, in_dim]`` -> ``[tokens, dim]``."""
        stacked = self.projections(hidden).unflatten(-1, self.split)
        return attend_stacked(stacked, texts, Rules(), None).flatten(1)

    def forward(self, inputs: Tensor, mask: Tensor) -> Tensor:
        """``[batch, length, in_dim]`` -> ``[batch, length, dim]``; arbitrary if fully masked."""
        # the softmax of a fully masked row would be NaN
        seen = (mask | ~mask.any(dim=-1, keepdim=True))[:, None, None, :]
        split = self.projections(inputs).unflatten(-1, self.split)
        queries, keys, values = (part.transpose(1, 2) for part in split.unbind(2))
        return attend(queries, keys, values, seen).transpose(1, 2).flatten(2)
