"""Conditional logit: a softmax over the candidates of each impression, linear in their features."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from recbole_tinynews.data.ragged import Ragged


def fit_conditional_logit(
    features: NDArray[np.floating],
    labels: NDArray[np.integer],
    offsets: NDArray[np.int64],
    penalty: float = 1e-4,
) -> NDArray[np.float64]:
    """Weights that maximise the likelihood of the clicks, ``[features]``, by L-BFGS.

    The loss is the mean over impressions plus ``penalty`` times the squared norm of the weights.
    An impression's target is spread over its clicks; ``ValueError`` if none has clicks and others.
    ``features`` are ``[candidates, features]``, to be standardised; ``labels`` ``[candidates]``, 1
    where clicked; ``offsets`` ``[impressions + 1]``, bounds of the impressions.
    """
    clicked = (labels == 1).astype(np.float64)
    every = Ragged(clicked, offsets)
    clicks = np.add.reduceat(np.append(clicked, 0), offsets[:-1]) * (every.lengths > 0)
    mixed = np.flatnonzero((clicks > 0) & (clicks < every.lengths))
    if not len(mixed):
        raise ValueError(
            "A conditional logit expects impressions with clicked and unclicked candidates, got "
            "none. Check the labels of the training impressions."
        )
    places = every.positions(mixed)
    sizes = every.lengths_of(mixed)
    starts = np.cumsum(sizes) - sizes
    x = np.asarray(features, np.float64)[places]
    target = clicked[places] / np.repeat(clicks[mixed], sizes)

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        scores = x @ weights
        scores -= np.repeat(np.maximum.reduceat(scores, starts), sizes)
        exponentials = np.exp(scores)
        totals = np.add.reduceat(exponentials, starts)
        log_likelihood = target @ scores - np.log(totals).sum()
        residual = exponentials / np.repeat(totals, sizes) - target
        gradient = residual @ x / len(mixed) + 2 * penalty * weights
        return -log_likelihood / len(mixed) + penalty * float(weights @ weights), gradient

    options = {"maxiter": 500, "ftol": 1e-12, "gtol": 1e-8}
    return minimize(loss, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B", options=options).x
