"""TinyBERT's distillation from one teacher, or uniformly from several."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_tinynews.distillation.attention import attention_loss
from recbole_tinynews.distillation.hidden import HiddenStateLoss
from recbole_tinynews.distillation.inner_states import Seen, check_teachers
from recbole_tinynews.distillation.layer_mapping import LayerPair
from recbole_tinynews.distillation.soft_label import SoftLabelLoss
from recbole_tinynews.distillation.states import Taps
from recbole_tinynews.distillation.summands import summands


class TinyBERTDistillation(nn.Module):
    """``(1/M) sum_i [L_pred + L_hidn + L_attn + L_embd](student, t_i) + CE(z_s, y)``.

    Each has a weight. The terms are TinyBERT's (Jiao et al., Findings of EMNLP 2020), in one joint
    loss; the uniform mean over M teachers is our definition, and with M = 1 it is TinyBERT itself.
    ``L_pred`` has the factor ``T ** 2`` (our definition; the same at T = 1).

    Args:
        teachers: M.
        pairs: of the layers that are compared. Leave out those whose layer of the student does not
            train: they would add a constant.
        embeddings_train: whether the embedding outputs are compared, for the same reason.
        student_dim: width of the student's hidden states.
        teacher_dim: width of a teacher's; a projection is learnt where it is another.
        temperature: T of the soft labels.
        distillation_weight: of the soft-label loss ``distillation``; 0 removes it.
        hidden_weight: of the ``hidden`` loss; 0 removes it.
        attention_weight: of the ``attention`` loss; 0 removes it.
        embedding_weight: of the ``embedding`` loss; 0 removes it.
        target_weight: of the ``target`` loss; 0 removes it.
    """

    def __init__(
        self,
        teachers: int,
        pairs: Sequence[LayerPair],
        embeddings_train: bool,
        student_dim: int,
        teacher_dim: int,
        temperature: float = 1.0,
        distillation_weight: float = 1.0,
        hidden_weight: float = 1.0,
        attention_weight: float = 1.0,
        embedding_weight: float = 1.0,
        target_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.teachers, self.pairs = teachers, tuple(pairs)
        self.soft_label = SoftLabelLoss(temperature)
        self.distillation_weight, self.target_weight = distillation_weight, target_weight
        self.hidden_weight = hidden_weight if pairs else 0.0
        self.attention_weight = attention_weight if pairs else 0.0
        self.embedding_weight = embedding_weight if embeddings_train else 0.0
        if not any((distillation_weight, target_weight, *self._inner_weights())):
            raise ValueError(
                "TinyBERTDistillation expects at least one loss whose weight is not 0 and which "
                "depends on a layer that trains, got none. Raise distillation_loss_weight or "
                "target_loss_weight, or train more layers (finetune_layers)."
            )
        dims = student_dim, teacher_dim
        if self.hidden_weight:
            self.hidden = _of_each_teacher(teachers, self.pairs, *dims)
        if self.embedding_weight:
            self.embedding = _of_each_teacher(teachers, (LayerPair(0, 0),), *dims)

    def _inner_weights(self) -> tuple[float, float, float]:
        return self.hidden_weight, self.attention_weight, self.embedding_weight

    @property
    def student_taps(self) -> Taps:
        """What it needs of the student's inner states."""
        return self._taps([pair.student for pair in self.pairs])

    @property
    def teacher_taps(self) -> Taps:
        """What it needs of a teacher's."""
        return self._taps([pair.teacher for pair in self.pairs])

    def _taps(self, layers: list[int]) -> Taps:
        hidden = layers if self.hidden_weight else []
        embedding = [0] if self.embedding_weight else []
        attention = layers if self.attention_weight else []
        return Taps(frozenset([*embedding, *hidden]), frozenset(attention))

    def forward(self, student: Seen, teachers: Sequence[Seen], label: Tensor) -> tuple[Tensor, ...]:
        """Each summand by name: those whose weight is not 0, and no other.

        Shapes:
            label: ``[batch]``, the place of the clicked candidate.
        """
        check_teachers("TinyBERTDistillation", student, teachers, self.teachers)
        own = student.states
        losses: dict[str, Tensor] = {}
        if self.distillation_weight:
            of_labels = [self.soft_label(student.scores, each.scores) for each in teachers]
            losses["distillation"] = self.distillation_weight * _mean(of_labels)
        if self.hidden_weight:
            of_hidden = [
                compare(own.hidden, each.states.hidden)
                for compare, each in zip(self.hidden, teachers, strict=True)
            ]
            losses["hidden"] = self.hidden_weight * _mean(of_hidden)
        if self.attention_weight:
            of_attention = [
                attention_loss(own.attention, each.states.attention, self.pairs)
                for each in teachers
            ]
            losses["attention"] = self.attention_weight * _mean(of_attention)
        if self.embedding_weight:
            of_embedding = [
                compare(own.hidden, each.states.hidden)
                for compare, each in zip(self.embedding, teachers, strict=True)
            ]
            losses["embedding"] = self.embedding_weight * _mean(of_embedding)
        if self.target_weight:
            losses["target"] = self.target_weight * F.cross_entropy(student.scores, label)
        return summands(losses)


def _of_each_teacher(teachers: int, pairs: tuple[LayerPair, ...], *dims: int) -> nn.ModuleList:
    return nn.ModuleList(HiddenStateLoss(pairs, *dims) for _ in range(teachers))


def _mean(losses: list[Tensor]) -> Tensor:
    return torch.stack(losses).mean()
