"""NewsBERT-MT: NewsBERT with several teachers, as in the Tiny-NewsRec paper's comparison.

Yu et al., "Tiny-NewsRec: Effective and Efficient PLM-based News Recommendation", EMNLP 2022, which
publishes no formula of it.
"""

from __future__ import annotations

from recbole_tinynews.model.newsbert import NewsBERT
from recbole_tinynews.settings.protocol import Settings


class NewsBERTMT(NewsBERT):
    """The last copies of the post-trained teacher train together with one student.

    Our definition: the student's losses are averaged over the teachers, each teacher's language
    model learns from its own ``L^t``, momentum takes the mean of their gradients, and all share
    pooling, dense layer and user encoder, which start from the last copy.
    """

    @staticmethod
    def number_of_teachers(config: Settings) -> int:
        """Number of teachers."""
        return config["num_teachers"]
