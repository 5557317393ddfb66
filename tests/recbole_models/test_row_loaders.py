from __future__ import annotations

import numpy as np
import pytest
import torch

from recbole_tinynews.recbole_models.interactions import (
    InteractionDataset,
    RowDataLoader,
    train_loader,
)


def loader_of(run):
    return train_loader(run.config, run.interactions)


def pairs_of(batches) -> list[tuple[int, int, int]]:
    return [
        row
        for batch in batches
        for row in zip(
            batch["user_id"].tolist(),
            batch["item_id"].tolist(),
            batch["neg_item_id"].tolist(),
            strict=True,
        )
    ]


def test_sampled_negatives_are_recboles_and_none_was_clicked_by_the_user(stock) -> None:
    run = stock("BPR", train_neg_sample_args={"distribution": "uniform", "sample_num": 3})
    pairs = pairs_of(loader_of(run))
    clicked = set(
        zip(
            run.interactions.inter_feat["user_id"].tolist(),
            run.interactions.inter_feat["item_id"].tolist(),
            strict=True,
        )
    )
    assert len(pairs) == 3 * len(run.interactions)
    assert {(user, item) for user, item, _ in pairs} == clicked
    assert not {(user, negative) for user, _, negative in pairs} & clicked
    assert len({negative for *_, negative in pairs}) > 20


def test_training_without_any_click_is_refused_with_a_reason(stock) -> None:
    """Torch would ask for a positive `num_samples`, which is not a setting."""
    run = stock("BPR")
    shown = run.train.inter_feat
    run.train.inter_feat = shown._replace(labels=np.zeros_like(shown.labels))
    data = InteractionDataset(run.train, run.config, run.feed)
    with pytest.raises(ValueError, match=r"BPR expects clicks among .*'tiny', got none"):
        train_loader(run.config, data)


def test_labelled_rows_are_every_candidate_once_an_epoch(stock) -> None:
    run = stock("DeepFM")
    batches = list(loader_of(run))
    assert max(len(batch) for batch in batches) == 32
    seen = torch.cat([batch["item_id"] for batch in batches]).sort()[0]
    shown = run.interactions.impressions
    assert seen.tolist() == sorted(shown.candidates.values.tolist())
    labels = torch.cat([batch["label"] for batch in batches])
    assert labels.sum() == (shown.labels == 1).sum()
    assert labels.dtype == torch.float32


def test_a_point_wise_model_may_have_samples_instead(stock) -> None:
    """RecBole's own setting, which its users know."""
    arguments = {"distribution": "uniform", "sample_num": 4}
    run = stock("NeuMF", train_neg_sample_args=arguments)
    batches = list(loader_of(run))
    labels = torch.cat([batch["label"] for batch in batches])
    assert len(labels) == 5 * len(run.interactions.inter_feat)
    assert labels.sum() == len(run.interactions.inter_feat)


@pytest.mark.parametrize("most", [1, 7, 1000])
def test_evaluation_batches_hold_whole_impressions(stock, most: int) -> None:
    """RecBole cuts a batch at eval_batch_size, and metrics would get halves of impressions."""
    run = stock("DIN", eval_batch_size=most)
    loader = run.impressions(run.config, run.valid)
    assert isinstance(loader, RowDataLoader)
    shown = run.valid.inter_feat
    batches = [batch for batch, *_ in loader]
    assert len(batches) == len(loader)
    sizes = np.concatenate([batch["impression_size"] for batch in batches])
    assert (sizes == shown.candidates.lengths).all()
    rows = np.concatenate([batch["impression"] for batch in batches])
    assert (rows == np.arange(shown.rows)).all()
    items = np.concatenate([batch["item_id"] for batch in batches])
    assert (items == shown.candidates.values).all()
    for batch in batches:
        assert len(batch["item_id"]) == batch["impression_size"].sum()
        assert len(batch["item_id"]) <= most or len(batch["impression"]) == 1


def test_an_evaluation_inverts_sequences_and_masks_none(stock) -> None:
    """SHAN reads the inverted sequence; masking belongs to BERT4Rec's training only."""
    for model, field in (("SHAN", "Inverse_item_id_list"), ("BERT4Rec", "Mask_item_id_list")):
        run = stock(model)
        batch = run.impressions(run.config, run.valid).collate_fn([0])[0]
        assert (field in batch) == (model == "SHAN")


def test_what_bert4rec_is_trained_to_find_last_is_the_click(stock) -> None:
    """RecBole masks items of the sequence only: without the click, no new article is learned."""
    run = stock("BERT4Rec", ft_ratio=1.0)
    batch = next(iter(loader_of(run)))
    assert (batch["MASK_INDEX"][:, -1] == batch["item_length"] - 1).all()
    assert (batch["Pos_item_id"][:, -1] == batch["item_id"]).all()
    assert not (batch["Mask_item_id_list"] == batch["item_id"][:, None]).any()
