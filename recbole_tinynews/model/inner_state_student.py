"""Students that imitate the hidden states and attention of their teachers, besides the scores."""

from __future__ import annotations

from collections.abc import Iterator

from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_tinynews.distillation.hidden import layer_pairs
from recbole_tinynews.distillation.inner_states import Compared
from recbole_tinynews.encoder.layers import shown_by
from recbole_tinynews.encoder.news_encoder import NewsEncoder
from recbole_tinynews.encoder.plm_files import plm_size
from recbole_tinynews.encoder.states import Taps
from recbole_tinynews.model.student import Student
from recbole_tinynews.model.text_encoders import plm_depth, plm_source
from recbole_tinynews.settings.protocol import Settings

# Settings on which the tokens depend
SHARED = ("news_text", "max_title_length", "max_abstract_length", "mask_padding_in_news_pooling")


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
            layer_pairs(plm_depth(config), plm_depth(teacher), config["layer_mapping"])
        except ValueError as mistake:
            yield str(mistake)
        yield from _unobservable(cls, config, teacher)
        for name in () if cls.makes_teachers else SHARED:
            if teacher[name] != config[name]:
                yield (
                    f"{cls.teacher_stage}_{name} expects {config[name]}, as the student has, got "
                    f"{teacher[name]}: their states are compared token by token. Set both equal"
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
        pairs = layer_pairs(encoder.depth, plm_depth(teacher), config["layer_mapping"])
        learning = [pair for pair in pairs if pair.student > encoder.first_trained]
        width = plm_size(plm_source(teacher)).hidden
        return Compared(learning, encoder.embeddings_train, encoder.hidden_size, width)

    def calculate_loss(self, interaction: Interaction) -> tuple[Tensor, ...]:
        """Weighted loss terms by name, each the mean over the batch."""
        return self.losses(self.score(interaction, self.distillation.student_taps), interaction)


def _unobservable(
    student: type[InnerStateStudent], config: Settings, teacher: Settings
) -> Iterator[str]:
    """Errors for language models that do not expose the states compared."""
    compared = {name for name in student.learnt_losses() if config[f"{name}_loss_weight"]}
    if not config["finetune_layers"] or not compared & {"hidden", "attention"}:
        return
    taps = Taps(frozenset({1}), frozenset({1} if "attention" in compared else ()))
    for plm, source in {each["plm"]: plm_source(each) for each in (config, teacher)}.items():
        refusal = shown_by(source).refusal(taps, plm)
        if refusal is not None:
            yield refusal.removesuffix(".")
