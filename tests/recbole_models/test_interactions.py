from __future__ import annotations

import numpy as np
import pytest
import torch
from recbole.utils import FeatureSource

from recbole_tinynews.data.impressions import Impressions


def flat(shown: Impressions) -> list[tuple[int, int, int, list[int]]]:
    """User, item, label and history of every candidate, one after the other."""
    return [
        (int(shown.user[row]), int(item), int(label), shown.history.row(row).tolist())
        for row in range(shown.rows)
        for item, label in zip(
            shown.candidates.row(row),
            shown.labels[shown.candidates.offsets[row] : shown.candidates.offsets[row + 1]],
            strict=True,
        )
    ]


@pytest.mark.parametrize(
    ("model", "clicks_only"), [("DeepFM", False), ("DIN", False), ("BPR", True), ("SASRec", True)]
)
def test_rows_are_those_of_a_plain_loop(stock, model: str, clicks_only: bool) -> None:
    """One wrong offset would give users others' clicks, and metrics would look plausible."""
    data = stock(model).interactions
    expected = [row for row in flat(data.impressions) if row[2] == 1 or not clicks_only]
    assert len(data) == len(expected)
    batch = data[np.arange(len(data))]
    assert batch["user_id"].tolist() == [user for user, *_ in expected]
    assert batch["item_id"].tolist() == [item for _, item, *_ in expected]
    assert batch["label"].tolist() == [label for *_, label, _ in expected]
    categories = data.item_feat["subcategory"]
    assert torch.equal(batch["subcategory"], categories[batch["item_id"]])


def test_an_item_sequence_is_the_newest_of_the_history_without_the_rows_own_item(stock) -> None:
    """With it a model learns to repeat items; without it for clicks only, it learns the label."""
    data = stock("DIN", history_length=3).interactions
    batch = data[np.arange(len(data))]
    held = 0
    for row, (_, item, _, history) in enumerate(flat(data.impressions)):
        held += item in history
        newest = [each for each in history if each != item][-3:]
        assert batch["item_id_list"][row].tolist() == newest + [0] * (3 - len(newest))
        assert batch["item_length"][row] == max(len(newest), 1)
    assert held > 5  # else the test could not fail


def test_a_model_that_masks_items_sees_the_click_behind_the_history_in_training_alone(
    stock,
) -> None:
    """Articles in histories are rarely candidates, so masking the history alone teaches little.

    In evaluation the clicked candidate would be revealed.
    """
    data = stock("BERT4Rec", history_length=4).interactions
    clicks = [row for row in flat(data.impressions) if row[2] == 1]
    batch = data[np.arange(len(data))]
    for row, (_, item, _, history) in enumerate(clicks):
        expected = [*[each for each in history if each != item][-3:], item]
        assert batch["item_id_list"][row].tolist() == expected + [0] * (4 - len(expected))
        assert batch["item_length"][row] == len(expected)
    ranked = data.rows(np.arange(len(data.impressions.labels)))
    assert not (ranked["item_id_list"] == ranked["item_id"][:, None]).any()


def test_matrices_and_counts_are_made_of_clicks_alone(stock) -> None:
    """A matrix of candidates would treat what was shown as if it had been clicked."""
    data = stock("DeepFM").interactions
    expected = np.zeros((data.user_num, data.item_num))
    for user, item, label, _ in flat(data.impressions):
        expected[user, item] += label
    assert (data.inter_matrix(form="csr").toarray() == expected).all()
    assert data.inter_num == expected.sum() < len(data)
    assert data.item_counter == {i: n for i, n in enumerate(expected.sum(0)) if n}


def test_context_aware_models_embed_user_item_and_item_features_and_nothing_else(stock) -> None:
    """RecBole embeds every field that it knows: a list of candidates would give away the label."""
    run = stock("DeepFM")
    model = run.config.model_class(run.config, run.interactions)
    assert model.token_field_names == ["user_id", "item_id", "category", "subcategory"]
    assert model.token_seq_field_names == model.float_field_names == []
    assert run.interactions.fields(source=[FeatureSource.ITEM]) == ["category", "subcategory"]
    assert "candidates" in run.train.field2type  # the news recommenders' fields stay as they are


def test_the_sampled_items_of_dien_align_with_those_of_the_sequence(stock) -> None:
    """A sampled item in an empty slot would teach that padding is an interest."""
    batch = stock("DIEN").interactions[np.arange(20)]
    assert ((batch["neg_item_id_list"] == 0) == (batch["item_id_list"] == 0)).all()
