"""Students that imitate hidden states: their losses, and what they ask teachers for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from eager import Reference
from recbole.data.interaction import Interaction
from tiny import EMPTY_TITLE, LONG_TITLE, SHORT_TITLE, Tiny, World, write_bert
from torch import Tensor
from torch.nn import functional as F

from recbole_tinynews.data.fields import TEACHERS
from recbole_tinynews.distillation.teachers import FrozenTeachers
from recbole_tinynews.encoder.hidden_states import StateRequest

EXACT = {"rtol": 1e-9, "atol": 1e-9}
STUDENTS = ["TinyBERT", "TinyBERTMT", "MTBERT"]
HISTORY = torch.tensor([[0, 0, 5, LONG_TITLE], [0, 0, 0, 0], [0, 0, 0, EMPTY_TITLE]])
CANDIDATES = torch.tensor([[SHORT_TITLE, 9, 5, 9], [10, 11, 12, 13], [9, LONG_TITLE, 14, 15]])
LABEL = torch.zeros(len(HISTORY), dtype=torch.long)
WIDE = {"finetune_teacher_plm": "wide"}  # a folder that the test writes
DISTINCT = [EMPTY_TITLE, LONG_TITLE, SHORT_TITLE, 5, *range(9, 16)]


def labelled(world: World) -> tuple[Interaction, FrozenTeachers]:
    trainer = world.trainer()
    trainer.teachers.to(next(world.model.parameters()).dtype)
    fields = {"history": HISTORY.clone(), "candidates": CANDIDATES, "label": LABEL}
    return trainer.prepare(Interaction(fields)), trainer.teachers


def of_texts(reference: Reference) -> tuple[list[Tensor], list[Tensor]]:
    """Hidden states and attention scores by layer, over the distinct texts of the batch."""
    each = [reference.states(text) for text in DISTINCT]
    return (
        [torch.cat(layer) for layer in zip(*(hidden for hidden, _, _ in each), strict=True)],
        [torch.cat(layer) for layer in zip(*(scores for _, scores, _ in each), strict=True)],
    )


def soft_label(own: Tensor, teacher: Tensor, t: float) -> Tensor:
    return -((teacher / t).softmax(-1) * (own / t).log_softmax(-1)).sum(-1) * t**2


def mapped(state: Tensor, loss: Any) -> Tensor:
    """A student's state in the space of its teacher."""
    return state if loss.projection is None else state @ loss.projection.weight.T


def by_the_formulas(
    world: World, batch: Interaction, teachers: FrozenTeachers, pairs: Any
) -> tuple[dict[str, Tensor], Reference]:
    """The losses, from padded texts in transformers' own code and the documented layer pairs."""
    own = Reference(world.model.news_encoder, world.config["plm"])
    distillation = world.model.distillation
    plm = world.config.for_stage("finetune_teacher")["plm"]
    hidden, attention = of_texts(own)
    scores = world.model.score(batch).scores
    losses = dict.fromkeys(("distillation", "hidden", "attention", "embedding"), 0.0)
    count = len(teachers.members)
    for number, teacher in enumerate(teachers.members):
        with torch.no_grad():
            of_teacher, looked_at = of_texts(Reference(teacher.news_encoder, plm))
        labels = batch[TEACHERS][number].scores
        soft = soft_label(scores, labels, world.config["temperature"])
        if type(world.model).__name__ == "MTBERT":
            error = F.cross_entropy(labels, LABEL, reduction="none")
            losses["distillation"] += (soft / (1 + error)).mean()
            for pair, (m, g) in enumerate(pairs):
                matrix = distillation.hidden[number].projections[pair].weight
                losses["hidden"] += ((of_teacher[g] @ matrix.T - hidden[m]) ** 2).mean()
            continue
        losses["distillation"] += soft.mean() / count
        for m, g in pairs:
            state = mapped(hidden[m], distillation.hidden[number])
            losses["hidden"] += ((state - of_teacher[g]) ** 2).mean() / count
            squares = (attention[m - 1] - looked_at[g - 1]) ** 2
            losses["attention"] += squares.mean(0).mean() / count  # heads come last
        if "embedding" in distillation._modules:
            state = mapped(hidden[0], distillation.embedding[number])
            losses["embedding"] += ((state - of_teacher[0]) ** 2).mean() / count
    return {**losses, "target": F.cross_entropy(scores, LABEL)}, own


