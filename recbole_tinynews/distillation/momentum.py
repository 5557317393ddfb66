"""Momentum distillation: mix the teachers' gradients into the student's."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from recbole_tinynews.distillation.layer_mapping import LayerPair


@torch.no_grad()
def add_momentum(
    student: Sequence[nn.Module],
    teachers: Sequence[Sequence[nn.Module]],
    pairs: Sequence[LayerPair],
    beta: float,
) -> None:
    """``g^s_i <- beta g^t_i + (1 - beta) g^s_i`` in place, for the gradients of each layer.

    NewsBERT (Wu et al., Findings of EMNLP 2021). ``g^t_i`` is the mean over layers
    ``g(i-1) + 1 .. g(i)`` of all teachers that have gradients; without any, or without one of the
    student's, nothing changes (our definition). Layers are built alike, ``pairs`` in order.
    """
    before = 0
    for layer, pair in zip(student, pairs, strict=True):
        belonging = [each for layers in teachers for each in layers[before : pair.teacher]]
        before = pair.teacher
        for name, parameter in layer.named_parameters():
            found = [each.get_parameter(name).grad for each in belonging]
            gradients = [gradient for gradient in found if gradient is not None]
            if parameter.grad is not None and gradients:
                parameter.grad.lerp_(torch.stack(gradients).mean(dim=0), beta)
