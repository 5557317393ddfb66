"""The untrained language model as a recommender, which every trained one has to beat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from recbole_tinynews.encoder.plm_files import vector_size
from recbole_tinynews.files.vector_files import vector_size as size_in_file
from recbole_tinynews.model.article_reader import (
    ANY,
    ReadsTitlesByPLM,
    plm_source,
    reads_vectors,
    vectors_file,
)
from recbole_tinynews.model.paper.plmnr import PLMNR
from recbole_tinynews.settings.protocol import Settings


class ZeroShotPLM(ReadsTitlesByPLM, PLMNR):
    """Cosine of a candidate with the mean of the clicked articles; nothing is trained.

    An article's vector is the mean of the last states of the title's tokens, [CLS] and [SEP]
    included, minus the training news' mean if ``centred``, normalised: a ``PLMNR`` with pretrained
    heads before its first step (our definition; docs/method.md, section 1).
    """

    trainer_class = "UntrainedNewsTrainer"
    fixed: ClassVar[Mapping[str, Any]] = {"head_init": "pretrained", "vectors": ANY}

    def __init__(self, config: Settings, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.requires_grad_(False)

    @classmethod
    def news_dim(cls, config: Settings) -> int:
        """Size of the language model's pooled vectors, or of those of the file."""
        if reads_vectors(config):
            return size_in_file(vectors_file(config))
        return vector_size(plm_source(config))
