"""Compares an export with the recommender's own code, on texts and impressions of its data set."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recbole_tinynews.bars import progress_bar
from recbole_tinynews.data.atomic_files import TokenIndex, concatenate, read_impressions, read_news
from recbole_tinynews.data.dataloader import id_tensor
from recbole_tinynews.data.impressions import Impressions
from recbole_tinynews.evaluation.metrics import auc, mrr, ndcg, rank_impressions
from recbole_tinynews.files.columns import TITLE
from recbole_tinynews.serving.data_set_files import find_item_file, read_of
from recbole_tinynews.serving.engine import Batch, Engine
from recbole_tinynews.serving.export.source import Source
from recbole_tinynews.serving.reading import Reading

TOLERANCE = 1e-4
SAMPLE, USERS = 256, 16  # titles and histories of one comparison
USERS_AT_ONCE = 256
TEXTS_AT_ONCE = 1_000  # per step of the progress bar
SOME_TITLES = (  # if there is no data set
    "Champions win the cup after penalty shoot-out",
    "Bank raises interest rates for the third time this year, and economists expect two more",
    "Ten quick recipes for dinner",
    "Striker signs for rivals after record transfer",
)


class Differences(NamedTuple):
    """Largest differences in vectors and in scores, divided by the largest value if above 1."""

    vectors: float
    scores: float


def sample_of(titles: list[str]) -> list[str]:
    """An empty text, a single word and evenly spaced titles."""
    chosen = titles or list(SOME_TITLES)
    places = np.linspace(0, len(chosen) - 1, min(SAMPLE, len(chosen))).astype(int)
    return ["", "News", *(chosen[place] for place in places)]


def differences(source: Source, exported: Engine, titles: list[str]) -> Differences:
    """Compare vectors of titles, and scores for users with empty to full histories."""
    texts = sample_of(titles)
    histories = _histories(source.settings["history_length"], len(texts))
    (ours, our_scores), (theirs, their_scores) = (
        _encoded_and_scored(engine, texts, histories) for engine in (source.engine, exported)
    )
    return Differences(_largest(ours, theirs), _largest(our_scores, their_scores))


def _largest(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).abs().max() / ours.abs().max().clamp(min=1))


def _encoded_and_scored(
    engine: Engine, texts: list[str], histories: Tensor
) -> tuple[Tensor, Tensor]:
    vectors = engine.encode({TITLE: texts})
    with_padding = torch.cat([torch.zeros_like(vectors[:1]), vectors])
    return vectors, engine.user_vectors(with_padding, histories) @ vectors.T


def _histories(width: int, texts: int) -> Tensor:
    """Histories of 0 to ``width`` clicks as row numbers of texts, from 1, newest last."""
    clicks = np.linspace(0, width, USERS).astype(int)
    rows = np.random.default_rng(0).integers(1, 1 + texts, size=(USERS, width))
    return torch.from_numpy(np.where(np.arange(width) >= width - clicks[:, None], rows, 0))


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


def find_data_set(settings: Mapping[str, Any], data_path: str | Path | None) -> DataSet | None:
    """The data set, or ``None``; ``FileNotFoundError`` if it is not in the given ``data_path``."""
    name = settings["dataset"]
    item_file = find_item_file(name, data_path)
    if item_file is not None:
        return _read(item_file, settings)
    if data_path is not None:
        raise FileNotFoundError(
            f"Data set '{name}' is expected in {Path(data_path) / name}, which has no {name}.item. "
            "Pass the folder that contains the folder of the data set."
        )
    return None


def _read(item_file: Path, settings: Mapping[str, Any]) -> DataSet:
    folder = item_file.parent
    news = read_news(item_file)
    index = TokenIndex()
    index.ids(news.item_id)
    test_file, test = folder / f"{folder.name}.test.inter", None
    if test_file.is_file():
        read = concatenate(read_impressions(test_file, index, TokenIndex()))
        test = read if read.labelled else None
    texts = [text for (text,) in read_of(news, Reading(settings))]  # exports have one view
    without_row = len(index) - 1 - len(texts)
    return DataSet(folder, ["", *texts, *[""] * without_row], test)


def metrics_of(engine: Engine, data: DataSet, name: str) -> dict[str, float]:
    """AUC, MRR, nDCG@5 and nDCG@10 on the test impressions, as fractions, and their number."""
    assert data.test is not None
    test, width = data.test, engine.settings["history_length"]
    seen = test.news_ids(width)
    encoded = []
    with progress_bar(desc=f"Encode, {name}", total=len(seen), unit=" texts") as bar:
        for start in range(0, len(seen), TEXTS_AT_ONCE):
            some = seen[start : start + TEXTS_AT_ONCE]
            encoded.append(engine.encode({TITLE: [data.texts[each] for each in some]}))
            bar.update(len(some))
    of_seen = torch.cat(encoded)
    vectors = of_seen.new_zeros(len(data.texts), of_seen.shape[1])
    vectors[torch.from_numpy(seen).long()] = of_seen
    scores: list[NDArray[np.float32]] = []
    for start in range(0, test.rows, USERS_AT_ONCE):
        part = test.between(start, min(start + USERS_AT_ONCE, test.rows))
        history = id_tensor(part.history.newest(np.arange(part.rows), width))
        shown, sizes = part.candidates.values, part.candidates.lengths
        batch = Batch(vectors, history, id_tensor(shown), id_tensor(sizes))
        scores.append(engine.scores(batch).numpy())
    ranked = rank_impressions(np.concatenate(scores), test.labels, test.candidates.offsets)
    each = {"auc": auc(ranked), "mrr": mrr(ranked)}
    each.update({f"ndcg@{k}": ndcg(ranked, k) for k in (5, 10)})
    means = {metric: round(float(values.mean()), 6) for metric, values in each.items()}
    return {**means, "impressions": len(ranked.clicked)}
