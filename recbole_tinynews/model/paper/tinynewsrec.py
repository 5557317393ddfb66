"""Tiny-NewsRec (Yu et al., EMNLP 2022): a small recommender of several teachers, in two stages."""

from __future__ import annotations

from recbole_tinynews.model.student import MultiTeacherStudent


class TinyNewsRec(MultiTeacherStudent):
    """The student in Stage II: ``L_2 = L_FT_distill + L_FT_emb + L_FT``; finetuned teachers."""
