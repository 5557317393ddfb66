"""A finished run, to rank with: shared by the tests of serving."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest
import torch
from tiny import DATASET, Tiny, run_of, titles

from recbole_tinynews.data.atomic_files import read_news_file
from recbole_tinynews.data.dataloader import ImpressionDataLoader
from recbole_tinynews.pipeline.artifact import Artifact
from recbole_tinynews.pipeline.run import Run
from recbole_tinynews.pipeline.systems import system
from recbole_tinynews.serving.engine import Ranked
from recbole_tinynews.serving.loading import load
from recbole_tinynews.serving.ranker import Ranker

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

    from recbole_tinynews.serving.service.state import ServiceState


class Served(NamedTuple):
    """A finished run: its last artifact, and its test impressions as a user would give them."""

    run: Run
    artifact: Artifact
    data: Path

    def impressions(self) -> tuple[list[list[str]], list[list[str]], list[np.ndarray]]:
        """Histories and candidates as news ids, and the scores that evaluation gives."""
        config, test = self.run.factory.config, self.run.factory.test
        stage = next(stage for stage, made in self.run.artifacts.items() if made == self.artifact)
        model = self.run.model(stage).eval()
        shown = test.inter_feat
        batch = ImpressionDataLoader(config, test).collate_fn(range(shown.rows))[0]
        with torch.no_grad():
            scores = model.predict(batch).numpy()
        names = test.field2id_token[test.iid_field]
        rows = range(shown.rows)
        return (
            [names[shown.history.row(row)].tolist() for row in rows],
            [names[shown.candidates.row(row)].tolist() for row in rows],
            np.split(scores, shown.candidates.offsets[1:-1]),
        )

    def load(self, **given: Any) -> Ranker:
        return load(self.artifact.folder, **given)

    def load_with_news(self, **given: Any) -> Ranker:
        """Knows the articles of its data set."""
        ranker = self.load(**given)
        ranker.add_news(read_news_file(self.data / DATASET / f"{DATASET}.item"))
        return ranker


def serve(tiny: Tiny, model: str | type = "PLMNR", **settings: Any) -> Served:
    config = tiny.config(model, **settings)
    this_run = run_of(config)
    return Served(this_run, this_run.make(system(config)), tiny.data)


def as_fields(titles: list[str]) -> list[dict[str, str]]:
    return [{"title": title} for title in titles]


def state_of(rankers: dict[str, Ranker]) -> ServiceState:
    """A service of rankers that know the same titles, with the events that the first one has."""
    from recbole_tinynews.serving.service.state import ServiceState
    from recbole_tinynews.serving.store import Store, StoredArticle

    first = next(iter(rankers.values()))
    store = Store() if first.counters is None else first.counters._store
    articles = first.index.snapshot.articles
    store.put([StoredArticle(each.id, {"title": each.fields[0]}) for each in articles])
    state = ServiceState(rankers, store)
    state.follow_articles()
    return state


@contextmanager
def client_of(state: ServiceState | dict[str, Ranker], **how: Any) -> Iterator[TestClient]:
    """A client of the service; one event loop answers all its requests."""
    testclient = pytest.importorskip("fastapi.testclient", reason="httpx2 is not installed")
    from recbole_tinynews.serving.service.app import make_app
    from recbole_tinynews.serving.service.state import ServiceState
    from recbole_tinynews.serving.store import Store

    state = ServiceState(state, Store()) if isinstance(state, dict) else state
    how = {"max_body": 20_000, **how}
    with testclient.TestClient(make_app(state, **how), raise_server_exceptions=False) as client:
        yield client


@contextmanager
def running(state: ServiceState, **limits: Any) -> Iterator[tuple[str, int]]:
    """Host and port of a service on a real socket, in a thread."""
    from recbole_tinynews.serving.service.app import make_app
    from recbole_tinynews.serving.service.server import bound, server_of

    with bound("127.0.0.1", 0) as place:
        server = server_of(make_app(state), **limits)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [place]})
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive()
                time.sleep(0.01)
            yield place.getsockname()
        finally:
            server.should_exit = True
            thread.join(30)


def in_order_given(ranked: list[Ranked]) -> np.ndarray:
    return np.array([score for _, score, _ in sorted(ranked, key=lambda each: each.place)])


def words_of(ids: list[str]) -> list[str]:
    return [titles()[int(each.removeprefix("N")) - 1] for each in ids]


def assert_ranks_as_evaluated(served: Served) -> None:
    histories, candidates, expected = served.impressions()
    ranker = served.load_with_news()
    by_ids = ranker.rank(histories, candidates)
    words = [words_of(each) for each in histories], [words_of(each) for each in candidates]
    by_titles = served.load().rank(*words)
    assert len(by_ids) == len(by_titles) == len(expected)
    for row, scores in enumerate(expected):
        np.testing.assert_allclose(in_order_given(by_ids[row]), scores, atol=1e-5)
        np.testing.assert_allclose(in_order_given(by_titles[row]), scores, atol=1e-5)
        assert [each.score for each in by_ids[row]] == sorted(
            (each.score for each in by_ids[row]), reverse=True
        )
        assert all(candidates[row][each.place] == each.candidate for each in by_ids[row])
        alone = ranker.rank(histories[row], candidates[row])
        np.testing.assert_allclose(in_order_given(alone), scores, atol=1e-5)
