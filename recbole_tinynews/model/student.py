"""What a student of several teachers reads from its settings and from a labelled batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recbole.data.interaction import Interaction

from recbole_tinynews.distillation.frozen_teachers import TeacherLabels
from recbole_tinynews.distillation.layer_mapping import LayerPair, layer_pairs
from recbole_tinynews.distillation.tinynewsrec import (
    MultiTeacherDistillation,
    MultiTeacherWeights,
)
from recbole_tinynews.encoder.language_model import locate_plm, plm_size


def make_distillation(config: Any, teacher_dim: int) -> MultiTeacherDistillation:
    """The distillation losses with the weights that the settings give them."""
    return MultiTeacherDistillation(
        config["num_teachers"],
        teacher_dim,
        config["news_dim"],
        temperature=config["temperature"],
        weights=loss_weights(config, MultiTeacherWeights),
        shared_projection=config["shared_projection"],
    )


def loss_weights(config: Any, kind: Any) -> Any:
    """The weights that the settings give to the losses of a distillation.

    Args:
        config: holds ``<loss>_loss_weight``.
        kind: a NamedTuple with the names of the losses.
    """
    return kind(*(config[f"{loss}_loss_weight"] for loss in kind._fields))


def paired_layers(config: Any, teacher: Any) -> list[LayerPair]:
    """Which layers belong together by the settings of student and teacher, before either is built.

    Raises:
        ValueError: ``layer_mapping`` finds no such layer in the teacher.
    """
    return layer_pairs(_depth(config), _depth(teacher), config["layer_mapping"])


def _depth(config: Any) -> int:
    source = locate_plm(config["plm"], [Path(config["data_path"])])
    return config["num_hidden_layers"] or plm_size(source).layers


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
