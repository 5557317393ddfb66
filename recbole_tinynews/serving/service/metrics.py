"""Prometheus metrics of the service."""

from __future__ import annotations

import time
from collections.abc import Iterator

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from starlette.datastructures import State

from recbole_tinynews import __version__
from recbole_tinynews.serving.service.newsroom import Newsroom

NAME = "recbole_tinynews_"
AGES = {
    "store": "Seconds since the store was last read.",
    "counters": "Seconds since the newest event that counts.",
}


class Metrics:
    """Requests and events, counted as they arrive, and the current state of ``app.newsroom``."""

    def __init__(self, app: State) -> None:
        self._app = app
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self.requests = Histogram(
            f"{NAME}request_seconds",
            "Requests and the time until they were answered.",
            ["route", "status"],
            registry=self._registry,
        )
        self.events = Counter(
            f"{NAME}events", "Events that were posted.", ["outcome"], registry=self._registry
        )
        self._registry.register(self)

    def text(self) -> bytes:
        """All metrics in Prometheus's text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Gauges of the newsroom's current state."""
        newsroom: Newsroom = self._app.newsroom
        articles = GaugeMetricFamily(
            f"{NAME}articles", "Articles in the index.", labels=["recommender"]
        )
        models = GaugeMetricFamily(
            f"{NAME}model", "Recommenders, always 1.", labels=["recommender", "model", "version"]
        )
        for each in newsroom.recommenders.values():
            articles.add_metric([each.name], len(each.ranker.news_ids))
            model = [each.name, each.health().model, each.ranker.engine.identity]
            models.add_metric(model, 1)
        about = GaugeMetricFamily(f"{NAME}package", "Always 1.", labels=["version"])
        about.add_metric([__version__], 1)
        yield from (articles, models, about)
        ages = {"store": time.monotonic() - newsroom.read_at}
        if newsroom.counters is not None and newsroom.counters.newest:
            ages["counters"] = time.time() - newsroom.counters.newest
        for name, seconds in ages.items():
            yield GaugeMetricFamily(f"{NAME}{name}_age_seconds", AGES[name], value=seconds)
