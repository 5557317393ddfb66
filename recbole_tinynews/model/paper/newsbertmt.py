"""NewsBERT-MT: NewsBERT with several teachers (Tiny-NewsRec, EMNLP 2022; without a formula)."""

from __future__ import annotations

from recbole_tinynews.model.paper.newsbert import NewsBERT


class NewsBERTMT(NewsBERT):
    """The last copies of the post-trained teacher train together with one student.

    Our definition: the student's losses are averaged over the teachers, which each learn from their
    own ``L^t``; momentum takes the mean of their gradients; all share pooling, dense layer and user
    encoder, which start from the last copy.
    """

    one_teacher = False
