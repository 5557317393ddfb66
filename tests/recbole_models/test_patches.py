from __future__ import annotations

import importlib.util
from types import ModuleType

import numpy as np
import pytest
import recbole.utils
import torch
from recbole.model.general_recommender import lightgcn, pop
from recbole.model.sequential_recommender import gru4rec, sine
from recbole.trainer import Trainer
from scipy.sparse import dok_matrix

from recbole_tinynews.recbole_models import patches
from recbole_tinynews.recbole_models.interactions import train_loader
from recbole_tinynews.settings.registry import find_model
from recbole_tinynews.trainer import on_impressions


def as_installed(module: ModuleType) -> ModuleType:
    """A copy of one of RecBole's modules without any patch."""
    spec = importlib.util.spec_from_file_location("as_installed", module.__file__)
    copy = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(copy)
    return copy


def built(run) -> torch.nn.Module:
    torch.manual_seed(1)
    return run.config.model_class(run.config, run.interactions)


def test_a_graph_model_can_be_built_and_has_the_papers_graph(stock, monkeypatch) -> None:
    """Five of RecBole's graph models fail while they are built, on scipy from 1.13 on."""
    run = stock("LightGCN")
    if dok_matrix._update is not patches._update:
        pytest.skip("this scipy has what RecBole asks for")
    monkeypatch.delattr(dok_matrix, "_update")
    with pytest.raises(AttributeError, match="_update"):
        lightgcn.LightGCN(run.config, run.interactions)
    patches.apply_to_models()
    graph = built(run).norm_adj_matrix.to_dense().numpy()

    clicks = (run.interactions.inter_matrix(form="csr").toarray() > 0).astype(float)
    users, items = clicks.shape
    adjacency = np.block([[np.zeros((users, users)), clicks], [clicks.T, np.zeros((items, items))]])
    roots = (adjacency.sum(1) + 1e-7) ** -0.5
    np.testing.assert_allclose(graph, roots[:, None] * adjacency * roots, atol=1e-6)


def test_popularity_counts_every_click(stock, monkeypatch) -> None:
    """RecBole's Pop counts batches: all articles clicked in one batch are equally popular."""
    run = stock("Pop", train_batch_size=10_000)
    (batch,) = train_loader(run.config, run.interactions)
    expected = np.bincount(batch["item_id"], minlength=run.interactions.item_num)
    assert expected.max() > 2

    original = as_installed(pop).Pop
    monkeypatch.setattr("recbole.model.general_recommender.Pop", original)
    patches.apply_to_models()
    patched = original.calculate_loss
    patches.apply_to_models()
    assert original.calculate_loss is patched  # a second call patches nothing
    counted = original(run.config, run.interactions)
    counted.calculate_loss(batch).backward()
    assert counted.item_cnt.flatten().tolist() == expected.tolist()
    items = torch.arange(run.interactions.item_num)
    scores = counted.predict({"item_id": items})
    np.testing.assert_allclose(scores, expected / expected.max(), rtol=1e-6)


def test_looking_a_model_up_leaves_autograd_as_it_was(monkeypatch) -> None:
    """Finding a sequential model imports SINE, which would slow all training down fivefold."""
    torch.autograd.set_detect_anomaly(False)
    as_installed(sine)
    assert torch.is_anomaly_enabled()

    def importing(name: str) -> type:
        as_installed(sine)
        return gru4rec.GRU4Rec

    monkeypatch.setattr(recbole.utils, "get_model", importing)
    for before in (False, True):
        torch.autograd.set_detect_anomaly(before)
        assert find_model("GRU4Rec") is gru4rec.GRU4Rec
        assert torch.is_anomaly_enabled() is before


def test_the_best_model_is_loaded_back_without_a_pickle(stock, tmp_path) -> None:
    """RecBole pickles its settings beside the weights, and torch >= 2.6 refuses to read them."""
    run = stock("BPR")
    model = built(run)
    shown = run.impressions(run.config, run.test)
    trainer = on_impressions(Trainer)(run.config, model, tmp_path)
    expected = trainer.evaluate(shown, load_best_model=False)
    trainer._save_checkpoint(0, verbose=False)
    with torch.no_grad():
        model.item_embedding.weight.neg_()
    assert trainer.evaluate(shown, load_best_model=False) != expected
    assert trainer.evaluate(shown, load_best_model=True) == expected


def test_an_empty_history_is_no_index_before_the_first(stock) -> None:
    """Two or three of a hundred impressions have none; RecBole's own data sets drop such rows."""
    run = stock("GRU4Rec")
    model = built(run).eval()
    batch = run.impressions(run.config, run.valid).collate_fn([0])[0]
    assert run.valid.inter_feat.history.lengths[0] == 0
    assert model.predict(batch).isfinite().all()


def test_the_padding_row_of_a_feature_is_padding(stock) -> None:
    """By pandas 3, a padded sequence of items would look up category -2 ** 63."""
    features = stock("DeepFM").interactions.item_feat
    for field in ("category", "subcategory"):
        assert features[field][0] == 0
    assert features["category"][1:].min() > 0  # some subcategories are unknown
