"""Real titles and a real language model, untrained: its cosines rank far better than chance."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from exports import needs_onnx, needs_sentence_transformers
from real_mind import NAME, PLM, converted, needs_both

from recbole_tinynews.data.atomic_files import Indices, read_impressions, read_news_file
from recbole_tinynews.export.exporting import export
from recbole_tinynews.export.finished import FinishedRecommender
from recbole_tinynews.pipeline.quick_start import run
from recbole_tinynews.serving.exported import load_export
from recbole_tinynews.serving.loading import load

pytestmark = [pytest.mark.long, *needs_both]


class Real(NamedTuple):
    """A recommender, its data, and 100 of its titles, with odd ones before them."""

    folder: Path
    data: Path
    titles: list[str]


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Real:
    place = tmp_path_factory.mktemp("real")
    data = converted(place)
    settings = {"plm": PLM, "num_hidden_layers": 2, "history_length": 10, "use_gpu": False}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        run("ZeroShotPLM", NAME, config_dict={**settings, "data_path": str(data)})
    titles = read_news_file(data / NAME / f"{NAME}.item")["title"][:100].tolist()
    folder = next((place / "saved" / NAME).glob("ZeroShotPLM-*"))
    return Real(folder, data, ["", "News", " two  spaces ", *titles])


@pytest.mark.parametrize(
    "to",
    [
        pytest.param("onnx", marks=needs_onnx),
        pytest.param("sentence-transformers", marks=needs_sentence_transformers),
    ],
)
def test_exports_give_real_titles_the_recommenders_vectors(
    to: str, real: Real, tmp_path: Path
) -> None:
    engine = load_export(export(real.folder, to, tmp_path / "out").folder)
    want = FinishedRecommender(real.folder).engine.encode({"title": real.titles})
    np.testing.assert_allclose(engine.encode({"title": real.titles}), want, rtol=0, atol=1e-4)


@needs_onnx
def test_int8_loses_less_than_a_third_of_a_point_of_auc(real: Real, tmp_path: Path) -> None:
    """Outliers in a real language model's states may eat up all of int8's steps."""
    done = export(real.folder, "onnx-int8", tmp_path / "out")
    fp32, int8 = auc_of(real, real.folder), auc_of(real, done.folder)
    assert fp32 > 0.55
    assert int8 > fp32 - 0.003
    assert done.vectors < 0.05  # 0.02; 0.1 with one scale for all inputs of a layer


def auc_of(real: Real, folder: Path) -> float:
    """Of the test impressions, whose order ``rank`` gives."""
    indices, values = Indices(), []
    ranker = load(folder)
    ranker.add_news(read_news_file(real.data / NAME / f"{NAME}.item"))
    for shown in read_impressions(real.data / NAME / f"{NAME}.test.inter", indices):
        names = np.array([*indices.news])
        for row in range(shown.rows):
            part = shown.between(row, row + 1)
            candidates = names[part.candidates.values].tolist()
            ranked = ranker.rank(names[part.history.values].tolist(), candidates)
            clicked = part.labels[[each.place for each in ranked]] == 1  # best first
            if 0 < clicked.sum() < len(clicked):
                values.append(1 - np.cumsum(~clicked)[clicked].mean() / (~clicked).sum())
    return float(np.mean(values))
