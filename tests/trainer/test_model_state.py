from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from recbole.model.abstract_recommender import AbstractRecommender
from scipy import sparse

from recbole_tinynews.files.tensors import load_weights, save_weights
from recbole_tinynews.trainer.checkpoints import put_model_state, take_model_state


class Remembering(AbstractRecommender):
    """A model with a weight, and with attributes of every kind that RecBole's models have."""

    other_parameter_name = ("counts", "highest", "array", "matrix", "rows", "layer")
    device = torch.device("cpu")

    def __init__(self, known: bool) -> None:
        super().__init__()
        random = np.random.default_rng(3 if known else 4)
        self.layer = torch.nn.Linear(2, 3)
        self.counts = torch.full((4, 1), int(known))
        self.highest = torch.tensor([2.5]) if known else None
        self.array = random.normal(size=(3, 2)).T  # not contiguous
        self.matrix = sparse.csr_matrix(random.integers(0, 2, (5, 6)).astype(np.float32)).tolil()
        self.rows = sparse.csc_matrix(random.integers(0, 2, (6, 2)).astype(np.float64))


def test_state_in_attributes_survives_as_what_it_was(tmp_path: Path) -> None:
    """Pop without its counts would rank all articles equally, and look worthless."""
    known, other = Remembering(known=True), Remembering(known=False)
    save_weights(take_model_state(known), tmp_path / "model.safetensors")
    put_model_state(other, load_weights(tmp_path / "model.safetensors"), tmp_path)
    assert torch.equal(other.layer.weight, known.layer.weight)
    assert isinstance(other.layer, torch.nn.Linear)
    for name in ("counts", "highest"):
        assert torch.equal(getattr(other, name), getattr(known, name))
    np.testing.assert_array_equal(other.array, known.array)
    assert (other.matrix.format, other.rows.format) == ("lil", "csc")
    for name in ("matrix", "rows"):
        there, here = getattr(other, name), getattr(known, name)
        assert there.dtype == here.dtype
        assert (there.toarray() == here.toarray()).all()


def test_an_attribute_that_was_none_is_none_again(tmp_path: Path) -> None:
    """LightGCN caches vectors of its last weights, which are not those of the best ones."""
    known, other = Remembering(known=True), Remembering(known=False)
    put_model_state(known, take_model_state(other), tmp_path)
    assert known.highest is None


def test_state_that_cannot_be_kept_is_named(tmp_path: Path) -> None:
    model = Remembering(known=True)
    model.counts = {1: 2}
    with pytest.raises(ValueError, match=r"counts expects a tensor, .*got <class 'dict'>"):
        take_model_state(model)
