"""Language-model news recommendation for RecBole.

Public names are imported on first access, since torch and transformers take seconds:

- ``run`` trains and evaluates a recommender, ``load`` ranks with a finished one;
- ``convert`` turns MIND into atomic files;
- ``Benchmark`` compares systems, ``Search`` tunes settings (extra ``search``);
- ``with_item_text`` puts text into RecBole's own models, on any of its data sets;
- ``impression_metric`` makes a function of ``ScoredImpressions`` a metric;
- ``NewsRecommender``, ``NewsTrainer`` and, for rankers without a language model,
  ``ImpressionRecommender`` are base classes; ``Stage``, ``Copy`` and ``Start`` define pipelines.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recbole_tinynews import convert as convert
    from recbole_tinynews.benchmark.benchmark import Benchmark as Benchmark
    from recbole_tinynews.evaluation.metrics import ScoredImpressions as ScoredImpressions
    from recbole_tinynews.evaluation.recbole_metrics import impression_metric as impression_metric
    from recbole_tinynews.model.interface import ImpressionRecommender as ImpressionRecommender
    from recbole_tinynews.model.recommender import NewsRecommender as NewsRecommender
    from recbole_tinynews.pipeline.quick_start import run as run
    from recbole_tinynews.pipeline.stage import Copy as Copy
    from recbole_tinynews.pipeline.stage import Stage as Stage
    from recbole_tinynews.pipeline.stage import Start as Start
    from recbole_tinynews.recbole_models.item_text import with_item_text as with_item_text
    from recbole_tinynews.search.search import Search as Search
    from recbole_tinynews.serving.loading import load as load
    from recbole_tinynews.trainer.news_trainer import NewsTrainer as NewsTrainer

__version__ = "1.0.0"

_HOMES = {
    "run": "pipeline.quick_start",
    "load": "serving.loading",
    "Benchmark": "benchmark.benchmark",
    "impression_metric": "evaluation.recbole_metrics",
    "with_item_text": "recbole_models.item_text",
    "ScoredImpressions": "evaluation.metrics",
    "Search": "search.search",
    "ImpressionRecommender": "model.interface",
    "NewsRecommender": "model.recommender",
    "NewsTrainer": "trainer.news_trainer",
    "Stage": "pipeline.stage",
    "Copy": "pipeline.stage",
    "Start": "pipeline.stage",
}


def __getattr__(name: str) -> Any:
    if name == "convert":  # a package that can be called
        return import_module(f"{__name__}.convert")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    except ModuleNotFoundError as missing:
        if missing.name != "recbole":
            raise
        from recbole_tinynews.files.installation import MISSING_RECBOLE

        raise ModuleNotFoundError(MISSING_RECBOLE, name="recbole") from None


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, "convert"})
