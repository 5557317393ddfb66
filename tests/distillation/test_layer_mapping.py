from __future__ import annotations

import pytest

from recbole_tinynews.distillation.layer_losses import LayerPair, layer_pairs


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
