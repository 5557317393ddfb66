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


def by_the_formulas(
    world: World, plm: Path, batch: Interaction, teachers: FrozenTeachers, pairs: Any
) -> tuple[dict[str, Tensor], Reference]:
    """The losses, from padded texts in transformers' own code and the documented layer pairs."""
    own = Reference(world.model.news_encoder, plm)
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
                matrix = world.model.distillation.hidden[number].projections[pair].weight
                losses["hidden"] += ((of_teacher[g] @ matrix.T - hidden[m]) ** 2).mean()
            continue
        losses["distillation"] += soft.mean() / count
        for m, g in pairs:
            losses["hidden"] += ((hidden[m] - of_teacher[g]) ** 2).mean() / count
            squares = (attention[m - 1] - looked_at[g - 1]) ** 2
            losses["attention"] += squares.mean(0).mean() / count  # heads come last
        losses["embedding"] += ((hidden[0] - of_teacher[0]) ** 2).mean() / count
    return {**losses, "target": F.cross_entropy(scores, LABEL)}, own


@pytest.mark.parametrize(
    ("name", "settings", "pairs"),
    [
        *((name, {"finetune_layers": "all"}, [(1, 2), (2, 3)]) for name in STUDENTS),
        ("TinyBERT", {"finetune_layers": 2, "layer_mapping": "last"}, [(1, 2), (2, 3)]),
        ("TinyBERTMT", {"num_hidden_layers": 1}, [(1, 3)]),
        ("MTBERT", {"temperature": 3.0}, [(2, 3)]),
        *(
            (name, {"finetune_layers": 1, "mask_padding_in_news_pooling": False}, [(2, 3)])
            for name in ("TinyBERTMT", "MTBERT")
        ),
    ],
    ids=str,
)
def test_losses_equal_those_of_padded_texts_in_transformers_own_code(
    tiny: Tiny, name: str, settings, pairs
) -> None:
    """Other tokens, layers or heads would give a loss of the right shape that falls too."""
    world = tiny.world(name, **settings)
    world.model.double().train()
    batch, teachers = labelled(world)
    losses = world.model.calculate_loss(batch)
    expected, own = by_the_formulas(world, tiny.plm, batch, teachers, pairs)
    unlearnt = {"embedding"} if settings.get("finetune_layers") != "all" else set()
    unlearnt |= {"attention", "embedding"} if name == "MTBERT" else set()
    assert set(losses._fields) == expected.keys() - unlearnt
    for field, value in losses._asdict().items():
        torch.testing.assert_close(value, expected[field], **EXACT)
    projections = [*world.model.distillation.parameters()]  # of MT-BERT none is shared
    assert len(projections) == len(teachers.members) * len(pairs) * (name == "MTBERT")
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


@pytest.mark.parametrize("name", ["TinyBERT", "TinyBERTMT"])
def test_a_student_that_is_its_teacher_has_nothing_to_imitate(tiny: Tiny, name: str) -> None:
    """A loss above 0 would be a difference between two code paths, and would be learned."""
    world = tiny.world(name, num_hidden_layers=3, finetune_layers="all", num_teachers=1)
    trainer = world.trainer()
    teacher = trainer.teachers.members[0].news_encoder
    for parameter in teacher.text_encoder.plm.parameters():
        parameter.add_(0.01 * torch.randn_like(parameter))
    batch = trainer.prepare(world.clicks().collate_fn([0, 1, 2]))
    before = world.model.train().calculate_loss(batch)
    assert min(before.hidden, before.attention, before.embedding) > 1e-6
    world.model.news_encoder.load_state_dict(teacher.state_dict())
    losses = world.model.calculate_loss(batch)
    assert max(losses.hidden, losses.attention, losses.embedding) < 1e-10


