from __future__ import annotations

import pytest

from recbole_tinynews.distillation.layer_pairs import paired_layers


@pytest.mark.parametrize(
    ("student", "teacher", "mapping", "expected"),
    [
        (4, 12, "uniform", [3, 6, 9, 12]),  # the papers' i * 12 / d
        (2, 12, "uniform", [6, 12]),
        (1, 12, "uniform", [12]),
        (4, 12, "last", [9, 10, 11, 12]),
        (1, 12, "last", [12]),
        (2, 3, "uniform", [2, 3]),  # ceil: the last layer always has the last one
        (4, 6, "uniform", [2, 3, 5, 6]),
        (3, 3, "uniform", [1, 2, 3]),
        (3, 3, "last", [1, 2, 3]),
    ],
)
def test_layers_are_paired_as_the_papers_pair_them(student, teacher, mapping, expected) -> None:
    """One layer off, and a student learns words from a layer that writes sentences."""
    assert paired_layers(student, teacher, mapping) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((4, 3), r"1..3 layers.*got 4"), ((0, 3), "got 0"), ((1, 3, "first"), "uniform or last")],
)
def test_a_student_deeper_than_its_teacher_is_refused(arguments, message) -> None:
    """Two of its layers would imitate one, and momentum would have nothing to say to one."""
    with pytest.raises(ValueError, match=message):
        paired_layers(*arguments)
