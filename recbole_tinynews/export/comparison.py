"""Compares an export with the recommender's own code, on texts and impressions of its data set."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from recbole_tinynews.data.atomic_files import Indices, concatenate, read_impressions
from recbole_tinynews.data.dataloader import id_tensor
from recbole_tinynews.data.impressions import Impressions
from recbole_tinynews.evaluation.metrics import auc, mrr, ndcg, rank_impressions
from recbole_tinynews.export.finished import FinishedRecommender
from recbole_tinynews.files.columns import TITLE
from recbole_tinynews.files.progress import progress_bar
from recbole_tinynews.serving.article_index import find_item_file
from recbole_tinynews.serving.engine import Batch, Engine

TOLERANCE = 1e-4
SAMPLE, USERS = 256, 16  # titles and histories of one comparison
USERS_AT_ONCE = 256
TEXTS_AT_ONCE = 1_000  # per step of the progress bar
SOME_TITLES = [  # if there is no data set
    "Champions win the cup after penalty shoot-out",
    "Bank raises interest rates for the third time this year, and economists expect two more",
    "Ten quick recipes for dinner",
    "Striker signs for rivals after record transfer",
]


class Differences(NamedTuple):
    """Largest differences in vectors and in scores, divided by the largest value if above 1."""

    vectors: float
    scores: float


def sample_of(titles: list[str]) -> list[str]:
    """An empty text, a single word and evenly spaced titles."""
    chosen = titles or SOME_TITLES
    rows = np.linspace(0, len(chosen) - 1, min(SAMPLE, len(chosen))).astype(int)
    return ["", "News", *(chosen[row] for row in rows)]


def differences(
    recommender: FinishedRecommender, exported: Engine, titles: list[str]
) -> Differences:
    """Compare vectors of titles, and scores for users with empty to full histories."""
    texts, width = sample_of(titles), recommender.settings["history_length"]
    clicks = np.linspace(0, width, USERS).astype(int)
    rows = np.random.default_rng(0).integers(1, 1 + len(texts), size=(USERS, width))
    newest_last = np.arange(width) >= width - clicks[:, None]
    histories = torch.from_numpy(np.where(newest_last, rows, 0))

    def vectors_and_scores(engine: Engine) -> tuple[Tensor, Tensor]:
        vectors = engine.encode({TITLE: texts})
        with_padding = torch.cat([torch.zeros_like(vectors[:1]), vectors])
        return vectors, engine.user_vectors(with_padding, histories) @ vectors.T

    pairs = zip(*map(vectors_and_scores, (recommender.engine, exported)), strict=True)
    largest = [
        float((ours - theirs).abs().max() / ours.abs().max().clamp(min=1)) for ours, theirs in pairs
    ]
    return Differences(*largest)


def refuse_difference(difference: float, allowed: float, what: str) -> None:
    """Raise ``ValueError`` if an export differs by more than allowed."""
    if not difference <= allowed:  # NaN too
        raise ValueError(
            f"{what} expects the recommender's own values up to {allowed:g}, and differs by "
            f"{difference:.1e}. Nothing was written. Choose another format, and report this with "
            "the recommender's settings.yaml."
        )


class DataSet(NamedTuple):
    """Texts and test impressions."""

    folder: Path
    texts: list[str]  # what the recommender reads of each article, by news id; 0 is padding
    test: Impressions | None  # with labels, if any


def find_data_set(recommender: FinishedRecommender, data_path: str | Path | None) -> DataSet | None:
    """The data set, or ``None``; ``FileNotFoundError`` if it is not in the given ``data_path``."""
    name = recommender.settings["dataset"]
    item_file = find_item_file(name, data_path)
    if item_file is None:
        if data_path is None:
            return None
        raise FileNotFoundError(
            f"Data set '{name}' is expected in {Path(data_path) / name}, which has no {name}.item. "
            "Pass the folder that contains the folder of the data set."
        )
    news, test = recommender.engine.fields.data_set(item_file), None
    indices = Indices([article.id for article in news])
    test_file = item_file.with_name(f"{item_file.stem}.test.inter")
    if test_file.is_file():
        read = concatenate(read_impressions(test_file, indices))
        test = read if read.labelled else None
    texts = [article.fields[0] for article in news]  # of the only view
    without_row = len(indices.news) - 1 - len(texts)
    return DataSet(item_file.parent, ["", *texts, *[""] * without_row], test)


def metrics_of(engine: Engine, texts: list[str], test: Impressions, name: str) -> dict[str, float]:
    """AUC, MRR, nDCG@5 and nDCG@10 on test impressions, as fractions, and their number.

    ``texts`` by news id; the progress bar has the ``name``.
    """
    width = engine.settings["history_length"]
    seen = test.news_ids(width)
    blocks = progress_bar(
        np.split(seen, range(TEXTS_AT_ONCE, len(seen), TEXTS_AT_ONCE)),
        desc=f"Encode, {name}",
        unit=" texts",
        unit_scale=TEXTS_AT_ONCE,
    )
    encoded = torch.cat([engine.encode({TITLE: [texts[row] for row in ids]}) for ids in blocks])
    vectors = encoded.new_zeros(len(texts), encoded.shape[1])
    vectors[torch.from_numpy(seen).long()] = encoded
    scores = []
    for start in range(0, test.rows, USERS_AT_ONCE):
        part = test.between(start, min(start + USERS_AT_ONCE, test.rows))
        history = id_tensor(part.history.newest(np.arange(part.rows), width))
        candidates, sizes = id_tensor(part.candidates.values), id_tensor(part.candidates.lengths)
        scores.append(engine.scores(Batch(vectors, history, candidates, sizes)).numpy())
    ranked = rank_impressions(np.concatenate(scores), test.labels, test.candidates.offsets)
    values = {"auc": auc(ranked), "mrr": mrr(ranked)}
    values.update({f"ndcg@{k}": ndcg(ranked, k) for k in (5, 10)})
    means = {metric: round(float(each.mean()), 6) for metric, each in values.items()}
    return {**means, "impressions": len(ranked.clicked)}