@pytest.mark.parametrize("name", STUDENTS)
def test_a_teacher_of_another_width_is_projected(tiny: Tiny, tmp_path: Path, name: str) -> None:
    """With a BERT-large teacher and a base student, the projection has to learn and be saved."""
    wide = write_bert(tmp_path / "wide", hidden_size=48)
    world = tiny.world(name, finetune_layers="all", finetune_teacher_plm=str(wide))
    losses = world.model.train().calculate_loss(world.clicked([0, 1, 2, 3]))
    sum(losses).backward()
    maps = {n: p for n, p in world.model.named_parameters() if n.startswith("distillation.")}
    assert {tuple(p.shape) for p in maps.values()} == {(32, 48) if name == "MTBERT" else (48, 32)}
    teachers = 1 if name == "TinyBERT" else 2
    assert len(maps) == 2 * teachers  # hidden and embedding, or one for each pair of layers
    assert all(parameter.grad.abs().sum() > 0 for parameter in maps.values())
    assert not any("plm" in n for n in maps)


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


def asked_of(teachers: FrozenTeachers, monkeypatch: pytest.MonkeyPatch) -> list[StateRequest]:
    """Record the taps with which the single teacher is run from now on."""
    encoder, asked = teachers.members[0].news_encoder, []
    plain = encoder.record_states
    monkeypatch.setattr(encoder, "record_states", lambda taps: asked.append(taps) or plain(taps))
    return asked


def test_a_teacher_that_is_not_needed_is_not_run(tiny: Tiny, monkeypatch) -> None:
    """Soft labels alone are read from a table; running twelve layers in each step is waste."""
    world = tiny.world("TinyBERT", hidden_loss_weight=0, attention_loss_weight=0)
    trainer = world.trainer()
    asked = asked_of(trainer.teachers, monkeypatch)
    losses = world.model.train().calculate_loss(trainer.prepare(world.clicks().collate_fn([0, 1])))
    assert losses._fields == ("distillation", "target")
    assert asked == []


def test_teachers_are_asked_only_for_the_layers_that_learn(tiny: Tiny, monkeypatch) -> None:
    world = tiny.world("TinyBERT", finetune_layers=1, attention_loss_weight=0)
    trainer = world.trainer()
    asked = asked_of(trainer.teachers, monkeypatch)
    trainer.prepare(world.clicks().collate_fn([0, 1]))
    assert asked == [StateRequest(hidden=frozenset({3}))]


def test_teachers_that_reuse_vectors_are_tapped_for_every_text(tiny: Tiny) -> None:
    """A vector of an earlier step has no states to compare with the student's."""
    world = tiny.world("TinyBERT", finetune_teacher_history_cache_steps=5)
    trainer = world.trainer()
    for _ in range(2):
        batch = trainer.prepare(world.clicks().collate_fn([0, 1, 2]))
        assert len(batch[TEACHERS][0].states.ids) > 3
        assert world.model.calculate_loss(batch).hidden.isfinite()


@pytest.mark.parametrize("name", STUDENTS)
def test_a_batch_without_hidden_states_is_refused(tiny: Tiny, name: str) -> None:
    """With scores alone, training would leave out the core of the method."""
    world = tiny.world(name)
    batch, teachers = labelled(world)
    batch[TEACHERS] = teachers.outputs(batch)
    with pytest.raises(ValueError, match="expects outputs with states"):
        world.model.calculate_loss(batch)
    with pytest.raises(ValueError, match=r"got one without. Train it with DistillationTrainer"):
        world.model.calculate_loss(world.clicks().collate_fn([0, 1]))


def test_teachers_that_read_other_tokens_are_refused_with_the_trainer(tiny: Tiny) -> None:
    """With another length, all rows after the first long title are compared with other tokens."""
    others = tiny.world("TinyBERT", max_title_length=7).teachers()
    with pytest.raises(ValueError, match=r"teacher 0 reads others.*max_title_length"):
        tiny.world("TinyBERT").trainer(teachers=others)
    of_scores = {"hidden_loss_weight": 0, "attention_loss_weight": 0, "embedding_loss_weight": 0}
    assert tiny.world("TinyBERT", **of_scores).trainer(teachers=others).teachers is others
