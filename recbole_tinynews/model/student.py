"""What a student of several teachers reads from its settings and from a labelled batch."""

from __future__ import annotations

from typing import Any

from recbole.data.interaction import Interaction

from recbole_tinynews.distillation.multi_teacher import MultiTeacherDistillation
from recbole_tinynews.distillation.teacher_ensemble import TeacherLabels


def make_distillation(config: Any, teacher_dim: int) -> MultiTeacherDistillation:
    """The distillation losses with the weights that the settings give them."""
    return MultiTeacherDistillation(
        config["num_teachers"],
        teacher_dim,
        config["news_dim"],
        temperature=config["temperature"],
        distillation_weight=config["distillation_loss_weight"],
        embedding_weight=config["embedding_loss_weight"],
        target_weight=config["target_loss_weight"],
        shared_projection=config["shared_projection"],
    )


def teacher_labels(interaction: Interaction) -> TeacherLabels:
    """The labels that the teachers have put into the batch.

    Raises:
        ValueError: no teacher has labelled it.
    """
    fields = [f"teacher_{name}" for name in TeacherLabels._fields]
    missing = [field for field in fields if field not in interaction]
    if missing:
        raise ValueError(
            "A student's loss expects a batch labelled by its teachers, got one without "
            f"{', '.join(missing)}. Train it with DistillationTrainer, or label batches "
            "with TeacherEnsemble.label."
        )
    return TeacherLabels(*(interaction[field] for field in fields))
