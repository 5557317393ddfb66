"""What every distillation keeps to, whichever paper its losses are of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from batches import LABEL, outputs_of, tensors_of, values, with_states

from recbole_tinynews.distillation.layer_losses import (
    Compared,
    HiddenStateLoss,
    LayerDistillation,
    LayerPair,
    layer_pairs,
)
from recbole_tinynews.distillation.loss_terms import Distillation, Weights
from recbole_tinynews.distillation.mtbert_losses import MTBERTDistillation, MTBERTWeights
from recbole_tinynews.distillation.newsbert_losses import NewsBERTDistillation, NewsBERTWeights
from recbole_tinynews.distillation.tinybert_losses import TinyBERTDistillation, TinyBERTWeights
from recbole_tinynews.distillation.tinynewsrec_losses import StageTwoDistillation
from recbole_tinynews.encoder.hidden_states import StateRequest
from recbole_tinynews.model.alignednewsrec import AlignedDistillation
from recbole_tinynews.model.interface import Outputs

TEACHERS, DIM, WIDE, LAYERS, DEPTH = 3, 4, 6, 2, 5
PAIRS = layer_pairs(LAYERS, DEPTH, "uniform")  # 1 <-> 3, 2 <-> 5


class Kind(NamedTuple):
    weights: Any
    make: Callable[[Any, Any, bool], Distillation]  # from weights, pairs, whether embeddings train
    dim: int = DIM  # of the student


def of_layers(kind: type[LayerDistillation], dim: int = DIM) -> Callable[..., Distillation]:
    return lambda w, pairs, trains: kind(TEACHERS, Compared(pairs, trains, dim, WIDE), 2.0, w)


KINDS = {
    "TinyNewsRec": Kind(
        Weights(), lambda w, *_: StageTwoDistillation(TEACHERS, WIDE, DIM, 2.0, w, masked=True)
    ),
    "AlignedNewsRec": Kind(Weights(), lambda w, *_: AlignedDistillation(2.0, w)),
    "TinyBERT": Kind(TinyBERTWeights(), of_layers(TinyBERTDistillation)),
    "MTBERT": Kind(MTBERTWeights(), of_layers(MTBERTDistillation)),
    "NewsBERT": Kind(NewsBERTWeights(user=1.0), of_layers(NewsBERTDistillation, WIDE), WIDE),
}
COMPARE_LAYERS = ["TinyBERT", "MTBERT", "NewsBERT"]
TERMS = [(name, term) for name, kind in KINDS.items() for term in kind.weights._fields]


def make(name: str, pairs: Any = PAIRS, trains: bool = True, **weights: float) -> Distillation:
    torch.manual_seed(0)
    kind = KINDS[name]
    return kind.make(kind.weights._replace(**weights), pairs, trains).double()


def student(name: str) -> Outputs:
    return outputs_of(1, LAYERS, KINDS[name].dim)


def teachers() -> list[Outputs]:
    return [outputs_of(10 + number, DEPTH, WIDE) for number in range(TEACHERS)]


def loss_of(module: Distillation, name: str) -> Any:
    return module(student(name), teachers(), LABEL)


@pytest.mark.parametrize(("name", "term"), TERMS)
def test_a_weight_multiplies_its_loss_alone_and_zero_removes_it(name: str, term: str) -> None:
    """A term that is logged as 0 looks as if it had been learned perfectly."""
    module = make(name)
    others = [make(name, **{term: weight}) for weight in (0.3, 0.0)]
    for other in others:
        other.load_state_dict(module.state_dict(), strict=False)
    whole, weighted, removed = (loss_of(each, name)._asdict() for each in (module, *others))
    assert [*whole] == [*KINDS[name].weights._fields]
    for each, value in whole.items():
        torch.testing.assert_close(weighted[each], value * (0.3 if each == term else 1))
    del whole[term]
    assert [*removed] == [*whole]
    torch.testing.assert_close([*removed.values()], [*whole.values()])


@pytest.mark.parametrize(("name", "term"), TERMS)
def test_a_loss_of_weight_zero_asks_for_no_states_and_has_no_projections(
    name: str, term: str
) -> None:
    """A teacher's layer that nothing compares would be computed, unused projections be saved."""
    whole, module = make(name), make(name, **{term: 0.0})
    projections = {n for n, _ in whole.named_parameters() if term in n}
    assert {n for n, _ in whole.named_parameters()} - projections == {
        n for n, _ in module.named_parameters()
    }
    for request in ("student_states", "teacher_states"):
        layers = [pair[request == "teacher_states"] for pair in PAIRS]
        has = {*module.weights._fields} - {term} if name in COMPARE_LAYERS else set()
        hidden = {0} if "embedding" in has else set()
        hidden |= {*layers} if "hidden" in has else set()
        attention = {*layers} if "attention" in has else set()
        expected = StateRequest(frozenset(hidden), frozenset(attention), "news_vector" in has)
        assert getattr(module, request) == expected


