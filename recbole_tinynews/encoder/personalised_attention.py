"""NPA's attention: its query is made of the user's id."""

from __future__ import annotations

from torch import Tensor, nn

from recbole_tinynews.encoder.pooling import masked_softmax


class PersonalisedAttention(nn.Module):
    """Attention pooling whose query depends on the user.

    Wu et al., "NPA: Neural News Recommendation with Personalized Attention", KDD 2019, sections 3.1
    (words) and 3.2 (news)::

        q = ReLU(V e_u + v)     alpha_i = softmax_i(x_i . tanh(W q + b))     sum_i alpha_i x_i

    Args:
        dim: size of an input.
        user_dim: size of a user's vector ``e_u``.
        query_dim: size of the preference query q.
    """

    def __init__(self, dim: int, user_dim: int, query_dim: int) -> None:
        super().__init__()
        self.preference = nn.Linear(user_dim, query_dim)
        self.projection = nn.Linear(query_dim, dim)

    def queries(self, users: Tensor) -> Tensor:
        """What inputs are compared with, ``[..., user_dim]`` -> ``[..., dim]``."""
        return self.projection(self.preference(users).relu()).tanh()

    def forward(self, inputs: Tensor, mask: Tensor, queries: Tensor) -> Tensor:
        """Pooled inputs, ``[..., dim]``; zeros where no input takes part.

        Shapes:
            inputs: ``[..., length, dim]``.
            mask: ``[..., length]``, True where an input takes part.
            queries: ``[..., dim]``, of the user of each row.
        """
        energy = (inputs @ queries.to(inputs.dtype).unsqueeze(-1)).squeeze(-1)
        return (masked_softmax(energy, mask).unsqueeze(-2) @ inputs).squeeze(-2)
