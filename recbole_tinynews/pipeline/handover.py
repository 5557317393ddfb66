"""Hand-over: load weights of earlier stages into a new model by name."""

from __future__ import annotations

import operator
from functools import partial

from torch import nn

from recbole_tinynews.encoder.news_encoder import NEWS_ENCODER
from recbole_tinynews.encoder.one_text import DENSE, LANGUAGE_MODEL, POOLING
from recbole_tinynews.files.tensors import load_into
from recbole_tinynews.model.recommender import NewsRecommender
from recbole_tinynews.model.stages.joint_teachers import CoFinetunedTeachers
from recbole_tinynews.pipeline.artifact import Weights

_USER_ENCODER = "user_encoder"


def put_parts(model: nn.Module, weights: Weights, *, names: tuple[str, ...]) -> None:
    """Load submodules of an earlier stage's model; no weight may be missing."""
    loaded = weights.load()
    for name in names:
        part = operator.attrgetter(name)(model)
        if part is not None:  # mean and cls pool without weights
            load_into(part, loaded, weights.source, f"{name}.")


put_news_encoder = partial(put_parts, names=(NEWS_ENCODER,))
put_language_model = partial(put_parts, names=(LANGUAGE_MODEL,))
put_user_encoder = partial(put_parts, names=(_USER_ENCODER,))
put_encoders = partial(put_parts, names=(NEWS_ENCODER, _USER_ENCODER))
put_pooling_and_dense = partial(put_parts, names=(POOLING, DENSE))
# the teachers' shared pooling, dense layer and user encoder
put_heads = partial(put_parts, names=(POOLING, DENSE, _USER_ENCODER))
# of the student's alignment, with the axes of its vectors
put_aligned = partial(put_parts, names=(NEWS_ENCODER, _USER_ENCODER, "rotation"))


def put_all(model: nn.Module, weights: Weights) -> None:
    """Load a whole recommender; no weight may be missing."""
    load_into(model, weights.load(), weights.source)


def put_first_layers(model: NewsRecommender, weights: Weights) -> None:
    """Load as many of the teacher's first layers as the student has; its heads stay random."""
    plm, prefix = model.get_submodule(LANGUAGE_MODEL), f"{LANGUAGE_MODEL}."
    wanted = {f"{prefix}{name}" for name in plm.state_dict()}
    kept = {name: value for name, value in weights.load().items() if name in wanted}
    load_into(plm, kept, weights.source, prefix)


def put_all_but_user_encoder(model: NewsRecommender, weights: Weights) -> None:
    """Load the post-trained teacher's first layers, pooling and dense layer."""
    put_first_layers(model, weights)
    put_pooling_and_dense(model, weights)


def put_copies(model: CoFinetunedTeachers, *copies: Weights) -> None:
    """Load one copy into each teacher; shared layers are the first copy's."""
    for teacher, copy in reversed([*zip(model.teachers, copies, strict=True)]):
        put_news_encoder(teacher, copy)