@pytest.mark.parametrize("name", KINDS)
def test_without_any_loss_it_is_refused(name: str) -> None:
    """Otherwise the first backward fails, after the teachers were trained."""
    nothing = dict.fromkeys({*KINDS[name].weights._fields} - {"teacher_target"}, 0.0)
    with pytest.raises(ValueError, match="at least one loss whose weight is not 0"):
        make(name, **nothing)


@pytest.mark.parametrize("name", COMPARE_LAYERS)
def test_a_loss_without_trained_parameters_is_left_out(name: str) -> None:
    """A constant in the sum looks like a loss that does not learn."""
    constant = {"hidden", "attention", "embedding"}
    module = make(name, pairs=[], trains=False)
    assert constant.isdisjoint(loss_of(module, name)._fields)
    assert not {*module.teacher_states.hidden, *module.teacher_states.attention}
    one = make(name, pairs=PAIRS[1:], trains=False)
    assert {*loss_of(one, name)._fields} & {"hidden", "embedding"} == {"hidden"}
    assert one.teacher_states.hidden == {5}
    others = {*KINDS[name].weights._fields} - constant - {"teacher_target"}
    with pytest.raises(ValueError, match="at least one loss"):
        make(name, pairs=[], trains=False, **dict.fromkeys(others, 0.0))


@pytest.mark.parametrize("name", KINDS)
def test_student_and_projections_learn_and_teachers_do_not(name: str) -> None:
    """A gradient into a label would train the teachers towards the student."""
    module, own, others = make(name), student(name), teachers()
    for outputs in (own, *others):
        for tensor in tensors_of(outputs):
            tensor.requires_grad_()
    found = module(own, others, LABEL)._asdict()
    found.pop("teacher_target", None)
    sum(found.values()).backward()
    learning = [own.scores, *module.parameters()]
    if name in COMPARE_LAYERS:
        learning += [own.states.hidden[1], own.states.hidden[2]]
    else:
        learning.append(own.news.all)
    for tensor in learning:
        assert tensor.grad.abs().sum() > 0
    assert all(tensor.grad is None for outputs in others for tensor in tensors_of(outputs))


@pytest.mark.parametrize("name", sorted(KINDS.keys() - {"AlignedNewsRec"}))
@pytest.mark.parametrize("count", [TEACHERS - 1, TEACHERS + 1])
def test_another_number_of_teachers_is_refused(name: str, count: int) -> None:
    """A teacher without a projection would be left out of the sum."""
    many = [*teachers(), *teachers()][:count]
    with pytest.raises(ValueError, match=f"got {count}"):
        make(name)(student(name), many, LABEL)