@pytest.mark.parametrize(
    ("name", "settings", "pairs"),
    [
        *((name, {"finetune_layers": "all"}, [(1, 2), (2, 3)]) for name in STUDENTS),
        ("TinyBERT", {"finetune_layers": 2, "layer_mapping": "last"}, [(1, 2), (2, 3)]),
        ("TinyBERTMT", {"num_hidden_layers": 1}, [(1, 3)]),
        ("MTBERT", {"temperature": 3.0}, [(2, 3)]),
        *(
            (name, {**WIDE, "finetune_layers": "all", "temperature": 3.0}, [(1, 2), (2, 3)])
            for name in STUDENTS
        ),
        *(
            (name, {"finetune_layers": 1, "mask_padding_in_news_pooling": False}, [(2, 3)])
            for name in ("TinyBERTMT", "MTBERT")
        ),
    ],
    ids=str,
)
def test_losses_equal_those_of_padded_texts_in_transformers_own_code(
    tiny: Tiny, tmp_path: Path, name: str, settings, pairs
) -> None:
    """Other tokens, layers or heads would give a loss of the right shape that falls too."""
    if "finetune_teacher_plm" in settings:
        write_bert(tmp_path / "wide", hidden_size=48)
    world = tiny.world(name, **settings)
    world.model.double().train()
    batch, teachers = labelled(world)
    losses = world.model.calculate_loss(batch)
    expected, own = by_the_formulas(world, batch, teachers, pairs)
    unlearnt = {"embedding"} if settings.get("finetune_layers") != "all" else set()
    unlearnt |= {"attention", "embedding"} if name == "MTBERT" else set()
    assert set(losses._fields) == expected.keys() - unlearnt
    for field, value in losses._asdict().items():
        torch.testing.assert_close(value, expected[field], **EXACT)
    projections = [*world.model.distillation.parameters()]
    # of MT-BERT none is shared; others have them for hidden states and embeddings of other widths
    of_teacher = len(pairs) if name == "MTBERT" else 2 * ("finetune_teacher_plm" in settings)
    assert len(projections) == len(teachers.members) * of_teacher
    if settings.get("finetune_layers") == "all":
        inner = [field for field in ("hidden", "attention", "embedding") if field in losses._fields]
        sum(getattr(losses, field) for field in inner).backward()
        sum(expected[field] for field in inner).backward()
        for parameter, plain in own.plm.named_parameters():
            gradient = world.model.news_encoder.text_encoder.plm.get_parameter(parameter).grad
            if plain.grad is not None and plain.grad.abs().max() > EXACT["atol"]:
                torch.testing.assert_close(gradient, plain.grad, **EXACT)


@pytest.mark.parametrize("name", STUDENTS)
def test_stored_states_change_no_loss(tiny: Tiny, name: str) -> None:
    """Student and teachers read the last frozen state; a table of another would go unnoticed."""
    losses = []
    for use_cache in (False, True):
        settings = {"finetune_layers": 1, "layer_mapping": "uniform", "use_cache": use_cache}
        world = tiny.world(name, **settings)
        world.model.train()
        losses.append(world.model.calculate_loss(labelled(world)[0]))
        assert (world.model.news_encoder._frozen[0] is not None) == use_cache
    torch.testing.assert_close(*losses, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "asked"),
    [
        ({}, {3, 6}),
        ({"layer_mapping": "last"}, {5, 6}),
        ({"teacher_num_hidden_layers": 4}, {2, 4}),
        ({"finetune_layers": 1}, {6}),
    ],
    ids=str,
)
@pytest.mark.parametrize("name", STUDENTS)
def test_settings_choose_the_layers_that_are_compared(
    tiny: Tiny, tmp_path: Path, name: str, settings, asked
) -> None:
    """For two layers of six the mappings differ; teachers may have fewer layers too."""
    deep = tiny._replace(plm=write_bert(tmp_path / "deep", layers=6))
    model = deep.world(name, **{"finetune_layers": 2, **settings}).model
    assert model.teacher_states.hidden == asked
    assert model.teacher_states.attention == (set() if name == "MTBERT" else asked)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [({"hidden_loss_weight": 0}, []), ({}, [StateRequest(hidden=frozenset({3}))])],
)
def test_teachers_are_asked_only_for_the_layers_that_learn(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], expected: list
) -> None:
    """Soft labels alone are read from a table; running twelve layers in each step is waste."""
    world = tiny.world("TinyBERT", finetune_layers=1, attention_loss_weight=0, **settings)
    trainer = world.trainer()
    encoder, asked = trainer.teachers.members[0].news_encoder, []
    plain = encoder.record_states
    monkeypatch.setattr(encoder, "record_states", lambda taps: asked.append(taps) or plain(taps))
    trainer.prepare(world.clicks().collate_fn([0, 1]))
    assert asked == expected


def test_teachers_that_reuse_vectors_are_tapped_for_every_text(tiny: Tiny) -> None:
    """A vector of an earlier step has no states to compare with the student's."""
    world = tiny.world("TinyBERT", finetune_teacher_history_cache_steps=5)
    trainer = world.trainer()
    for _ in range(2):
        batch = trainer.prepare(world.clicks().collate_fn([0, 1, 2]))
        assert len(batch[TEACHERS][0].states.ids) > 3
        assert world.model.calculate_loss(batch).hidden.isfinite()


def test_teachers_that_read_other_tokens_are_refused_with_the_trainer(tiny: Tiny) -> None:
    """With another length, all rows after the first long title are compared with other tokens."""
    others = tiny.world("TinyBERT", max_title_length=7).teachers()
    with pytest.raises(ValueError, match=r"teacher 0 reads others.*max_title_length"):
        tiny.world("TinyBERT").trainer(teachers=others)
    of_scores = {"hidden_loss_weight": 0, "attention_loss_weight": 0, "embedding_loss_weight": 0}
    assert tiny.world("TinyBERT", **of_scores).trainer(teachers=others).teachers is others
