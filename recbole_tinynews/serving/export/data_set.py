"""The recommender's data set, for checks and metrics of an export."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from recbole_tinynews.bars import progress_bar
from recbole_tinynews.data.atomic_files import TokenIndex, concatenate, read_impressions, read_news
from recbole_tinynews.data.dataloader import id_tensor
from recbole_tinynews.data.impressions import Impressions
from recbole_tinynews.evaluation.metrics import auc, mrr, ndcg, rank_impressions
from recbole_tinynews.files.columns import TITLE
from recbole_tinynews.serving.data_set_files import find_item_file, read_of
from recbole_tinynews.serving.engine import Engine
from recbole_tinynews.serving.reading import Reading

USERS_AT_ONCE = 256
TEXTS_AT_ONCE = 1_000  # per step of the progress bar


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
        scores.append(engine.scores(vectors, history, id_tensor(shown), id_tensor(sizes)).numpy())
    ranked = rank_impressions(np.concatenate(scores), test.labels, test.candidates.offsets)
    each = {"auc": auc(ranked), "mrr": mrr(ranked)}
    each.update({f"ndcg@{k}": ndcg(ranked, k) for k in (5, 10)})
    means = {metric: round(float(values.mean()), 6) for metric, values in each.items()}
    return {**means, "impressions": len(ranked.clicked)}