@pytest.mark.parametrize("name", COMPARE_LAYERS)
def test_states_of_other_texts_and_outputs_without_states_are_refused(name: str) -> None:
    """They have the same shape: a student would imitate the states of other titles."""
    own, others, module = student(name), teachers(), make(name)
    shuffled = others[1].states._replace(ids=others[1].states.ids[::-1])
    with pytest.raises(ValueError, match=r"the same 4 texts .* teacher 1"):
        module(own, [others[0], with_states(others[1], shuffled), others[2]], LABEL)
    without = [with_states(others[0], None), *others[1:]]
    for given in ((own, without), (with_states(own, None), others)):
        with pytest.raises(ValueError, match="expects outputs with states"):
            module(*given, LABEL)


def test_states_of_another_width_are_refused() -> None:
    """One head against two broadcasts."""
    others = teachers()
    heads = {layer: scores[:, :1] for layer, scores in others[0].states.attention.items()}
    one_head = with_states(others[0], others[0].states._replace(attention=heads))
    with pytest.raises(ValueError, match=r"attention_loss expects equal shapes.*number of heads"):
        make("TinyBERT")(student("TinyBERT"), [one_head, *others[1:]], LABEL)
    with pytest.raises(ValueError, match="HiddenStateLoss expects equal shapes"):
        make("NewsBERT")(student("TinyBERT"), others, LABEL)


def test_the_loss_of_half_precision_states_is_in_full_precision() -> None:
    """A mean of a million squares in bf16 has two digits left."""
    own, other = ({0: each.states.hidden[0].bfloat16()} for each in teachers()[:2])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert HiddenStateLoss([LayerPair(0, 0)], WIDE, WIDE)(own, other).dtype == torch.float32


@pytest.mark.parametrize("name", KINDS)
def test_a_sample_is_weighted_by_itself(name: str) -> None:
    """Weights that leak over the batch make a loss depend on its neighbours."""
    module = make(name, **dict.fromkeys({*KINDS[name].weights._fields} - {"distillation"}, 0.0))

    def only(row: slice, outputs: Outputs) -> Outputs:
        news = outputs.news._replace(all=outputs.news.all[row], real=outputs.news.real[row])
        return Outputs(outputs.scores[row], outputs.user[row], news)

    rows = [slice(row, row + 1) for row in range(len(LABEL))]
    alone = [
        values(module(only(row, student(name)), [only(row, t) for t in teachers()], LABEL[row]))
        for row in rows
    ]
    assert values(loss_of(module, name)) == pytest.approx([sum(map(sum, alone)) / len(rows)])


@pytest.mark.parametrize(
    ("student", "teacher", "mapping", "expected"),
    [
        (4, 12, "uniform", [(1, 3), (2, 6), (3, 9), (4, 12)]),
        (2, 12, "uniform", [(1, 6), (2, 12)]),
        (1, 12, "uniform", [(1, 12)]),
        (4, 12, "last", [(1, 9), (2, 10), (3, 11), (4, 12)]),
        (2, 12, "last", [(1, 11), (2, 12)]),
        (1, 12, "last", [(1, 12)]),
        (4, 6, "uniform", [(1, 2), (2, 3), (3, 5), (4, 6)]),  # where d does not divide N
        (2, 3, "uniform", [(1, 2), (2, 3)]),
        (3, 2, "uniform", [(1, 1), (2, 2), (3, 2)]),
        (2, 2, "last", [(1, 1), (2, 2)]),
    ],
)
def test_layers_are_paired_as_the_documents_say(student, teacher, mapping, expected) -> None:
    """Off by one, a student would imitate a layer's input, and its loss would still fall."""
    assert layer_pairs(student, teacher, mapping) == [LayerPair(*pair) for pair in expected]


def test_a_teacher_too_shallow_for_its_last_layers_is_refused() -> None:
    """Layer 0 is the embedding output: a pair with it would pass without an error."""
    with pytest.raises(ValueError, match=r"at least the student's 3 layers, got one with 2"):
        layer_pairs(3, 2, "last")
