"""Loads a finished recommender from an untrusted folder, without running or importing its code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from recbole_tinynews.files.lines import untrusted
from recbole_tinynews.model.recommender import NewsRecommender
from recbole_tinynews.pipeline.artifact import EXPORT_FILE, was_finished
from recbole_tinynews.pipeline.saved_model import (
    READS_NO_TEXT,
    SavedSettings,
    open_model,
    recbole_class,
)
from recbole_tinynews.serving.engine import Engine, ModelEngine, engine_of
from recbole_tinynews.serving.live_counters import LiveCounters
from recbole_tinynews.serving.ranker import Ranker


def load(
    folder: str | Path,
    model: type[NewsRecommender] | None = None,
    data_path: str | Path | None = None,
    device: str | torch.device = "cpu",
    store: str | Path | None = None,
    layers: int | None = None,
    dim: int | None = None,
) -> Ranker:
    """Load the finished recommender in ``folder``.

    One of RecBole's own models ranks only news ids of its data set (``RecBoleRanker``).

    Args:
        folder: ``<checkpoint_dir>/<dataset>/<Model>-<fingerprint>``, or an export
            (``recbole-tinynews export``), which runs on the CPU.
        model: the recommender's class, if it is your own and not imported yet.
        data_path: contains the data set's folder, for RecBole's own models (default: ``dataset``,
            then embedded data sets).
        device: device to compute on.
        store: file or ``postgresql://`` URL of events to count, made if missing, for recommenders
            trained with ``popularity``. ``counters.catch_up()`` counts other processes'.
        layers: number of layers, one of ``matryoshka_layers``, for which it was trained.
        dim: size of its vectors, one of ``matryoshka_dims``: the first entries, normalised.

    Raises:
        FileNotFoundError: no such folder, or no artifact in the folder.
        ValueError: unfinished, damaged, of another format or an unimported class, or no news
            ranker; not a store, or not trained with ``popularity`` or for this size.
    """
    folder, has_size = Path(folder), layers is not None or dim is not None
    engine: Engine | None = None if was_finished(folder) else _exported(folder, has_size)
    if engine is None:
        settings = SavedSettings.of(folder)
        stock = recbole_class(settings["model_class"], model)
        if stock is not None and not has_size:
            if store is not None:
                raise ValueError(
                    f"{folder} holds one of RecBole's own models: it counts no events."
                )
            from recbole_tinynews.serving.recbole_ranker import load_recbole

            return load_recbole(folder, stock, settings, data_path, device)  # type: ignore[return-value]
        how = {"model": model, "device": device, "layers": layers, "dim": dim}
        engine = trained_engine(folder, settings, **how)
    ranker = Ranker(engine)
    if store is not None:
        if engine.counting is None:
            raise ValueError(
                f"{folder} counts no events: it was trained without popularity, or is an export, "
                "which ranks by text alone."
            )
        from recbole_tinynews.serving.store import Store  # of an extra

        ranker.counters = LiveCounters(Store(store), [engine.counting])
    return ranker


def load_reader(folder: Path, **how: Any) -> Ranker:
    """``load`` for recommenders that read text; ``ValueError`` for RecBole's own models."""
    ranker = load(folder, **how)
    if not isinstance(ranker, Ranker):
        raise ValueError(READS_NO_TEXT.format(folder))
    return ranker


def trained_engine(folder: Path, settings: SavedSettings, **how: Any) -> ModelEngine:
    """The engine of a finished stage; ``how`` are the other arguments of ``open_model``."""
    trained = open_model(folder, settings, **how)
    with untrusted(folder):  # settings and files of the language model may contradict each other
        return engine_of(trained, settings, settings.identity)


def _exported(folder: Path, has_size: bool) -> Engine | None:
    """The engine of an export, if the folder holds one."""
    from recbole_tinynews.serving.exported import load_export

    if not (folder / EXPORT_FILE).is_file():
        return None
    if has_size:
        raise ValueError(f"{folder} is an export, which has one size. Export another size.")
    return load_export(folder)
