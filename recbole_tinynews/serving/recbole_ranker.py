"""Ranks articles of a data set with one of RecBole's own models, which read no text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from recbole_tinynews.data.dataset import NewsDataset
from recbole_tinynews.data.impressions import UNLABELLED, Impressions
from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.files.lines import untrusted
from recbole_tinynews.files.tensors import load_into, load_weights
from recbole_tinynews.pipeline.artifact import MADE_FROM, SETTINGS_FILE, WEIGHTS
from recbole_tinynews.pipeline.config import NewsConfig
from recbole_tinynews.pipeline.factory import RecBoleFactory
from recbole_tinynews.pipeline.saved_model import device_of
from recbole_tinynews.recbole_models.item_text import saved_vectors
from recbole_tinynews.serving.engine import Ranked, best_first
from recbole_tinynews.serving.ranker import queries_of
from recbole_tinynews.settings.literals import packaged_folder
from recbole_tinynews.trainer.impression_evaluation import scores_by_sequence

OF_THE_CLASS = ("MODEL_TYPE", "MODEL_INPUT_TYPE")  # settings determined by the model class


class RecBoleRanker:
    """Ranks news ids of the data set that a RecBole model was trained on."""

    def __init__(self, factory: RecBoleFactory, model: Any, settings: Mapping[str, Any]) -> None:
        self._factory, self._model, self.settings = factory, model.eval(), settings

    def rank(self, history: Any, candidates: Any, *, ids: bool = True, user: Any = None) -> Any:
        """Candidates from best to worst, as ``Ranker.rank``, of news ids only.

        ``user`` is an id in the data set, for models with user vectors (a list for many users;
        ``None``: unseen in training). Raises ``ValueError`` for titles too.
        """
        queries, one = queries_of(ids, history, candidates)
        data, users = self._factory.train, len(queries)
        names = [user] if one else [None] * users if user is None else list(user)
        if len(names) != users:
            raise ValueError(f"rank expects a user for each history, got {len(names)}.")
        field = data.uid_field
        shown = self._rows([query.candidates for query in queries])
        impressions = Impressions(
            np.array([""] * users),
            np.array([0 if n is None else self._id(field, n) for n in names], np.int32),
            np.zeros(users, np.int64),
            self._rows([query.history for query in queries]),
            shown,
            np.full(len(shown.values), UNLABELLED, np.int8),
        )
        scores = np.split(self._scores(impressions), shown.offsets[1:-1])
        lists: list[Any] = [query.candidates for query in queries]
        ranked: list[list[Ranked]] = [*map(best_first, lists, scores)]
        return ranked[0] if one else ranked

    @torch.no_grad()
    def _scores(self, shown: Impressions) -> NDArray[np.float32]:
        config = self._factory.config
        batches = self._factory.impressions(config, self._factory.train.copy(shown))
        scores, model = [], self._model
        for batch, *_ in batches:
            rows = batch.to(config["device"])
            found = scores_by_sequence(model, rows)
            found = model.predict(rows) if found is None else found
            scores.append(torch.atleast_1d(found).float().cpu().numpy())
        return np.concatenate(scores)

    def _rows(self, lists: Sequence[Sequence[Any]]) -> Ragged:
        field = self._factory.train.iid_field
        return Ragged.from_rows([[self._id(field, a) for a in ids] for ids in lists], np.int32)

    def _id(self, field: str, name: Any) -> int:
        known = self._factory.train.field2token_id[field]
        if not isinstance(name, str) or name not in known:
            raise ValueError(
                f"{field} expects ids of data set '{self.settings['dataset']}', got {name!r:.99}. "
                "A model of RecBole reads no text."
            )
        return int(known[name])


def load_recbole(
    folder: Path,
    model: type,
    settings: Mapping[str, Any],
    data_path: str | Path | None,
    device: str | torch.device,
) -> RecBoleRanker:
    """The finished RecBole model; ``ValueError``: another data set than in training, or damaged."""
    name = settings["dataset"]
    usual = [Path("dataset"), packaged_folder("dataset")]
    places = usual if data_path is None else [Path(data_path)]
    place = next((each for each in places if (each / name).is_dir()), places[0])
    computing = device_of(device)
    with untrusted(folder / SETTINGS_FILE):
        config = NewsConfig(model, name, config_dict={"data_path": str(place), "use_gpu": False})
        config.final_config_dict.update(
            {key: value for key, value in settings.items() if key not in OF_THE_CLASS},
            device=computing,
        )
        dataset = NewsDataset(config)
        if dataset.content != settings[MADE_FROM]["data"]:
            raise ValueError(
                f"{folder} expects the data set '{name}' that it was trained on, and the files in "
                f"{place / name} differ. Pass the folder that contains it: "
                "load(folder, data_path=...)."
            )
        factory = RecBoleFactory(config, dataset)
    with untrusted(folder / WEIGHTS):
        weights = load_weights(folder / WEIGHTS)
        if config["item_text"]:  # which may be elsewhere by now
            factory.item_vectors = saved_vectors(weights, dataset.item_num)
    with untrusted(folder / SETTINGS_FILE):
        made = factory.model(model, config)
    load_into(made, weights, folder / WEIGHTS)
    return RecBoleRanker(factory, made, settings)
