from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from recbole_tinynews.pipeline.run import Run
from recbole_tinynews.pipeline.stage import Stage
from recbole_tinynews.recbole_models.interactions import train_loader
from recbole_tinynews.trainer import impression_evaluation
from recbole_tinynews.trainer.checkpoints import put_model_state

METRICS = {"auc", "mrr", "ndcg@5", "ndcg@10", "impressions", "skipped"}
GENERAL = ("Pop", "ItemKNN", "EASE", "BPR", "LightGCN", "NGCF", "NeuMF", "MultiVAE")
CONTEXT = ("LR", "FM", "DeepFM", "WideDeep", "AutoInt", "DCN", "xDeepFM")
SEQUENTIAL = ("FPMC", "GRU4Rec", "SASRec", "SASRecF", "BERT4Rec", "DIN", "SHAN")


@pytest.mark.parametrize("model", [*GENERAL, *CONTEXT, *SEQUENTIAL])
def test_a_model_trains_and_ranks_whole_impressions(stock, model: str) -> None:
    """A baseline trained on shifted rows, or tested with other weights, would look weak."""
    run = stock(model)
    trained = run.config.model_class(run.config, run.interactions)
    trainer = run.trainer(run.config, trained)
    loader = run.impressions(run.config, run.valid)
    score, result = trainer.fit(train_loader(run.config, run.interactions), loader, verbose=False)
    assert result.keys() == METRICS
    assert (result["impressions"], result["skipped"]) == (12, 2)
    assert score == result["auc"]
    assert all(math.isfinite(loss) for loss in trainer.train_loss_dict.values())

    # a new model that loads the best one's state ranks as that did
    run = stock(model)
    torch.manual_seed(99)
    other = run.config.model_class(run.config, run.interactions)
    best = trainer.saved_model_file
    trainer = run.trainer(run.config, other)
    assert dict(trainer.evaluate(loader, load_best_model=True, model_file=best)) == result

    # a score does not depend on the other impressions of its batch
    batch, together, *_ = trainer._neg_sample_batch_eval(loader.collate_fn([1]))
    first, last = loader.bounds[1:3]
    assert last > first + 1
    assert together.shape == batch["item_id"].shape
    assert together.isfinite().all()
    loader.bounds = np.arange(len(run.valid.inter_feat.user) + 1)
    alone = [
        trainer._neg_sample_batch_eval(loader.collate_fn([row]))[1] for row in range(first, last)
    ]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("model", ["FPMC", "GRU4Rec", "NARM", "SASRecF", "BERT4Rec", "STAMP"])
def test_a_history_read_once_gives_the_scores_of_one_read_for_each_candidate(
    stock, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row with the history of another, or with its candidate in it, gets a wrong score."""
    monkeypatch.setattr(impression_evaluation, "AT_ONCE", 3)
    run = stock(model, eval_batch_size=64)
    trained = run.config.model_class(run.config, run.interactions).eval()
    for parameter in trained.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    trainer = run.trainer(run.config, trained)
    for batch, *_ in run.impressions(run.config, run.valid):
        with torch.no_grad():
            expected = torch.atleast_1d(trained.predict(batch))
            scores = trainer._neg_sample_batch_eval((batch,))[1]
        torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-4)
        assert scores.std() > 0.01


def test_each_history_is_read_once(stock) -> None:
    """Otherwise SASRec takes a minute for every thousand impressions."""
    run = stock("SASRec", eval_batch_size=64)
    model = run.config.model_class(run.config, run.interactions).eval()
    rows: list[int] = []
    model.trm_encoder.register_forward_hook(lambda *call: rows.append(len(call[1][0])))
    trainer = run.trainer(run.config, model)
    for batch, *_ in run.impressions(run.config, run.valid):
        rows.clear()
        trainer._neg_sample_batch_eval((batch,))
        histories = {tuple(row) for row in batch["item_id_list"].tolist()}
        assert len(histories) <= sum(rows) < len(batch["item_id"])


def test_scores_of_one_row_have_a_shape(stock) -> None:
    """FPMC squeezes them to a number, which can't be matched with impressions."""
    run = stock("FPMC")
    model = run.config.model_class(run.config, run.interactions)
    row = run.interactions.rows(np.array([0]))
    assert model.predict(row).shape == ()
    assert run.trainer(run.config, model)._neg_sample_batch_eval((row,))[1].shape == (1,)


def test_a_model_of_one_pass_is_validated_however_seldom_that_is_asked_for(stock) -> None:
    """Nothing would be saved, and the test would have no weights."""
    run = stock("Pop", epochs=9, eval_step=5)
    trainer = run.trainer(run.config, run.config.model_class(run.config, run.interactions))
    loaders = run.loaders(run.config, run.interactions)
    assert trainer.fit(*loaders, verbose=False)[1].keys() == METRICS


def test_what_a_model_draws_while_it_is_built_is_drawn_again(stock) -> None:
    """NNCF's neighbours are not saved as weights: with others it would be another model."""
    run = stock("NNCF", neigh_num=10)
    made = Run(run)
    stage = Stage("NNCF", run.config.model_class)
    artifact = made.make(stage)
    np.random.seed(77)
    shown = run.impressions(run.config, run.valid)
    other = run.config.model_class(run.config, run.interactions)
    put_model_state(other, artifact.weights.load(), artifact.folder)
    drawn_again = run.trainer(run.config, other).evaluate(shown, load_best_model=False)
    assert dict(drawn_again) != artifact.valid  # else the test could not fail
    model = made.model(stage)
    tested = run.trainer(run.config, model).evaluate(shown, load_best_model=False)
    assert dict(tested) == artifact.valid
