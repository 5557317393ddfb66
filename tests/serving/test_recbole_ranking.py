from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from served import in_order_given
from tiny import DATASET, Tiny

from recbole_tinynews.data.dataset import NewsDataset
from recbole_tinynews.evaluation import metrics
from recbole_tinynews.pipeline.config import NewsConfig
from recbole_tinynews.pipeline.quick_start import run
from recbole_tinynews.serving.loading import load, load_reader
from recbole_tinynews.settings.registry import find_model


@pytest.mark.parametrize(
    ("name", "text"),
    [("BPR", None), ("SASRec", None), ("DIN", None), ("SASRec", "added"), ("DIN", "none")],
)
def test_a_model_of_recbole_ranks_as_it_was_evaluated(
    tiny: Tiny, tmp_path: Path, name: str, text: str | None
) -> None:
    """With text, it would need the language model of the training, or take another's vectors."""
    settings = tiny.stock_settings(checkpoint_dir=str(tmp_path / "saved"))
    if text:
        plm = shutil.copytree(tiny.plm, tmp_path / "plm")
        settings |= {"item_text": str(plm), "item_text_ids": text}
    result = run(name, DATASET, config_dict=settings)["test"]
    if text:
        shutil.rmtree(plm)
    (folder,) = (tmp_path / "saved" / DATASET).glob(f"{name}-*")
    shown = NewsDataset(NewsConfig(name, DATASET, config_dict=settings)).build()[2]
    news, users = (shown.field2id_token[field] for field in (shown.iid_field, shown.uid_field))
    seen, rows = shown.inter_feat, range(shown.inter_feat.rows)
    ranker = load(folder, model=find_model(name), data_path=tiny.data)
    ranked = ranker.rank(
        [news[seen.history.row(row)].tolist() for row in rows],
        [news[seen.candidates.row(row)].tolist() for row in rows],
        user=users[seen.user].tolist(),
    )
    scores = np.concatenate([in_order_given(each) for each in ranked])
    measured = metrics.rank_impressions(scores, seen.labels, seen.candidates.offsets)
    assert np.mean(metrics.auc(measured)) == pytest.approx(result["auc"], abs=1e-6)
    assert np.mean(metrics.ndcg(measured, 5)) == pytest.approx(result["ndcg@5"], abs=1e-6)
    torch.testing.assert_close(
        in_order_given(load(folder, data_path=tiny.data).rank(["N1"], ["N2", "N3"])),
        in_order_given(ranker.rank(["N1"], ["N2", "N3"])),
    )
    for refused, why in ((["N999"], "'N999'"), ([{"title": "word1"}], "reads no text")):
        with pytest.raises(ValueError, match=why):
            ranker.rank([], refused)
    for opened, how, why in (
        (load_reader, {}, "which reads no text"),
        (load, {"store": tmp_path / "events"}, "counts no events"),
        (load, {"device": "cuda:99"}, "expects one that computes here"),
    ):
        with pytest.raises(ValueError, match=why):
            opened(folder, data_path=tiny.data, **how)
    other = shutil.copytree(tiny.data, tmp_path / "data")
    with (other / DATASET / f"{DATASET}.item").open("a") as file:
        file.write("N900\tsports\tworld\tword1\tword2\n")
    with pytest.raises(ValueError, match="that it was trained on"):
        load(folder, data_path=other)
