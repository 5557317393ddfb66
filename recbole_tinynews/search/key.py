"""What tells one search from another: values of other settings or data are not comparable."""

from __future__ import annotations

import json

from optuna.distributions import distribution_to_json

from recbole_tinynews.benchmark.row_settings import FileContents
from recbole_tinynews.config import NewsConfig
from recbole_tinynews.evaluation.own_metrics import files_of_metric
from recbole_tinynews.files.array_cache import content_key
from recbole_tinynews.pipeline.artifact import ARTIFACT_FORMAT
from recbole_tinynews.pipeline.fingerprints import source_of
from recbole_tinynews.pipeline.stage import Stage
from recbole_tinynews.search.space import Space
from recbole_tinynews.settings.declared import Affects, setting


def search_key(config: NewsConfig, space: Space) -> str:
    """A short digest of the settings that all trials share, the space, the data and user code."""
    model_class = config.model_class
    last = config.for_stage(config["stage"]) if config["stage"] else config
    settings = {
        str(key): value
        for key, value in config.by_key().items()
        if str(key) not in space and setting(key.name).affects is not Affects.NOTHING
    }
    described = {
        "format": ARTIFACT_FORMAT,
        "model": f"{model_class.__module__}.{model_class.__qualname__}",
        "stage": config["stage"],
        "settings": settings,
        "space": {name: distribution_to_json(each) for name, each in space.items()},
    }
    contents = FileContents(config)
    return content_key(
        [
            json.dumps(described, sort_keys=True, default=str),
            contents.data_content(model_class, config),
            contents.language_model_content(config),
            *source_of(Stage(model_class.__name__, model_class)),
            *files_of_metric(last["valid_metric"]),
        ]
    )[:12]
