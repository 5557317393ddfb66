from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from exports import (
    HF_KINDS,
    SENTENCE_KINDS,
    Make,
    assert_scores_equal,
    exported_scores,
    needs_sentence_transformers,
    ranked_scores,
    texts,
)
from transformers import AutoModel

from recbole_tinynews.export.exporting import export
from recbole_tinynews.export.finished import FinishedRecommender
from recbole_tinynews.serving.exported import load_export


@pytest.mark.parametrize("kind", HF_KINDS)
def test_scores_of_hf_are_those_of_rank(kind: str, finished_folder: Make, exported: Make) -> None:
    """A setting that the export forgot would rank otherwise than what was evaluated."""
    got = exported_scores(load_export(exported("hf", **HF_KINDS[kind])))
    expected = ranked_scores(finished_folder(**HF_KINDS[kind]))
    assert_scores_equal(got, expected)


def test_hf_has_the_layers_that_were_kept_and_no_pickle(exported: Make) -> None:
    """A stranger's pickle runs code when it is read."""
    plm = AutoModel.from_pretrained(exported("hf"), trust_remote_code=False)
    assert len(plm.encoder.layer) == plm.config.num_hidden_layers == 2  # of 3
    files = [file.suffix for file in exported("hf").iterdir()]
    assert {".bin", ".pt", ".pth", ".pkl"}.isdisjoint(files)
    assert ".safetensors" in files


@needs_sentence_transformers
@pytest.mark.parametrize("kind", SENTENCE_KINDS)
def test_encode_gives_our_news_vectors(kind: str, finished_folder: Make, exported: Make) -> None:
    """Prefix, cut, special tokens, padding, centring and unit length must all be the same."""
    from sentence_transformers import SentenceTransformer

    folder = finished_folder(**SENTENCE_KINDS[kind])
    place = exported("sentence-transformers", **SENTENCE_KINDS[kind])
    loaded = SentenceTransformer(str(place), device="cpu")
    ours = {type(module).__module__.partition(".")[0] for module in loaded}
    assert ours == {"sentence_transformers"}
    want = FinishedRecommender(folder).engine.encode({"title": texts()})
    np.testing.assert_allclose(loaded.encode(texts()), want, rtol=0, atol=1e-5)
    for text in ("", "word7"):
        alone = loaded.encode([text])[0]
        np.testing.assert_allclose(alone, want[texts().index(text)], rtol=0, atol=1e-5)
    got = exported_scores(load_export(place))
    assert_scores_equal(got, ranked_scores(folder))


def test_the_attention_that_is_tested_is_far_from_a_mean(finished_folder: Make) -> None:
    """Tests these tests: a mean in its place would pass, if all its weights were equal."""
    source = FinishedRecommender(finished_folder(**SENTENCE_KINDS["attention"]))
    pooling = source.text_encoder.pooling
    before = source.engine.encode({"title": texts()})
    pooling.query.weight.data.zero_()
    assert (source.engine.encode({"title": texts()}) - before).abs().max() > 0.05


@needs_sentence_transformers
@pytest.mark.parametrize(
    ("settings", "advice"),
    [
        ({}, "--news_pooling=mean"),
        ({"mask_padding_in_news_pooling": False}, "--mask_padding_in_news_pooling=true"),
    ],
)
def test_what_the_modules_cannot_express_is_refused_with_what_to_train(
    settings: dict, advice: str, finished_folder: Make, tmp_path: Path
) -> None:
    """Vectors that are nearly ours would be taken for ours."""
    with pytest.raises(ValueError, match=advice):
        export(finished_folder(**settings), "sentence-transformers", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
