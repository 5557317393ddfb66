"""Students that imitate the hidden states and attention of their teachers, besides the scores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_tinynews.distillation.hidden import LayerPair, layer_pairs
from recbole_tinynews.encoder.layers import shown_by
from recbole_tinynews.encoder.news_encoder import NewsEncoder
from recbole_tinynews.encoder.plm_files import locate_plm, plm_size
from recbole_tinynews.encoder.states import Taps
from recbole_tinynews.model.student import Student
from recbole_tinynews.settings.protocol import Settings

# Settings on which the tokens depend
SHARED = ("news_text", "max_title_length", "max_abstract_length", "mask_padding_in_news_pooling")


class Compared(NamedTuple):
    """Layers to compare (frozen ones of the student are constant, so left out), and widths."""

    pairs: list[LayerPair]
    embeddings_train: bool
    student_dim: int
    teacher_dim: int


class InnerStateStudent(Student):
    """Base of students whose loss compares hidden states and attention (docs/method.md)."""

    needs_language_model = True
    news_encoder: NewsEncoder

    @classmethod
    def conflicting_settings(cls, config: Settings, prefix: str) -> Iterator[str]:
        """Also require inner states that can be compared."""
        yield from super().conflicting_settings(config, prefix)
        teacher = config.for_stage(cls.teacher_stage)
        try:
            _paired_layers(config, teacher)
        except ValueError as mistake:
            yield str(mistake)
        yield from _hidden_from(cls, config, teacher)
        for name in () if cls.makes_teachers else SHARED:
            if teacher[name] != config[name]:
                yield (
                    f"{cls.teacher_stage}_{name} expects {config[name]}, as the student has, got "
                    f"{teacher[name]}: their states are compared token by token. Set both alike"
                )
        if config["history_cache_steps"]:
            yield (
                f"{prefix}history_cache_steps expects 0, got {config['history_cache_steps']}: the "
                "inner states of all news of a batch are compared, and vectors of earlier steps "
                "have none"
            )

    def compared(self, config: Settings) -> Compared:
        """The layers that the losses compare, and their widths."""
        teacher = config.for_stage(self.teacher_stage)
        encoder = self.news_encoder.text_encoder
        size = plm_size(locate_plm(teacher["plm"], [Path(config["data_path"])]))
        pairs = layer_pairs(
            encoder.depth,
            teacher["num_hidden_layers"] or size.layers,
            config["layer_mapping"],
        )
        learning = [pair for pair in pairs if pair.student > encoder.first_trained]
        return Compared(learning, encoder.embeddings_train, encoder.hidden_size, size.hidden)

    def calculate_loss(self, interaction: Interaction) -> tuple[Tensor, ...]:
        """Weighted loss terms by name, each the mean over the batch."""
        return self.losses(self.score(interaction, self.distillation.student_taps), interaction)


def _hidden_from(
    student: type[InnerStateStudent], config: Settings, teacher: Settings
) -> Iterator[str]:
    """Errors for language models that hide the states compared."""
    compared = {name for name in student.learnt_losses() if config[f"{name}_loss_weight"]}
    if not config["finetune_layers"] or not compared & {"hidden", "attention"}:
        return
    taps = Taps(frozenset({1}), frozenset({1} if "attention" in compared else ()))
    for plm in dict.fromkeys((config["plm"], teacher["plm"])):
        refusal = shown_by(locate_plm(plm, [Path(config["data_path"])])).refusal(taps, plm)
        if refusal is not None:
            yield refusal.removesuffix(".")


def _paired_layers(config: Settings, teacher: Settings) -> list[LayerPair]:
    return layer_pairs(_depth(config), _depth(teacher), config["layer_mapping"])


def _depth(config: Settings) -> int:
    source = locate_plm(config["plm"], [Path(config["data_path"])])
    layers = config["num_hidden_layers"]
    return plm_size(source).layers if layers is None else layers
