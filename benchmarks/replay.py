"""A test period replayed through the service's own code: its AUC is that of the evaluation.

    python benchmarks/replay.py --dataset=ebnerd --data_path=DIR [--plm=E5]

Before each test impression, the events before it are added to a store (those before the first one
as a log); then its candidates are ranked at its time, for its user. PopularNow ranks by the store's
counters alone; ``ZeroShotPLM --popularity=added`` is fitted, evaluated and loaded.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import finish

from recbole_tinynews.data.atomic_files import read_news_file
from recbole_tinynews.data.dataloader import ImpressionDataLoader
from recbole_tinynews.data.dataset import NewsDataset
from recbole_tinynews.data.popularity import Counting
from recbole_tinynews.evaluation import metrics
from recbole_tinynews.pipeline.config import NewsConfig
from recbole_tinynews.pipeline.quick_start import prepared
from recbole_tinynews.serving.events import data_set_events
from recbole_tinynews.serving.live_counters import LiveCounters, Moment
from recbole_tinynews.serving.loading import load
from recbole_tinynews.serving.ranker import Ranker
from recbole_tinynews.serving.store import Store

Score = Callable[[list[str], list[str], Moment], Sequence[float]]
"""Of candidates, from clicks, candidates and moment."""


def offline(config: NewsConfig) -> tuple[Path, NewsDataset, np.ndarray]:
    """Folder of the finished recommender, test impressions, and scores as in evaluation."""
    with prepared(config) as (this_run, stages):
        folder = this_run.make(stages[-1]).folder
        model, test = this_run.model(stages[-1]).eval(), this_run.factory.test
        assert test is not None
        with torch.no_grad():
            scores = [model.predict(batch) for batch, *_ in ImpressionDataLoader(config, test)]
        return folder, test, torch.cat(scores).double().numpy()


def auc_of(scores: np.ndarray, test: NewsDataset) -> float:
    """Mean AUC of impressions with clicked and unclicked candidates."""
    shown = test.inter_feat
    ranked = metrics.rank_impressions(scores, shown.labels, shown.candidates.offsets)
    return float(np.mean(metrics.auc(ranked)))


def replay(log: Path, test: NewsDataset, counters: LiveCounters, score: Score) -> np.ndarray:
    """Scores of the test impressions, each scored before the events of its second."""
    shown, names = test.inter_feat, test.field2id_token[test.iid_field].tolist()
    users = test.field2id_token[test.uid_field].tolist()
    scores = np.zeros(len(shown.labels), np.float64)
    order = np.argsort(shown.timestamp, kind="stable").tolist()
    events = [*data_set_events(log)]
    times = np.array([each.time for each in events])
    done = int(np.searchsorted(times, shown.timestamp.min()))
    counters.add_past(events[:done])
    for row in order:
        at = int(shown.timestamp[row])
        until = int(np.searchsorted(times, at))
        if until > done:
            added = counters.add(events[done:until], now=events[until - 1].time)
            assert added.counted == until - done
            done = until
        clicks, candidates = shown.history.row(row), shown.candidates.row(row)
        place = slice(*shown.candidates.offsets[[row, row + 1]])
        scores[place] = score(
            [names[each] for each in clicks],
            [names[each] for each in candidates],
            Moment(at, users[shown.user[row]]),
        )
    return scores


def by_ranker(ranker: Ranker) -> Score:
    """Scores of ``rank``; an article without a row in the data set has an empty text."""

    def given(name: str) -> Any:
        return name if name in ranker.index else (name, "")

    def score(clicks: list[str], candidates: list[str], moment: Moment) -> Sequence[float]:
        asked = [*map(given, clicks)], [*map(given, candidates)]
        ranked = ranker.rank(*asked, at=moment.at, user=moment.user)
        return [each.score for each in sorted(ranked, key=lambda each: each.place)]

    return score


def by_clicks(counters: LiveCounters, counting: Counting) -> Score:
    """Clicks in the first window, as PopularNow counts them."""

    def score(clicks: list[str], candidates: list[str], moment: Moment) -> Sequence[float]:
        return counters.features(counting, [counters.known_numbers(candidates)], [moment])[
            :, 1
        ].tolist()

    return score


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--data_path", type=Path, required=True)
    parser.add_argument("--plm", help="language model (default: of the data set)")
    given = parser.parse_args()
    models = {"PopularNow": {}, "ZeroShotPLM": {"popularity": "added"}}
    if given.plm:
        models["ZeroShotPLM"]["plm"] = given.plm
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        places = {"data_path": str(given.data_path), "checkpoint_dir": temporary, "use_gpu": False}
        log = given.data_path / given.dataset
        for model, own in models.items():
            declared = {**places, **own, "show_progress": False}
            made, test, expected = offline(NewsConfig(model, given.dataset, config_dict=declared))
            started = time.perf_counter()
            if model == "PopularNow":
                counting = Counting((24,))
                counters = LiveCounters(Store(folder / model), [counting])
                scores = replay(log, test, counters, by_clicks(counters, counting))
            else:
                ranker = load(made, store=folder / model)
                ranker.add_news(read_news_file(log / f"{given.dataset}.item"))
                assert ranker.counters is not None
                scores = replay(log, test, ranker.counters, by_ranker(ranker))
            both = auc_of(expected, test), auc_of(scores, test)
            gap, apart = abs(both[0] - both[1]), float(np.abs(scores - expected).max())
            print(
                f"{model}: AUC {both[0]:.10f} offline, {both[1]:.10f} replayed, difference "
                f"{gap:.1e}; scores differ by {apart:.1e}; {time.perf_counter() - started:.0f} s"
            )
            figures[model] = {"auc": both[1], "difference": gap, "scores": apart}
    finish("replay", {"dataset": given.dataset, **figures})


if __name__ == "__main__":
    main()
