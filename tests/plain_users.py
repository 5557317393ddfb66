"""Plain user encoders, one user at a time, click by click: the papers' equations as they stand.

Each takes the weights of a module by name and the vectors of a user's clicks, oldest first, without
any empty slot.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

Weights = Mapping[str, Tensor]


def part(weights: Weights, name: str) -> Weights:
    """The weights of a part, by their names in it."""
    return {k.removeprefix(f"{name}."): v for k, v in weights.items() if k.startswith(f"{name}.")}


def linear(weights: Weights, inputs: Tensor) -> Tensor:
    outputs = weights["weight"] @ inputs
    return outputs + weights["bias"] if "bias" in weights else outputs


def softmax(energies: list[Tensor]) -> list[Tensor]:
    highest = max(energies)  # else a large energy would be infinite
    total = sum((energy - highest).exp() for energy in energies)
    return [(energy - highest).exp() / total for energy in energies]


def weighted(shares: list[Tensor], inputs: list[Tensor]) -> Tensor:
    return sum(share * each for share, each in zip(shares, inputs, strict=True))


def attention_pooling(weights: Weights, inputs: list[Tensor]) -> Tensor:
    """``a_j = q . tanh(W x_j + b) + c``, ``sum_j softmax_j(a_j) x_j``."""
    project, query = part(weights, "projection"), part(weights, "query")
    energies = [linear(query, linear(project, each).tanh())[0] for each in inputs]
    return weighted(softmax(energies), inputs)


def gru(weights: Weights, inputs: list[Tensor], state: Tensor) -> Tensor:
    """The state after the last input; reset and update gate as torch defines them."""
    of_input = weights["weight_ih_l0"].chunk(3), weights["bias_ih_l0"].chunk(3)
    of_state = weights["weight_hh_l0"].chunk(3), weights["bias_hh_l0"].chunk(3)
    for each in inputs:
        reset_i, update_i, new_i = (w @ each + b for w, b in zip(*of_input, strict=True))
        reset_h, update_h, new_h = (w @ state + b for w, b in zip(*of_state, strict=True))
        reset, update = (reset_i + reset_h).sigmoid(), (update_i + update_h).sigmoid()
        state = (1 - update) * (new_i + reset * new_h).tanh() + update * state
    return state


def self_attention(weights: Weights, inputs: list[Tensor], heads: int) -> list[Tensor]:
    """Multi-head self-attention, head by head and input by input."""
    projections = weights["projections.weight"].chunk(3)
    queries, keys, values = ([matrix @ each for each in inputs] for matrix in projections)
    size = len(queries[0]) // heads
    outputs = []
    for query in queries:
        found = []
        for head in range(heads):
            own = slice(head * size, (head + 1) * size)
            shares = softmax([query[own] @ key[own] / size**0.5 for key in keys])
            found.append(weighted(shares, [value[own] for value in values]))
        outputs.append(torch.cat(found))
    return outputs


def lstur(
    weights: Weights, clicks: list[Tensor], user: int, combination: str, masked: bool = False
) -> Tensor:
    clicks = clicks or [weights["no_clicks.vector"]]
    long_term = weights["long_term.weight"][user]
    if masked:
        long_term = torch.zeros_like(long_term)
    network = part(weights, "short_term")
    if combination == "ini":
        return gru(network, clicks, long_term)
    return torch.cat([gru(network, clicks, torch.zeros_like(long_term)), long_term])


def cennewsrec(weights: Weights, clicks: list[Tensor], heads: int, recent: int) -> Tensor:
    if not clicks:
        return weights["no_clicks.vector"]
    attended = self_attention(part(weights, "self_attention"), clicks, heads)
    long_term = attention_pooling(part(weights, "pooling"), attended)
    short_term = gru(part(weights, "short_term"), clicks[-recent:], torch.zeros_like(long_term))
    return attention_pooling(part(weights, "combination"), [long_term, short_term])


def fastformer_layer(weights: Weights, inputs: list[Tensor]) -> list[Tensor]:
    queries = [linear(part(weights, "query"), each) for each in inputs]
    keys = [linear(part(weights, "key"), each) for each in inputs]
    heads, size = weights["query_weight"].shape
    mixed: list[list[Tensor]] = [[] for _ in inputs]
    for head in range(heads):
        own = slice(head * size, (head + 1) * size)
        q, k = [each[own] for each in queries], [each[own] for each in keys]
        alpha = softmax([weights["query_weight"][head] @ each / size**0.5 for each in q])
        products = [weighted(alpha, q) * each for each in k]
        beta = softmax([weights["key_weight"][head] @ each / size**0.5 for each in products])
        summary = weighted(beta, products)
        for row, value in zip(mixed, q, strict=True):  # values are the queries
            row.append(summary * value)
    output = part(weights, "output")
    return [
        linear(output, torch.cat(row)) + query for row, query in zip(mixed, queries, strict=True)
    ]


def fastformer(weights: Weights, clicks: list[Tensor], layers: int) -> Tensor:
    if not clicks:
        return weights["no_clicks.vector"]
    for _ in range(layers):
        clicks = fastformer_layer(part(weights, "attention"), clicks)
    return attention_pooling(part(weights, "pooling"), clicks)


def personalised(weights: Weights, inputs: list[Tensor], user: Tensor) -> Tensor:
    query = linear(part(weights, "preference"), user).clamp(min=0)
    compared = linear(part(weights, "projection"), query).tanh()
    return weighted(softmax([each @ compared for each in inputs]), inputs)


def interests(
    weights: Weights, clicks: list[Tensor], similarity: list[Tensor] | None = None
) -> list[Tensor]:
    """MINER's interest vectors of one user for one candidate."""
    projected = [linear(part(weights, "projection"), each).tanh() for each in clicks]
    added = similarity or [torch.zeros(()) for _ in clicks]
    return [
        weighted(
            softmax([code @ each + more for each, more in zip(projected, added, strict=True)]),
            clicks,
        )
        for code in weights["codes.weight"]
    ]


def gelu(inputs: Tensor) -> Tensor:
    return inputs * 0.5 * (1 + torch.erf(inputs / 2**0.5))


def matched(weights: Weights, vectors: list[Tensor], candidate: Tensor) -> Tensor:
    """MINER's score of one candidate."""
    target = gelu(linear(part(weights, "target"), candidate))
    shares = softmax([vector @ target for vector in vectors])
    return weighted(shares, [vector @ candidate for vector in vectors])


def alike(vectors: list[Tensor]) -> Tensor:
    """MINER's disagreement: the mean cosine of all pairs, each with itself included."""
    cosines = [a @ b / (a.norm() * b.norm()) for a in vectors for b in vectors]
    return sum(cosines) / len(vectors) ** 2


DIM, PEOPLE = 12, 5


def histories() -> tuple[Tensor, Tensor]:
    """Full, empty, one click, padded in front, and with an empty slot among the clicks."""
    clicked = torch.tensor(
        [
            [True, True, True, True, True, True],
            [False] * 6,
            [False] * 5 + [True],
            [False, False, True, True, True, True],
            [True, False, True, True, False, True],
        ]
    )
    history = torch.randn(5, 6, DIM, dtype=torch.float64) * clicked.unsqueeze(-1)
    return history, clicked


def random_weights(module: nn.Module) -> nn.Module:
    """The module in double precision, with no weight that happens to be zero."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    return module.double().eval()
