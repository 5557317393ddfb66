"""Which layer of a teacher each layer of a shallower student imitates."""

from __future__ import annotations


def paired_layers(student: int, teacher: int, mapping: str = "uniform") -> list[int]:
    """``g(1) .. g(d)``: the teacher's layer for each of the student's, both counted from 1.

    The teacher layers ``g(i-1) + 1 .. g(i)`` belong to student layer ``i`` together, ``g(0) = 0``.

    Args:
        student: d, layers of the student.
        teacher: N, layers of the teacher.
        mapping: ``uniform``, ``g(i) = ceil(i N / d)``, which is the papers' ``i * 12 / d`` for
            their depths and our definition for others; ``last``, ``g(i) = N - d + i``.

    Raises:
        ValueError: the student is deeper than its teacher, or the mapping is another word.

    >>> paired_layers(4, 12), paired_layers(4, 12, "last"), paired_layers(4, 6)
    ([3, 6, 9, 12], [9, 10, 11, 12], [2, 3, 5, 6])
    """
    if not 1 <= student <= teacher:
        raise ValueError(
            f"paired_layers expects a student of 1..{teacher} layers, as many as its teacher has, "
            f"got {student}. Lower num_hidden_layers, or raise teacher_num_hidden_layers."
        )
    if mapping == "uniform":
        return [-(-layer * teacher // student) for layer in range(1, student + 1)]
    if mapping == "last":
        return list(range(teacher - student + 1, teacher + 1))
    raise ValueError(f"paired_layers expects mapping uniform or last, got {mapping!r}.")
