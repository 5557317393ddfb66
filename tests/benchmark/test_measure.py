from __future__ import annotations

from pathlib import Path

import pytest
from tiny import DATASET, SETTINGS, STAGE_SETTINGS, Tiny

from recbole_tinynews.benchmark.measure import measure
from recbole_tinynews.benchmark.results import SPEEDS
from recbole_tinynews.model.paper.ensembleteacher import EnsembleTeacher
from recbole_tinynews.model.paper.newsbert import NewsBERT
from recbole_tinynews.model.paper.plmnr import PLMNR
from recbole_tinynews.model.paper.tinynewsrec import TinyNewsRec
from recbole_tinynews.model.recommender import NewsRecommender


@pytest.mark.parametrize("model_class", [PLMNR, TinyNewsRec, NewsBERT, EnsembleTeacher])
def test_a_measurement_trains_nothing(
    tiny: Tiny, tmp_path: Path, model_class: type[NewsRecommender]
) -> None:
    """Missing stages would be trained again, for hours that are shown as measuring."""
    saved = tmp_path / "saved"
    own = {"data_path": str(tiny.data), "plm": str(tiny.plm), "checkpoint_dir": str(saved)}
    found = measure(model_class, DATASET, {**SETTINGS, **STAGE_SETTINGS, **own})
    assert min(found[name] for name in SPEEDS) > 0
    assert not [*saved.rglob("*.safetensors")]
