"""TinyBERT-MT: TinyBERT under several teachers, a baseline of Tiny-NewsRec (EMNLP 2022)."""

from __future__ import annotations

from recbole_tinynews.model.paper.tinybert import TinyBERT


class TinyBERTMT(TinyBERT):
    """``(1/M) sum_i L_distillation(student, t_i) + CE(z_s, y)``; the mean is our definition."""

    one_teacher = False
