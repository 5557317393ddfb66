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

from recbole_tinynews import __version__
from recbole_tinynews.serving.service.newsroom import Newsroom

NAME = "recbole_tinynews_"


class Metrics:
    """Requests and events, counted as they arrive, and the state of a newsroom when it is read."""

    def __init__(self, newsroom: Newsroom) -> None:
        self.newsroom = newsroom
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
        self._registry.register(self)  # type: ignore[arg-type]  # a collector by its method

    def text(self) -> bytes:
        """All metrics in Prometheus's text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Gauges of the newsroom's present state."""
        recommenders = self.newsroom.recommenders.values()
        articles = GaugeMetricFamily(
            f"{NAME}articles", "Articles in the index.", labels=["recommender"]
        )
        models = GaugeMetricFamily(
            f"{NAME}model", "Recommenders, always 1.", labels=["recommender", "model", "version"]
        )
        for each in recommenders:
            articles.add_metric([each.name], len(each.ranker.news_ids))
            model = [each.name, each.health().model, each.ranker.engine.identity]
            models.add_metric(model, 1)
        about = GaugeMetricFamily(f"{NAME}package", "Always 1.", labels=["version"])
        about.add_metric([__version__], 1)
        yield from (articles, models, about)
        counters = self.newsroom.counters
        if counters is not None and counters.newest:
            yield GaugeMetricFamily(
                f"{NAME}counters_age_seconds",
                "Seconds since the newest event that counts.",
                value=time.time() - counters.newest,
            )
