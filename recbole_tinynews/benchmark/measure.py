"""Speed and memory of a system, measured in a process of its own."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import torch
from recbole.utils import init_seed

from recbole_tinynews.data.dataset import NewsDataset
from recbole_tinynews.pipeline.config import NewsConfig
from recbole_tinynews.pipeline.factory import NewsFactory
from recbole_tinynews.pipeline.speed import impressions_per_second, news_per_second


def measure(model_class: type, dataset: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Speed and memory of a model with untrained weights, in their precision."""
    config = NewsConfig(model_class, dataset, config_dict=settings)
    init_seed(config["seed"], config["reproducibility"])
    factory = NewsFactory(config, NewsDataset(config))
    model = factory.model(model_class, config)
    speed: dict[str, Any] = {
        "news_per_second": news_per_second(model.news_encoder),
        "news_per_second_batch_1": news_per_second(model.news_encoder, batch=1),
    }
    if (shown := factory.test or factory.valid) is not None:
        encoded, cached = impressions_per_second(model, factory.impressions(config, shown))
        speed |= {"impressions_per_second": encoded, "impressions_per_second_cached": cached}
    device = model.device
    return {
        **{name: float(f"{value:.4g}") for name, value in speed.items()},
        "peak_memory_mb": peak_memory_mb(device),
        "threads": torch.get_num_threads(),
        "precision": str(next(model.parameters()).dtype).removeprefix("torch."),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
    }


def peak_memory_mb(device: torch.device) -> int | None:
    """Peak memory of this process, on its GPU if it uses one; None if unknown."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 1e6)
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6)
