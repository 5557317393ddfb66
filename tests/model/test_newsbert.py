"""Joint training, compared with a plain version: padded titles, transformers' own outputs."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import pytest
import torch
from naive import NaivePLMNR, pool
from recbole.data.interaction import Interaction
from tiny import LAYERS, Tiny, World, titles
from torch import Tensor, nn
from torch.nn import functional as F

EXACT = {"rtol": 1e-8, "atol": 1e-10}
SAMPLES = list(range(9))


class Plain(NamedTuple):
    """Outputs of one recommender for a batch, from code written directly after the paper."""

    scores: Tensor
    user: Tensor
    hidden: list[Tensor]
    pooled: Tensor


def plain(naive: NaivePLMNR, batch: Interaction) -> Plain:
    history, candidates = batch["history"], batch["candidates"]
    news = torch.cat([history, candidates], 1).unique()
    rows = {key: values[news[news > 0] - 1] for key, values in naive.titles.items()}
    real = rows["attention_mask"].bool()
    states = naive.plm(
        input_ids=rows["input_ids"],
        attention_mask=rows["attention_mask"],
        output_hidden_states=True,
    ).hidden_states
    user = naive.encode_user(naive.encode_news(history), history != 0)
    pooled = pool(naive.config["news_pooling"], naive.news_pooling, states[-1], real)
    return Plain(
        torch.einsum("bcd,bd->bc", naive.encode_news(candidates), user),
        user,
        [state[real] for state in states],
        pooled,
    )


class Comparison(NamedTuple):
    """What the trainer and the plain version computed for the same batch."""

    world: World
    trainer: Any
    losses: dict[str, float]
    student: NaivePLMNR
    teachers: list[NaivePLMNR]
    expected: dict[str, Tensor]


def naive_of(model: Any, config: Any, layers: int) -> NaivePLMNR:
    class Deep(dict):
        def __missing__(self, name: str) -> Any:
            return config[name]

    naive = NaivePLMNR(model, Deep(num_hidden_layers=layers), titles()).double()
    naive.plm.load_state_dict(model.news_encoder.text_encoder.plm.state_dict())
    return naive


def compare(tiny: Tiny, model: str, **settings: Any) -> Comparison:
    world = tiny.world(model, **settings)
    trainer = world.trainer()
    trainer.learners.double().train()
    batch = world.clicks().collate_fn(SAMPLES)
    losses = trainer._backward(world.clicks().collate_fn(SAMPLES), world.model.calculate_loss, 1.0)
    got = {name: float(loss) for name, loss in losses._asdict().items()}
    trainer._before_step()

    config = world.config
    student = naive_of(world.model, config, config["num_hidden_layers"])
    teachers = [naive_of(teacher, config, LAYERS) for teacher in trainer.teachers.members]
    for teacher in teachers:
        teacher.news_pooling, teacher.dense = student.news_pooling, student.dense
        teacher.user = student.user
    expected = plain_losses(student, teachers, batch, world)
    torch.stack(list(expected.values())).sum().backward()
    plain_momentum(student, teachers, config)
    return Comparison(world, trainer, got, student, teachers, expected)


def g(layer: int, config: Any) -> int:
    depth = config["num_hidden_layers"]
    if not layer:
        return 0
    if config["layer_mapping"] == "last":
        return LAYERS - depth + layer
    return math.ceil(layer * LAYERS / depth)


def plain_losses(
    student: NaivePLMNR, teachers: list[NaivePLMNR], batch: Interaction, world: World
) -> dict[str, Tensor]:
    """The losses of the paper, averaged over teachers; terms that do not train are left out."""
    config, label = world.config, batch[world.model.label_field]
    t = config["temperature"]
    own, given = plain(student, batch), [plain(teacher, batch) for teacher in teachers]
    made = {name: torch.zeros((), dtype=torch.float64) for name in ("distillation", "hidden")}
    made |= {name: made["hidden"] for name in ("embedding", "news_vector", "user")}
    for teacher in given:
        probabilities = (teacher.scores.detach() / t).softmax(-1)
        soft = -(probabilities * (own.scores / t).log_softmax(-1)).sum(-1).mean() * t**2
        made["distillation"] = made["distillation"] + soft / len(given)
        for layer, state in enumerate(own.hidden):
            if state.requires_grad:
                name = "hidden" if layer else "embedding"
                error = (state - teacher.hidden[g(layer, config)].detach()) ** 2
                made[name] = made[name] + error.mean() / len(given)
        for name in ("pooled", "user"):
            error = (getattr(own, name) - getattr(teacher, name).detach()) ** 2
            key = "news_vector" if name == "pooled" else name
            made[key] = made[key] + error.mean() / len(given)
    made["target"] = F.cross_entropy(own.scores, label)
    made["teacher_target"] = sum(F.cross_entropy(each.scores, label) for each in given)
    weights = {name: config[f"{name}_loss_weight"] for name in made}
    return {
        name: weights[name] * value
        for name, value in made.items()
        if weights[name] and value.requires_grad
    }


def plain_momentum(student: NaivePLMNR, teachers: list[NaivePLMNR], config: Any) -> None:
    beta = config["gradient_momentum"]
    for number, layer in enumerate(student.plm.encoder.layer, start=1):
        for name, parameter in layer.named_parameters():
            lent = [
                naive.plm.encoder.layer[other - 1].get_parameter(name).grad
                for naive in teachers
                for other in range(g(number - 1, config) + 1, g(number, config) + 1)
            ]
            lent = [each for each in lent if each is not None]
            if lent and parameter.grad is not None:
                parameter.grad = beta * sum(lent) / len(lent) + (1 - beta) * parameter.grad


def assert_equal_gradients(found: nn.Module, plain: nn.Module, where: str) -> int:
    compared = 0
    for name, parameter in found.named_parameters():
        expected = plain.get_parameter(name).grad
        if parameter.grad is None:  # a bias that no score depends on has rounding errors alone
            assert expected is None or expected.abs().max() < EXACT["atol"], f"{where}.{name}"
        else:
            assert expected is not None, f"{where}.{name}"
            torch.testing.assert_close(
                parameter.grad, expected, **EXACT, msg=lambda m, n=name: f"{where}.{n}: {m}"
            )
            compared += 1
    return compared


CASES: list[tuple[str, dict[str, Any]]] = [
    ("NewsBERT", {}),
    ("NewsBERT", {"finetune_layers": "all", "temperature": 2.0, "user_loss_weight": 0.7}),
    ("NewsBERT", {"finetune_layers": 2, "layer_mapping": "last", "gradient_momentum": 0.6}),
    ("NewsBERT", {"num_hidden_layers": 1, "finetune_layers": 2, "target_loss_weight": 0.1}),
    ("NewsBERT", {"finetune_layers": 0, "news_pooling": "mean"}),  # nothing to imitate but scores
    ("NewsBERTMT", {"finetune_layers": "all", "num_hidden_layers": 1, "gradient_momentum": 0.5}),
    ("NewsBERTMT", {"num_teachers": 3, "user_loss_weight": 1.0, "teacher_target_loss_weight": 2.0}),
]


@pytest.mark.parametrize(("model", "settings"), CASES, ids=lambda each: str(each)[:60])
def test_losses_and_gradients_are_those_of_the_formulas(tiny: Tiny, model, settings) -> None:
    """Momentum, layer pairs and shared heads can be wrong and train; constants never fall."""
    compared = compare(tiny, model, **settings)
    assert compared.losses == {
        name: pytest.approx(float(value.detach()), rel=1e-9)
        for name, value in compared.expected.items()
    }
    encoder = compared.world.model.news_encoder.text_encoder
    of_student = assert_equal_gradients(encoder.plm, compared.student.plm, "student")
    assert (of_student > 10) == (settings.get("finetune_layers") != 0)
    for teacher, naive in zip(compared.trainer.teachers.members, compared.teachers, strict=True):
        of_teacher = assert_equal_gradients(
            teacher.news_encoder.text_encoder.plm, naive.plm, "teacher"
        )
        assert of_teacher >= of_student
    if encoder.pooling is not None:
        assert_equal_gradients(encoder.pooling, compared.student.news_pooling, "pooling")
    assert_equal_gradients(encoder.dense, compared.student.dense, "dense")
    assert_equal_gradients(compared.world.model.user_encoder, compared.student.user, "user")


# Loss -> whose parameters it moves. Pooled vectors come before the dense layer.
